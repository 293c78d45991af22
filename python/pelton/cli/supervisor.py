"""The process tree of `pelton run`: starts its parts, restarts what dies, stops all in order."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pelton.cli import supervised

FIRST_DELAY = 0.2
"""Seconds until a part that died starts again; doubled each time, up to `LONGEST_DELAY`."""
LONGEST_DELAY = 30.0
STEADY = 30.0
"""Seconds after which a running part counts as sound, and its delay begins anew."""
KILL_MARGIN = 1.0
"""Seconds past a part's own stop timeout until it is killed."""
REPORT_LIMIT = 1 << 16
"""Bytes of a part's report."""

logger = logging.getLogger("pelton.run")


@dataclass(frozen=True)
class Part:
    """A process of the tree: its name, how to call it, and how long its stop may take."""

    name: str
    command: Sequence[str]
    stop_timeout: float
    descriptors: tuple[int, ...] = ()
    """File descriptors that it inherits."""


class StartError(Exception):
    """A part ended before it was ready. `code` is its exit code."""

    def __init__(self, part: Part, code: int) -> None:
        super().__init__(f"{part.name} {_ending(code)} before it was ready")
        self.code = code


class Supervisor:
    """Keeps parts running until `stop`.

    It belongs to the event loop that called `start` first.
    """

    def __init__(self) -> None:
        self._groups: list[list[_Keeper]] = []

    async def start(self, *parts: Part) -> list[dict[str, Any]]:
        """Starts parts together and waits until each says that it is ready: their reports.

        Raises StartError for the first that ends before; the caller then stops the rest.
        """
        keepers = [_Keeper(part) for part in parts]
        self._groups.append(keepers)
        starts = [asyncio.create_task(keeper.start()) for keeper in keepers]
        try:
            return list(await asyncio.gather(*starts))
        finally:
            for start in starts:
                start.cancel()
            await asyncio.gather(*starts, return_exceptions=True)

    async def stop(self) -> None:
        """Ends the groups one after the other, the first started first; kills what outlasts it.

        The web processes start first and so stop first: their last requests may still wait for
        jobs, which need workers.
        """
        for group in self._groups:
            await asyncio.gather(*(keeper.stop() for keeper in group))

    async def restart(self) -> None:
        """Ends each part gracefully and starts it again, group by group; waits for the ends."""
        for group in self._groups:
            await asyncio.gather(*(keeper.restart() for keeper in group))

    def kill(self) -> None:
        """Ends all at once, without grace."""
        for group in self._groups:
            for keeper in group:
                keeper.kill()


class _Keeper:
    """One part: the process that runs it now, and the task that starts the next one."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._process: asyncio.subprocess.Process | None = None
        self._link: socket.socket | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._stopping = False
        self._again = asyncio.Event()

    async def start(self) -> dict[str, Any]:
        report = await self._start_once()
        if report is None:
            assert self._process is not None
            raise StartError(self.part, await self._process.wait())
        self._watcher = asyncio.create_task(self._watch(), name=f"keep {self.part.name}")
        return report

    async def stop(self) -> None:
        self._stopping = True
        await self._end()
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
        self._close_link()

    async def restart(self) -> None:
        """Ends the process; the watcher starts the next at once, even if it was to wait."""
        self._again.set()
        await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), self.part.stop_timeout + KILL_MARGIN)
            except TimeoutError:
                logger.warning(
                    "%s did not stop within %g s: killed", self.part.name, self.part.stop_timeout
                )
        if process is self._process:
            self.kill()
        await process.wait()

    def kill(self) -> None:
        """Kills the process and whatever it started: its group outlives it where they do."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def _watch(self) -> None:
        """Waits for the process to die and starts the next, later each time it dies young."""
        delay = FIRST_DELAY
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            assert self._process is not None
            code = await self._process.wait()
            if self._stopping:
                return
            self.kill()
            if self._again.is_set() or loop.time() - began >= STEADY:
                delay = FIRST_DELAY
            if not self._again.is_set():
                logger.warning("%s %s; starts again in %g s", self.part.name, _ending(code), delay)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await self._again.wait()
                delay = min(delay * 2, LONGEST_DELAY)
            self._again.clear()
            began = loop.time()
            if await self._start_once() is not None:
                logger.info("%s is back (pid %d)", self.part.name, self._process.pid)

    async def _start_once(self) -> dict[str, Any] | None:
        """Starts the process and reads its report; None where it ends without one."""
        self._close_link()
        ours, theirs = socket.socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.part.command,
                stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, supervised.VARIABLE: str(theirs.fileno())},
                pass_fds=(theirs.fileno(), *self.part.descriptors),
                # A group of its own: Ctrl-C reaches the parent alone, which stops all in order.
                process_group=0,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        ours.setblocking(False)
        self._link = ours
        line = await _read_line(ours)
        report: dict[str, Any] | None = json.loads(line) if line else None
        return report

    def _close_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


async def _read_line(link: socket.socket) -> bytes:
    """A report; empty where the other end closes first, as it does when its process ends."""
    loop = asyncio.get_running_loop()
    data = b""
    while not data.endswith(b"\n"):
        try:
            more = await loop.sock_recv(link, REPORT_LIMIT)
        except ConnectionError:
            more = b""
        if not more or len(data) > REPORT_LIMIT:
            return b""
        data += more
    return data


def _ending(code: int) -> str:
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with exit code {code}"


def wait_for_signals(numbers: Sequence[signal.Signals], supervisor: Supervisor) -> asyncio.Event:
    """An event that the first of these signals sets; a second one kills all parts."""
    loop = asyncio.get_running_loop()
    event = asyncio.Event()

    def received() -> None:
        if event.is_set():
            logger.warning("second signal: ending everything now")
            supervisor.kill()
        event.set()

    for number in numbers:
        loop.add_signal_handler(number, received)
    return event
