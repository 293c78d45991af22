"""The schemes of HTTP's ``Authorization`` header: Basic, Bearer, Digest, and any other."""

from base64 import b64decode
from typing import Any

from pydantic import BaseModel
from starlette.requests import HTTPConnection
from starlette.status import HTTP_401_UNAUTHORIZED

from ..exceptions import HTTPException
from ..openapi.models import HTTPBase as HTTPBaseModel
from ..openapi.models import HTTPBearer as HTTPBearerModel
from .base import SecurityBase
from .utils import get_authorization_scheme_param


class HTTPBasicCredentials(BaseModel):
    """The user's name and password, as the client sent them."""

    username: str
    password: str


class HTTPAuthorizationCredentials(BaseModel):
    """The scheme, as the client wrote it, and what followed it."""

    scheme: str
    credentials: str


class HTTPBase(SecurityBase):
    """Any scheme of the ``Authorization`` header.

    As a dependency, it gives `HTTPAuthorizationCredentials`. Without the header it raises 401,
    or gives `None` where `auto_error` is false. Whether they are right, the app must check.
    """

    model: HTTPBaseModel

    def __init__(
        self,
        *,
        scheme: str,
        scheme_name: str | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        self._declare(
            HTTPBaseModel(scheme=scheme, description=description), scheme_name, auto_error
        )

    def _declare(self, model: HTTPBaseModel, scheme_name: str | None, auto_error: bool) -> None:
        self.model = model
        self.scheme_name = scheme_name or type(self).__name__
        self.auto_error = auto_error

    def make_authenticate_headers(self) -> dict[str, str]:
        """The headers that tell the client how to authenticate."""
        return {"WWW-Authenticate": self.model.scheme.title()}

    def make_not_authenticated_error(self) -> HTTPException:
        """What is raised without credentials; subclasses may answer differently."""
        return HTTPException(
            status_code=HTTP_401_UNAUTHORIZED,
            detail="Not authenticated",
            headers=self.make_authenticate_headers(),
        )

    # Subclasses give other types of credentials.
    async def __call__(self, request: HTTPConnection) -> Any:
        """The credentials of this request."""
        return self._credentials(request, expected=None)

    def _credentials(
        self, request: HTTPConnection, expected: str | None
    ) -> HTTPAuthorizationCredentials | None:
        header = request.headers.get("Authorization")
        scheme, credentials = get_authorization_scheme_param(header)
        if scheme and credentials and expected in (None, scheme.lower()):
            return HTTPAuthorizationCredentials(scheme=scheme, credentials=credentials)
        self._refuse()
        return None

    def _refuse(self) -> str | None:
        """Raises, or gives `None` where `auto_error` is false."""
        if self.auto_error:
            raise self.make_not_authenticated_error()
        return None


class HTTPBasic(HTTPBase):
    """Name and password, in Base64 (RFC 7617)."""

    def __init__(
        self,
        *,
        scheme_name: str | None = None,
        realm: str | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        self.realm = realm
        self._declare(
            HTTPBaseModel(scheme="basic", description=description), scheme_name, auto_error
        )

    def make_authenticate_headers(self) -> dict[str, str]:
        """The scheme, with the realm if there is one."""
        return {"WWW-Authenticate": f'Basic realm="{self.realm}"' if self.realm else "Basic"}

    async def __call__(self, request: HTTPConnection) -> HTTPBasicCredentials | None:
        """Name and password. What cannot be read raises 401 even without `auto_error`."""
        scheme, encoded = get_authorization_scheme_param(request.headers.get("Authorization"))
        if scheme.lower() != "basic":
            self._refuse()
            return None
        try:
            text = b64decode(encoded).decode("ascii")
        except ValueError as error:
            raise self.make_not_authenticated_error() from error
        username, colon, password = text.partition(":")
        if not colon:
            raise self.make_not_authenticated_error()
        return HTTPBasicCredentials(username=username, password=password)


class HTTPBearer(HTTPBase):
    """A bearer token (RFC 6750)."""

    def __init__(
        self,
        *,
        bearerFormat: str | None = None,
        scheme_name: str | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        self._declare(
            HTTPBearerModel(bearerFormat=bearerFormat, description=description),
            scheme_name,
            auto_error,
        )

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials | None:
        """The token, as `credentials`."""
        return self._credentials(request, expected="bearer")


class HTTPDigest(HTTPBase):
    """The header of Digest authentication (RFC 7616), as it came.

    Challenges and the check of the digest are the app's: derive from this class for them.
    """

    def __init__(
        self,
        *,
        scheme_name: str | None = None,
        description: str | None = None,
        auto_error: bool = True,
    ) -> None:
        self._declare(
            HTTPBaseModel(scheme="digest", description=description), scheme_name, auto_error
        )

    async def __call__(self, request: HTTPConnection) -> HTTPAuthorizationCredentials | None:
        """What followed the scheme, as `credentials`."""
        return self._credentials(request, expected="digest")
