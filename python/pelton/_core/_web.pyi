"""Routes and the plans they were compiled to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from typing import Any, final

from starlette.types import ASGIApp, Receive, Scope, Send

@final
class RouteApp:
    """One route's compiled plan as an ASGI app.

    `spec` is a `pelton.web._plan.PlanSpec`. While the plan does not hold (dependencies are
    overridden, plans are turned off) requests go to `reference`.
    """

    def __new__(cls, spec: Any, reference: ASGIApp) -> RouteApp: ...
    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]: ...
    @property
    def reference(self) -> ASGIApp: ...

@final
class RequestRun:
    """One request on its way through a plan: a coroutine that returns None."""

    __name__: str
    __qualname__: str
    @property
    def cr_running(self) -> bool: ...
    @property
    def cr_await(self) -> Any: ...
    def __await__(self) -> Iterator[Any]: ...
    def __iter__(self) -> Iterator[Any]: ...
    def __next__(self) -> Any: ...
    def send(self, value: Any) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: Any = None) -> Any: ...
    def close(self) -> None: ...

@final
class TrackedSend:
    """An ASGI `send` that remembers whether a response was begun."""

    def __call__(self, message: MutableMapping[str, Any]) -> Awaitable[None]: ...
    @property
    def started(self) -> bool: ...

@final
class RouteIndex:
    """Which of a list of routes may match a path.

    `patterns` has one for each route: text and parameters ``(name, convertor)`` in turn, as
    `pelton.web._plan_routes.pattern_of` gives them.
    """

    def __new__(cls, patterns: list[list[str | tuple[str, str]]]) -> RouteIndex: ...
    def candidates(self, path: str) -> list[int]:
        """The places of all routes that may match, smallest first; some of them may not."""

@final
class RoutesSeen:
    """The routes of some routers at one time."""

    def __new__(cls, routers: Iterable[Any]) -> RoutesSeen: ...
    def is_current(self) -> bool:
        """Whether all of them have the same routes, in the same order, as when it was made."""

@final
class DirectApp:
    """Requests handed to an app's plans as the native server hands them, in memory: for tests
    and measurements."""

    @staticmethod
    def find(app: Any) -> DirectApp | None:
        """The plans of `app`; None where the server would run it as an ASGI app."""

    def request(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        body: bytes,
        asgi: Callable[[], tuple[Any, Any, Any]],
    ) -> tuple[RequestRun, DirectAnswer] | None:
        """The coroutine of a request and where its answer will be; None where the server would
        take the ASGI way. `asgi` makes `(scope, receive, send)` if they are needed."""

@final
class DirectAnswer:
    """What became of a request handed to `DirectApp`."""

    @property
    def status(self) -> int | None: ...  # None while there is no answer
    @property
    def headers(self) -> list[tuple[bytes, bytes]]: ...  # without those of the transport
    @property
    def body(self) -> bytes: ...
    @property
    def error(self) -> BaseException | None: ...  # that no handler of the app took

def use_plans(enabled: bool) -> bool:
    """Turns compiled plans on or off for the whole process; returns what it was."""
