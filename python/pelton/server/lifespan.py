"""An application's lifespan: its start-up and its shutdown."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Literal

from pelton.server.errors import StartupError

__all__ = ["Lifespan"]

logger = logging.getLogger("pelton.server")


class Lifespan:
    """Runs an ASGI app's lifespan protocol in a task of its own.

    `state` is the namespace that the app fills at start-up and its requests see.
    """

    def __init__(self, app: Any, mode: Literal["auto", "on", "off"]) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._mode = mode
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue(maxsize=2)
        self._started: asyncio.Future[str | None] | None = None
        self._stopped: asyncio.Future[str | None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def startup(self, limit: float | None = None) -> None:
        """Waits until the app is ready.

        Raises StartupError where it says that it cannot start, or takes more than `limit`
        seconds. In the mode `auto` an app that does not know the protocol starts without it.
        """
        if self._mode == "off":
            return
        loop = asyncio.get_running_loop()
        self._started, self._stopped = loop.create_future(), loop.create_future()
        self._task = loop.create_task(self._run(), name="pelton lifespan")
        self._incoming.put_nowait({"type": "lifespan.startup"})
        try:
            async with asyncio.timeout(limit):
                failure = await asyncio.shield(self._started)
        except TimeoutError:
            await self._cancel()
            raise StartupError(
                f"the application did not start within {limit} seconds", exit_code=3
            ) from None
        if failure is not None:
            await self._cancel()
            raise StartupError(f"the application failed to start: {failure}", exit_code=3)

    async def shutdown(self) -> None:
        """Tells the app that the server stops, and waits until it has cleaned up.

        A failure is logged: there is nothing left to stop.
        """
        if self._task is None or self._task.done() or self._stopped is None:
            return
        self._incoming.put_nowait({"type": "lifespan.shutdown"})
        try:
            failure = await asyncio.shield(self._stopped)
        except asyncio.CancelledError:
            await self._cancel()
            raise
        if failure is not None:
            logger.error("the application failed to shut down: %s", failure)
        await self._task

    async def _run(self) -> None:
        assert self._started is not None
        assert self._stopped is not None
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        try:
            await self._app(scope, self._incoming.get, self._send)
        except Exception as error:
            self._failed(error)
        finally:
            # An app that returns early has nothing against being served.
            for waiting in (self._started, self._stopped):
                if not waiting.done():
                    waiting.set_result(None)

    def _failed(self, error: Exception) -> None:
        assert self._started is not None
        assert self._stopped is not None
        if not self._started.done():
            if self._mode == "on":
                logger.error("Exception in the application's lifespan", exc_info=error)
                self._started.set_result(f"{type(error).__name__}: {error}")
            else:
                logger.debug("the application has no lifespan", exc_info=error)
                self.state.clear()
        elif not self._stopped.done():
            logger.error("Exception in the application's lifespan", exc_info=error)
            self._stopped.set_result(f"{type(error).__name__}: {error}")

    async def _send(self, message: dict[str, Any]) -> None:
        assert self._started is not None
        assert self._stopped is not None
        kind = message["type"]
        if kind in ("lifespan.startup.complete", "lifespan.startup.failed"):
            waiting = self._started
        elif kind in ("lifespan.shutdown.complete", "lifespan.shutdown.failed"):
            waiting = self._stopped
        else:
            raise RuntimeError(f"unexpected ASGI message {kind!r} in a lifespan")
        if waiting.done():
            raise RuntimeError(f"unexpected ASGI message {kind!r}: it was answered already")
        failed = kind.endswith(".failed")
        text = message.get("message") or "no reason given"
        if failed:
            logger.error("%s", text)
            text = text.strip().splitlines()[-1]
        waiting.set_result(text if failed else None)

    async def _cancel(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
