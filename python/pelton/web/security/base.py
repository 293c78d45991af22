"""What every security scheme has in common."""

from ..openapi.models import SecurityBase as SecurityBaseModel


class SecurityBase:
    """A dependency that OpenAPI documents as a security scheme.

    `model` describes the scheme in the document's ``components``, under `scheme_name`.
    """

    model: SecurityBaseModel
    scheme_name: str
