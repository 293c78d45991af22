"""The OAuth2 scopes that a dependency's callers ask for."""


class SecurityScopes:
    """Tells a dependency which scopes all those that depend on it require.

    Declare an argument of this type; `scopes` lists them, outermost first, and `scope_str` joins
    them with spaces, as OAuth2 writes them.
    """

    def __init__(self, scopes: list[str] | None = None) -> None:
        self.scopes: list[str] = scopes or []
        self.scope_str: str = " ".join(self.scopes)
