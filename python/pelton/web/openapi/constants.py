"""Fixed parts of the documents."""

METHODS_WITH_BODY = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"}
"""The methods whose operations may document a body."""

REF_PREFIX = "#/components/schemas/"
"""Where a document keeps its schemas."""

REF_TEMPLATE = REF_PREFIX + "{model}"
"""How a document refers to one of them."""
