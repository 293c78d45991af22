"""Taking the ``Authorization`` header apart."""


def get_authorization_scheme_param(
    authorization_header_value: str | None,
) -> tuple[str, str]:
    """The scheme and what follows it; two empty texts if there is no header."""
    scheme, _, rest = (authorization_header_value or "").partition(" ")
    return scheme, rest.strip()
