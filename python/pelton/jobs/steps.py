"""Steps of a job that are not repeated, and rests that hold no worker."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

from pelton._core import LeasedJob, WorkerSession
from pelton.jobs.codec import Result, annotations_of
from pelton.jobs.errors import LeaseLost, PayloadTooLarge

_UNTYPED = Result(Any, "a step")


class Suspended(BaseException):
    """Ends an attempt that goes on later: not an error, so `except Exception` lets it pass."""

    def __init__(self, until: float | None, signal: str | None = None) -> None:
        super().__init__("the job goes on later")
        self.until = until
        self.signal = signal


class Steps:
    """What one attempt has done, and what the attempts before it did.

    A job's function runs again from its beginning when the job goes on; its steps are known by
    their names and, where a name comes again, by their order. Results are kept under the lease.
    """

    __slots__ = ("_counts", "_job", "_known", "_late", "_limit", "_session")

    def __init__(self, session: WorkerSession, job: LeasedJob, limit: int) -> None:
        self._session = session
        self._job = job
        self._limit = limit
        self._counts: dict[str, int] = {}
        self._known: dict[str, bytes] | None = None
        self._late: tuple[TimeoutError, str] | None = None

    async def step(
        self, name: str, fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        """The result of an earlier attempt's step, or of calling `fn` now."""
        key, codec = self._key("step", name), _codec(fn, name)
        known = await self._load()
        if key not in known:
            value = fn(*args, **kwargs)
            if inspect.isawaitable(value):
                value = await value
            await self._save(key, self._checked(name, codec.encode(value)))
        return codec.decode(known[key])

    def step_blocking(
        self, name: str, fn: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Any:
        """`step` in a thread."""
        key, codec = self._key("step", name), _codec(fn, name)
        known = self._known
        if known is None:
            known = self._known = self._session.steps(self._job) or {}
        if key not in known:
            data = self._checked(name, codec.encode(fn(*args, **kwargs)))
            if not self._session.save_step(self._job, key, data):
                raise LeaseLost(self._job.id)
            known[key] = data
        return codec.decode(known[key])

    async def sleep(self, seconds: float) -> None:
        """Returns once `seconds` have passed since an attempt first came here."""
        key = self._key("sleep", "")
        known = await self._load()
        if key not in known:
            await self._save(key, json.dumps(time.time() + seconds).encode())
        until = json.loads(known[key])
        if until > time.time():
            raise Suspended(until)

    async def wait_signal(self, name: str, seconds: float | None) -> Any:
        """The value of the next signal of this name; TimeoutError."""
        key = self._key("signal", name)
        known = await self._load()
        failed = 0  # attempts that failed because none came: each was given its time
        while f"{key}/failed#{failed}" in known:
            failed += 1
        wait = f"{key}#{failed}" if failed else key
        if wait + "/late" in known:
            raise self._too_late(name, key, failed, seconds)
        if key not in known:
            value = await self._call(self._session.take_signal, name, key)
            if value is None:
                await self._wait(name, wait, seconds)
                raise self._too_late(name, key, failed, seconds)
            known[key] = value
        return json.loads(known[key])

    async def _wait(self, name: str, wait: str, seconds: float | None) -> None:
        """Returns once the time is over, which is noted."""
        if seconds is None:
            raise Suspended(None, name)
        known = await self._load()
        if wait + "/until" not in known:
            await self._save(wait + "/until", json.dumps(time.time() + seconds).encode())
        until = json.loads(known[wait + "/until"])
        if until > time.time():
            raise Suspended(until, name)
        await self._save(wait + "/late", b"true")

    def _too_late(self, name: str, key: str, failed: int, seconds: float | None) -> TimeoutError:
        error = TimeoutError(f"no signal {name!r} came within {seconds} s")
        self._late = (error, f"{key}/failed#{failed}")
        return error

    def note_failure(self, error: BaseException) -> None:
        """Where the attempt failed because no signal came, the next one shall wait for it again.

        Where the task went on after that, it stays as it is: the next attempt takes the same way.
        """
        if self._late is None or self._late[0] not in (error, error.__cause__):
            return
        # It is written before the outcome, which is handed over after it. If it is not written,
        # the next attempt fails as this one did.
        waiter = asyncio.get_running_loop().create_future()
        waiter.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._session.save_step(self._job, self._late[1], b"true", waiter=waiter)

    def _key(self, kind: str, name: str) -> str:
        number = self._counts.get(kind + name, 0) + 1
        self._counts[kind + name] = number
        return f"{kind}:{name}" if number == 1 else f"{kind}:{name}#{number}"

    def _checked(self, name: str, data: bytes) -> bytes:
        if len(data) > self._limit:
            raise PayloadTooLarge(
                f"step {name!r} returned {len(data)} bytes of JSON, above the limit of "
                f"{self._limit}; store the data elsewhere and return its name"
            )
        return data

    async def _load(self) -> dict[str, bytes]:
        if self._known is None:
            known = await self._call(self._session.steps)
            if self._known is None:  # else a step that was begun beside this one was faster
                self._known = known
        assert self._known is not None  # the call gave it
        return self._known

    async def _save(self, key: str, data: bytes) -> None:
        if not await self._call(self._session.save_step, key, data):
            raise LeaseLost(self._job.id)
        (await self._load())[key] = data

    async def _call(self, operation: Callable[..., Any], *args: Any) -> Any:
        waiter = asyncio.get_running_loop().create_future()
        operation(self._job, *args, waiter=waiter)
        return await waiter


def _codec(fn: Callable[..., Any], name: str) -> Result:
    """By the function's return annotation, where it has one that can be resolved."""
    fn = getattr(fn, "fn", fn)  # of a task, its function
    try:
        hints = annotations_of(fn, f"step {name}", {})
    except Exception:
        # A partial or a lambda, or annotations that only its own scope knows.
        return _UNTYPED
    return Result(hints.get("return", Any), f"step {name}")
