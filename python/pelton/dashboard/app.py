"""The dashboard as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from pelton._core import BrokerError
from pelton.dashboard import guard, views
from pelton.dashboard.brokers import Brokers
from pelton.dashboard.figures import PERIOD, Figures, Sample
from pelton.dashboard.guard import Access, Guard

STREAMS_MAX = 32
"""Pages that may listen at once; one more gets 503."""
JOBS_SHOWN = 200
"""Jobs of one answer, at most."""
LOGIN_DELAY = 0.5
"""Seconds that a wrong token costs."""
LOGIN_BYTES = 4096
"""Largest body of a login."""

_STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}

logger = logging.getLogger("pelton.dashboard")

Handler = Callable[[Request], Awaitable[Response]]


class Dashboard:
    """Serves the page and its JSON below `prefix`.

    `broker_urls`: whose jobs it shows; they are opened on first use. `measure`: see `Figures`.
    `directory`: where the processes of one tree share their figures. `token`: who shows it may
    look from other machines; without one, only clients of this machine may.

    `start` begins to measure; `stop` ends all open streams, so that a server can drain. Call both
    in the thread of the loop that serves it.
    """

    def __init__(
        self,
        broker_urls: Sequence[str],
        measure: Callable[[], Sample],
        *,
        directory: Path | None = None,
        token: str | None = None,
        prefix: str = "/_pelton",
    ) -> None:
        self.prefix = prefix
        self._brokers = Brokers(broker_urls)
        self._figures = Figures(measure, directory)
        self._guard = Guard(token)
        self._streams = 0
        self._stopping = asyncio.Event()
        self._router = Router(self._routes(), redirect_slashes=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application, mounted at `prefix` or called with whole paths."""
        if scope["type"] != "http":
            raise ValueError(f"the dashboard answers http, not {scope['type']}")
        scope = self._mounted(scope)
        request = Request(scope, receive)
        response = self._refusal(request, self._guard.access(request))
        if response is not None:
            await response(scope, receive, send)
            return
        try:
            await self._router(scope, receive, send)
        except BrokerError as error:
            await _problem(503, f"the broker does not answer: {error}")(scope, receive, send)

    def start(self) -> None:
        """Begins to measure this process."""
        self._figures.start()

    def stop(self) -> None:
        """Ends the streams, and measuring."""
        self._stopping.set()
        self._figures.stop()

    def _mounted(self, scope: Scope) -> Scope:
        """The scope with all up to `prefix` in its root path, and its path below that."""
        base = scope.get("root_path", "").removesuffix(self.prefix) + self.prefix
        below = scope["path"].removeprefix(base).removeprefix(self.prefix)
        return {**scope, "root_path": base, "path": base + below}

    def _routes(self) -> list[Route]:
        return [
            Route("/", self._page, methods=["GET"]),
            Route("/login", self._login, methods=["GET", "POST"]),
            Route("/static/{name}", self._asset, methods=["GET"]),
            Route("/api/overview", self._overview, methods=["GET"]),
            Route("/api/events", self._events, methods=["GET"]),
            Route("/api/jobs", self._jobs, methods=["GET"]),
            Route("/api/jobs/{broker:int}/{id}", self._job, methods=["GET"]),
            Route("/api/jobs/{broker:int}/{id}/{action}", self._act, methods=["POST"]),
            Route("/api/workflows", self._workflows, methods=["GET"]),
            Route("/api/workflows/{broker:int}/{id}", self._workflow, methods=["GET"]),
            Route("/api/{what}/{broker:int}/{action}", self._act_on_named, methods=["POST"]),
            Route("/metrics", self._metrics, methods=["GET"]),
        ]

    def _refusal(self, request: Request, access: Access) -> Response | None:
        """The answer to who may not come in, may not do that, or forgot the page's slash."""
        path = request.scope["path"].removeprefix(request.scope["root_path"])
        if access is Access.REFUSED:
            return _problem(
                403,
                "the dashboard answers only clients of this machine; "
                "to open it from elsewhere, set --dashboard-token",
            )
        public = path == "/login" or path.startswith("/static/")
        if access is Access.LOGIN and not public:
            if path.startswith("/api/"):
                return _problem(401, "show the dashboard's token: Authorization: Bearer TOKEN")
            return _redirect(request, "/login")
        acts = request.method == "POST" and path.startswith("/api/")
        if acts and not guard.is_same_origin(request):
            return _problem(
                403, f"an action needs the header {guard.ACTION_HEADER} and the same origin"
            )
        return _redirect(request, "/") if path == "" else None

    async def _page(self, request: Request) -> Response:
        return _file("index.html")

    async def _asset(self, request: Request) -> Response:
        return _file(request.path_params["name"])

    async def _login(self, request: Request) -> Response:
        if request.method == "GET":
            return _file("login.html")
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > LOGIN_BYTES:
                return _problem(413, "a login is smaller than that")
        form = parse_qs(body.decode("utf-8", "replace"))
        value = self._guard.cookie_for(form.get("token", [""])[0])
        if value is None:
            await asyncio.sleep(LOGIN_DELAY)
            return _redirect(request, "/login?wrong=1")
        response = _redirect(request, "/")
        response.set_cookie(
            guard.COOKIE,
            value,
            path=request.scope["root_path"],
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return response

    async def _overview(self, request: Request) -> Response:
        return _json(await self._state() | {"history": list(self._figures.history)})

    async def _events(self, request: Request) -> Response:
        if self._streams >= STREAMS_MAX:
            return _problem(503, f"{STREAMS_MAX} pages listen already")
        return StreamingResponse(self._stream(), media_type="text/event-stream", headers=_HEADERS)

    async def _stream(self) -> AsyncIterator[str]:
        """The overview, once a period, until the page or the server goes."""
        self._streams += 1
        try:
            yield "retry: 2000\n\n"
            while not self._stopping.is_set():
                try:
                    state = await self._state()
                except BrokerError as error:
                    state = {"now": time.time(), "problem": str(error)}
                history = self._figures.history
                state["point"] = history[-1] if history else None
                yield f"data: {json.dumps(state)}\n\n"
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PERIOD):
                        await self._stopping.wait()
        finally:
            self._streams -= 1

    async def _state(self) -> dict[str, Any]:
        return {
            "now": time.time(),
            "brokers": await self._brokers.state(),
            "processes": self._figures.processes,
            "pid": os.getpid(),
        }

    async def _jobs(self, request: Request) -> Response:
        query = request.query_params
        try:
            number = int(query.get("broker", "0"))
            limit = min(max(int(query.get("limit", "50")), 1), JOBS_SHOWN)
        except ValueError:
            return _problem(400, "broker and limit are whole numbers")
        broker = self._brokers.at(number)
        if broker is None:
            return _json({"jobs": [], "more": False})
        filters = {
            name: query[name]
            for name in ("state", "queue", "task", "group", "before")
            if query.get(name)
        }
        try:
            found = await broker.jobs(limit=limit + 1, **filters)
        except ValueError as error:
            return _problem(400, str(error))
        return _json(
            {"jobs": [views.job_row(job) for job in found[:limit]], "more": len(found) > limit}
        )

    async def _job(self, request: Request) -> Response:
        broker = self._brokers.at(request.path_params["broker"])
        found = None if broker is None else await broker.job(request.path_params["id"])
        if found is None:
            return _problem(404, f"no job {request.path_params['id']}")
        assert broker is not None  # it has the job
        return _json(views.job_detail(found, await broker.attempts(found.id)))

    async def _workflows(self, request: Request) -> Response:
        return _json({"workflows": await self._brokers.workflows()})

    async def _workflow(self, request: Request) -> Response:
        broker = self._brokers.at(request.path_params["broker"])
        counts = {} if broker is None else await broker.workflow(request.path_params["id"])
        if not any(counts.values()):
            return _problem(404, f"no workflow {request.path_params['id']}")
        return _json({"id": request.path_params["id"], "counts": counts})

    async def _metrics(self, request: Request) -> Response:
        from pelton.jobs import Jobs
        from pelton.jobs.metrics import CONTENT_TYPE, metrics

        text = await metrics([Jobs.of(broker) for broker in await self._brokers.opened()])
        return Response(text, media_type=CONTENT_TYPE, headers=_HEADERS)

    async def _act(self, request: Request) -> Response:
        """Retry, cancel or delete a job: 409 where its state does not allow it."""
        broker = self._brokers.at(request.path_params["broker"])
        identity, action = request.path_params["id"], request.path_params["action"]
        actions = {} if broker is None else broker.job_actions
        if action not in actions:
            return _problem(404, f"no action {action!r}: there are {', '.join(actions)}")
        if not await actions[action](identity):
            return _problem(409, f"job {identity} is not in a state to {action} it")
        logger.info("%s of job %s from the dashboard", action, identity)
        return _json({"done": action})

    async def _act_on_named(self, request: Request) -> Response:
        """An action on the queue, schedule or workflow named by the query's `name`."""
        broker = self._brokers.at(request.path_params["broker"])
        what, action = request.path_params["what"], request.path_params["action"]
        actions = {} if broker is None else broker.actions.get(what, {})
        name = request.query_params.get("name", "")
        if action not in actions or not name:
            return _problem(404, f"no such action: {', '.join(actions) or 'none'}, with ?name=NAME")
        if not await actions[action](name):
            return _problem(409, f"{name}: there is nothing to {action}")
        logger.info("%s of %s %s from the dashboard", action, what, name)
        return _json({"done": action})


def _file(name: str) -> Response:
    """A file of the page. There are few, and all are flat: no path can lead elsewhere."""
    path = _STATIC / name
    if name not in {entry.name for entry in _STATIC.iterdir()} or path.suffix not in _TYPES:
        return _problem(404, f"the dashboard has no {name!r}")
    return Response(path.read_bytes(), media_type=_TYPES[path.suffix], headers=_HEADERS)


def _redirect(request: Request, place: str) -> Response:
    """To a place of the dashboard, wherever that is mounted."""
    return RedirectResponse(request.scope["root_path"] + place, 303, headers=_HEADERS)


def _json(value: Any) -> Response:
    return JSONResponse(value, headers=_HEADERS)


def _problem(status: int, message: str) -> Response:
    return JSONResponse({"detail": message}, status, headers=_HEADERS)
