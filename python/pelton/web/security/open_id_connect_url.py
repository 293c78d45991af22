"""OpenID Connect, as far as documenting it goes."""

from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.status import HTTP_401_UNAUTHORIZED

from ..openapi.models import OpenIdConnect as OpenIdConnectModel
from .base import SecurityBase


class OpenIdConnect(SecurityBase):
    """Documents OpenID Connect; as a dependency, it gives the ``Authorization`` header.

    Discovery and the check of the token are the app's: derive from this class for them.
    Without the header it raises 401, or gives `None` where `auto_error` is false.
    """

    def __init__(
        self,
        *,
        openIdConnectUrl: str,
        scheme_name: str | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        self.model = OpenIdConnectModel(openIdConnectUrl=openIdConnectUrl, description=description)
        self.scheme_name = scheme_name or type(self).__name__
        self.auto_error = auto_error

    def make_not_authenticated_error(self) -> HTTPException:
        """What is raised without the header; subclasses may answer differently."""
        return HTTPException(
            status_code=HTTP_401_UNAUTHORIZED,
            detail="Not authenticated",
            headers={"WWW-Authenticate": "Bearer"},
        )

    async def __call__(self, request: HTTPConnection) -> str | None:
        """The header of this request."""
        authorization = request.headers.get("Authorization")
        if not authorization and self.auto_error:
            raise self.make_not_authenticated_error()
        return authorization or None
