"""A route's app behind its limits and its deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Literal, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .deadlines import Deadline, TimeLeft, current
from .disconnect import ClientWatch
from .errors import DeadlineExceeded
from .limits import ConcurrencyLimit, Limit, RateLimit, rate_headers

DeadlineOption = Deadline | float | Literal[False] | None
"""What ``deadline=…`` takes: seconds, a `Deadline`, or `False` for none where a router has one."""


_T = TypeVar("_T")


def nearest(own: _T | None, around: _T | None) -> _T | None:
    """What is declared here, else what is declared around."""
    return around if own is None else own


@dataclass(frozen=True)
class Guard:
    """What stands before one route."""

    rates: tuple[RateLimit, ...]
    slots: tuple[ConcurrencyLimit, ...]
    deadline: Deadline | None
    cancel_on_disconnect: bool

    @classmethod
    def of(
        cls,
        limits: Sequence[Limit],
        deadline: DeadlineOption,
        cancel_on_disconnect: bool | None,
    ) -> Guard | None:
        """The guard that is declared by these; `None` if there is nothing to guard."""
        for limit in limits:
            if not isinstance(limit, RateLimit | ConcurrencyLimit):
                raise TypeError(f"limits: {limit!r} is neither a RateLimit nor a ConcurrencyLimit")
        if deadline is True:
            raise TypeError("deadline=True: give seconds, a Deadline, or False for none")
        if deadline is False:
            chosen = None
        elif isinstance(deadline, int | float):
            chosen = Deadline(deadline)
        else:
            chosen = deadline
        guard = cls(
            rates=tuple(limit for limit in limits if isinstance(limit, RateLimit)),
            slots=tuple(limit for limit in limits if isinstance(limit, ConcurrencyLimit)),
            deadline=chosen,
            cancel_on_disconnect=bool(cancel_on_disconnect),
        )
        return guard if guard != cls((), (), None, False) else None

    @property
    def is_native(self) -> bool:
        """Whether a compiled plan can stand guard itself."""
        return self.reason is None

    @property
    def reason(self) -> str | None:
        """Why our server takes the ASGI way for the route; `None` if it does not."""
        if self.deadline is not None:
            return "it has a deadline"
        if self.cancel_on_disconnect:
            return "it is cancelled when the client leaves"
        if self.slots:
            return "it has a concurrency limit"
        if not all(limit.is_native for limit in self.rates):
            return "the key of its rate limit is a function"
        return None


class GuardedApp:
    """The ASGI app of a guarded route; `app` is the route's own."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self.app = app
        self.guard = guard

    @property
    def native(self) -> ASGIApp:
        """What our server may run in its place: the route's own app, if its plan stands guard."""
        return self.app if self.guard.is_native else self

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets the request through, or raises what refuses it."""
        guard = self.guard
        if guard.rates:
            send = with_fields(send, await self._rates(Request(scope, receive)))
        await self._in_time(scope, receive, send)

    async def _in_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The route's app, once there is room."""
        async with AsyncExitStack() as stack:
            for limit in self.guard.slots:
                await stack.enter_async_context(limit.slot())
            await self.app(scope, receive, send)

    async def _rates(self, request: Request) -> list[tuple[bytes, bytes]]:
        decisions = []
        for limit in self.guard.rates:
            decision = await limit.take(request)
            if decision is not None:
                decisions.append((limit, decision))
                if not decision[0]:
                    break
        return rate_headers(decisions) if decisions else []

    async def _in_time(self, scope: Scope, receive: Receive, send: Send) -> None:
        guard = self.guard
        budget = None if guard.deadline is None else guard.deadline.budget(Headers(scope=scope))
        outer = current.get()
        if outer is not None:
            left = outer.remaining()
            budget = left if budget is None else min(budget, left)
        if budget is None and not guard.cancel_on_disconnect:
            await self._in_turn(scope, receive, send)
            return
        if budget is not None and budget <= 0:
            raise DeadlineExceeded(budget)
        streams = guard.deadline is not None and guard.deadline.streams
        run = _TimedRun(budget, streams, guard.cancel_on_disconnect)
        # Waiting for one's turn takes time, too.
        await run(self._in_turn, scope, receive, send)


class _TimedRun:
    """One request, cancelled when its time is over or its client has gone."""

    def __init__(self, budget: float | None, streams: bool, watches: bool) -> None:
        self._budget = budget
        self._streams = streams
        self._watches = watches
        self._is_begun = False
        self._is_complete = False
        self._is_abandoned = False

    async def __call__(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs `app`; raises `DeadlineExceeded` if it is late and can still be told."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "deadlines and cancel_on_disconnect need asyncio; this request runs elsewhere"
            ) from None
        token = None
        until = None
        if self._budget is not None:
            token = current.set(TimeLeft(time.monotonic() + self._budget))
            until = loop.time() + self._budget
        watch = None
        try:
            async with asyncio.timeout_at(until) as self._timeout:
                if self._watches:
                    watch = receive = ClientWatch(receive, self._abandon)
                await app(scope, receive, self._sending(send))
        except TimeoutError:
            if not self._timeout.expired():
                raise
            if self._is_abandoned:
                # There is nobody to answer.
                return
            if self._is_begun or self._budget is None:
                raise
            raise DeadlineExceeded(self._budget) from None
        finally:
            if watch is not None:
                await watch.close()
            if token is not None:
                current.reset(token)

    def _abandon(self) -> None:
        if not self._is_complete and not self._timeout.expired():
            self._is_abandoned = True
            self._timeout.reschedule(asyncio.get_running_loop().time())

    def _sending(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            kind = message["type"]
            is_last = kind == "http.response.pathsend" or (
                kind == "http.response.body" and not message.get("more_body")
            )
            is_first = kind == "http.response.start"
            if (is_last or (is_first and not self._streams)) and not self._timeout.expired():
                # What follows, background tasks included, has no deadline.
                self._timeout.reschedule(None)
                current.set(None)
            self._is_begun |= is_first
            self._is_complete |= is_last
            await send(message)

        return sending


def with_fields(send: Send, fields: list[tuple[bytes, bytes]]) -> Send:
    """`send`, with header fields added to the response."""
    if not fields:
        return send

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *fields]}
        await send(message)

    return sending
