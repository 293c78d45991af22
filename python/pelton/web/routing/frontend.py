"""Built front ends: directories of files that answer what no other route does."""

import email.message
import errno
import os
import stat
import warnings
from collections.abc import Sequence
from typing import Any, Literal

from starlette._utils import get_route_path
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import URL, Headers, URLPath
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from .. import params
from ..dependencies.body import should_embed_body_fields
from ..dependencies.flat import flat_body_params
from ..dependencies.solve import solve_dependencies
from ..exceptions import RequestValidationError
from ..staticfiles import StaticFiles
from ..telemetry.hooks import route_selected
from .handler import request_response
from .route import dependant_with

Fallback = Literal["auto", "index.html", "404.html"] | None
"""What is sent for a path without a file: see `APIRouter.frontend`."""

# Keys in the scope: what a match found.
_ROUTE = "pelton.frontend_route"
_PATH = "pelton.frontend_path"
SPECIFICITY = "pelton.frontend_specificity"
"""Key in a match's scope: the greater, the more of the path the front end is mounted at."""


def should_check_directory(
    directory: str | os.PathLike[str], check_dir: bool | Literal["auto"]
) -> bool:
    """Whether a missing directory is an error now; in development it is only a warning."""
    if check_dir != "auto":
        return check_dir
    if os.environ.get("FASTAPI_ENV") != "development":
        return True
    if not os.path.isdir(directory):
        # Points at the caller of `frontend`.
        warnings.warn(_missing(directory), stacklevel=3)
    return False


def _missing(directory: str | os.PathLike[str]) -> str:
    return (
        f"Frontend directory '{directory}' does not exist. "
        f"Resolved absolute path: '{os.path.realpath(directory)}'"
    )


class FrontendFiles(StaticFiles):
    """The files of one front end, and what is sent where there is none."""

    def __init__(
        self, *, directory: str | os.PathLike[str], fallback: Fallback, check_dir: bool
    ) -> None:
        self.fallback = fallback
        if check_dir and not os.path.isdir(directory):
            raise RuntimeError(_missing(directory))
        super().__init__(directory=directory, html=True, check_dir=check_dir)
        if check_dir and fallback in ("index.html", "404.html"):
            _, found = self.lookup_path(fallback)
            if found is None or not stat.S_ISREG(found.st_mode):
                raise self._no_fallback(fallback)

    def _no_fallback(self, name: str) -> RuntimeError:
        assert self.directory is not None
        return RuntimeError(
            f"Frontend fallback file '{name}' does not exist in directory "
            f"'{self.directory}'. Resolved absolute directory: "
            f"'{os.path.realpath(self.directory)}'"
        )

    def get_path(self, scope: Scope) -> str:
        """The path of the wanted file within the directory."""
        inner: str = scope[_PATH]
        return os.path.normpath(os.path.join(*inner.split("/")))

    async def respond(self, scope: Scope) -> Response:
        """The file, a redirect to a directory, or the fallback; 404 or 405 is raised."""
        if not self.config_checked:
            await self.check_config()
            self.config_checked = True
        return await self.get_response(self.get_path(scope), scope)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """`respond` for a path within the directory."""
        found = await self._find(path)
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(status_code=404 if found is None else 405)
        if found is not None:
            full_path, result, is_index = found
            if is_index and not scope["path"].endswith("/"):
                url = URL(scope=scope)
                return RedirectResponse(url=url.replace(path=url.path + "/"))
            return self.file_response(full_path, result, scope)
        if await self._falls_back_to("404.html"):
            return await self._send_fallback("404.html", scope, 404)
        if _wants_page(scope) and await self._falls_back_to("index.html"):
            return await self._send_fallback("index.html", scope, 200)
        raise HTTPException(status_code=404)

    async def _find(self, path: str) -> tuple[str, os.stat_result, bool] | None:
        """The file, or the index of the directory, at `path`."""
        full_path, result = await self._look_up(path)
        if result is None:
            return None
        if stat.S_ISREG(result.st_mode):
            return full_path, result, False
        if stat.S_ISDIR(result.st_mode):
            full_path, result = await self._look_up(os.path.join(path, "index.html"))
            if result is not None and stat.S_ISREG(result.st_mode):
                return full_path, result, True
        return None

    async def _look_up(self, path: str) -> tuple[str, os.stat_result | None]:
        try:
            return await run_in_threadpool(self.lookup_path, path)
        except PermissionError:
            raise HTTPException(status_code=401) from None
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                raise HTTPException(status_code=404) from None
            raise
        except ValueError:
            # A NUL in the path.
            raise HTTPException(status_code=404) from None

    async def _falls_back_to(self, name: str) -> bool:
        if self.fallback != "auto":
            return self.fallback == name
        _, result = await run_in_threadpool(self.lookup_path, name)
        return result is not None and stat.S_ISREG(result.st_mode)

    async def _send_fallback(self, name: str, scope: Scope, status_code: int) -> Response:
        full_path, result = await run_in_threadpool(self.lookup_path, name)
        if result is None or not stat.S_ISREG(result.st_mode):
            raise self._no_fallback(name)
        return self.file_response(full_path, result, scope, status_code=status_code)


def _wants_page(scope: Scope) -> bool:
    """Whether the request is a browser's navigation, by its ``Accept``; assets are not."""
    for choice in Headers(scope=scope).get("accept", "").split(","):
        message = email.message.Message()
        message["content-type"] = choice.strip()
        if message.get_content_type() not in ("text/html", "application/xhtml+xml"):
            continue
        try:
            quality = float(str(message.get_param("q", "1")))
        except ValueError:
            quality = 1.0
        if quality != 0:
            return True
    return False


class FrontendRoute(BaseRoute):
    """One front end at one path."""

    def __init__(
        self,
        path: str,
        *,
        directory: str | os.PathLike[str],
        fallback: Fallback = "auto",
        check_dir: bool,
    ) -> None:
        if fallback not in ("auto", "index.html", "404.html", None):
            raise AssertionError("fallback must be 'auto', 'index.html', '404.html', or None")
        self.path = normalized(path)
        self.methods = {"GET", "HEAD"}
        self.app = FrontendFiles(directory=directory, fallback=fallback, check_dir=check_dir)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the path is at or under this front end's."""
        return self.matches_at(scope, self.path)

    def matches_at(self, scope: Scope, path: str) -> tuple[Match, Scope]:
        """`matches`, for a front end that an inclusion moved to `path`."""
        if scope["type"] != "http":
            return Match.NONE, {}
        inner = _below(path, get_route_path(scope))
        if inner is None:
            return Match.NONE, {}
        specificity = 0 if path == "/" else len(path)
        found = {_ROUTE: self, _PATH: inner, SPECIFICITY: specificity}
        return (Match.FULL if scope["method"] in self.methods else Match.PARTIAL), found

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the file."""
        response = await self.app.respond(scope)
        await response(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Front ends have no names."""
        raise NoMatchFound(name, path_params)


def normalized(path: str) -> str:
    """`path` without a slash at its end; refuses one without a slash at its start."""
    if not path:
        raise AssertionError("A frontend path cannot be empty")
    if not path.startswith("/"):
        raise AssertionError("A frontend path must start with '/'")
    return path if path == "/" else path.rstrip("/")


def joined(prefix: str, path: str) -> str:
    """`path` behind a router's `prefix`."""
    return prefix if prefix and path == "/" else prefix + path


def _below(path: str, wanted: str) -> str | None:
    """`wanted` relative to `path`; `None` if it is elsewhere."""
    if path == "/":
        return wanted.lstrip("/")
    if wanted == path:
        return ""
    return wanted[len(path) + 1 :] if wanted.startswith(path + "/") else None


def _endpoint() -> None:
    """Stands for the files in the graph of the router's dependencies."""


class FrontendRouteGroup(BaseRoute):
    """The front ends of one router, with its dependencies. The deepest path wins."""

    def __init__(
        self,
        *,
        prefix: str = "",
        dependencies: Sequence[params.Depends] | None = None,
        dependency_overrides_provider: Any | None = None,
        routes: list[FrontendRoute] | None = None,
    ) -> None:
        self.prefix = prefix
        self.routes = [] if routes is None else routes
        self.dependencies = list(dependencies or [])
        self.dependency_overrides_provider = dependency_overrides_provider
        self.dependant = dependant_with(path="", call=_endpoint, dependencies=self.dependencies)
        self.embed_body_fields = should_embed_body_fields(flat_body_params(self.dependant))

    def add(
        self, path: str, *, directory: str | os.PathLike[str], fallback: Fallback, check_dir: bool
    ) -> None:
        """Adds a front end at `path`."""
        route = FrontendRoute(path, directory=directory, fallback=fallback, check_dir=check_dir)
        self.routes.append(route)

    def included(
        self,
        *,
        prefix: str,
        dependencies: list[params.Depends],
        dependency_overrides_provider: Any | None,
    ) -> "FrontendRouteGroup":
        """These front ends behind `prefix`, with `dependencies` called before their own."""
        return FrontendRouteGroup(
            prefix=prefix + self.prefix,
            dependencies=dependencies + self.dependencies,
            dependency_overrides_provider=dependency_overrides_provider,
            routes=self.routes,
        )

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """The match of the front end with the deepest path; `GET` goes before other methods."""
        best: dict[Match, Scope] = {}
        for route in self.routes:
            match, found = route.matches_at(scope, joined(self.prefix, route.path))
            if match != Match.NONE and (
                match not in best or found[SPECIFICITY] > best[match][SPECIFICITY]
            ):
                best[match] = found
        for match in (Match.FULL, Match.PARTIAL):
            if match in best:
                return match, best[match]
        return Match.NONE, {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Calls the dependencies, then sends the file."""
        route: FrontendRoute = scope[_ROUTE]
        route_selected(scope, joined(self.prefix, route.path).rstrip("/") + "/{path}")
        if not self.dependant.dependencies or scope["method"] not in route.methods:
            await route.handle(scope, receive, send)
            return

        async def respond(request: Request) -> Response:
            solved = await solve_dependencies(
                request=request,
                dependant=self.dependant,
                dependency_overrides_provider=self.dependency_overrides_provider,
                embed_body_fields=self.embed_body_fields,
            )
            if solved.errors:
                raise RequestValidationError(solved.errors)
            response = await route.app.respond(scope)
            if response.background is None:
                response.background = solved.background_tasks
            response.headers.raw.extend(solved.response.headers.raw)
            return response

        await request_response(respond)(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        """Front ends have no names."""
        raise NoMatchFound(name, path_params)
