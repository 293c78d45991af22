"""One run of a part's process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import socket
from collections.abc import Callable
from typing import Any

from pelton._supervision import child
from pelton._supervision.part import Part

KILL_MARGIN = 1.0
"""Seconds past a part's own stop timeout until it is killed."""
DUMP_TIME = 5.0
"""Seconds that a hung process may take to write its stacks."""
LINE_MAX = 1 << 16
"""Bytes of a report, or of any other message."""

logger = logging.getLogger("pelton.run")


class Run:
    """A process, from its start to its end, and what it says meanwhile.

    Its messages are lines of JSON: the first is its report, which says that it is ready; `beat` is
    a sign of life; `retire` asks for a successor, and says why.
    """

    def __init__(self, part: Part) -> None:
        self.part = part
        self.began = self._beat = asyncio.get_running_loop().time()
        self.on_retire: Callable[[str], None] | None = None
        """Called when the process asks for a successor."""
        self._process: asyncio.subprocess.Process | None = None
        self._over = False
        """It has ended, with all that it started: its id may be somebody else's by now."""
        self._report: asyncio.Future[dict[str, Any] | None] = (
            asyncio.get_running_loop().create_future()
        )
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def pid(self) -> int:
        """The process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_ready(self) -> bool:
        """Whether it has reported, and still runs."""
        reported = self._report.done() and self._report.result() is not None
        return reported and self._process is not None and self._process.returncode is None

    async def start(self) -> dict[str, Any] | None:
        """Starts the process and waits for its report; None where it ends without one."""
        ours, theirs = socket.socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self.part.command,
                stdin=asyncio.subprocess.DEVNULL,
                env={
                    **os.environ,
                    **self.part.environment,
                    child.VARIABLE: str(theirs.fileno()),
                },
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
        self._tasks.append(asyncio.create_task(self._listen(ours), name=f"hear {self.part.name}"))
        report = await asyncio.shield(self._report)
        if report is not None and self.part.health_timeout is not None:
            watch = self._watch_health(self.part.health_timeout)
            self._tasks.append(asyncio.create_task(watch, name=f"health of {self.part.name}"))
        return report

    async def wait(self) -> int:
        """Waits for the end: the exit code. What the process had started ends with it."""
        assert self._process is not None
        code = await self._process.wait()
        self.kill()
        self._over = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        return code

    async def stop(self) -> int:
        """Ends the process gracefully within its time, or not: the exit code."""
        if self._process is None:
            return 0
        if self._process.returncode is None:
            self.send(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), self.part.stop_timeout + KILL_MARGIN)
            except TimeoutError:
                logger.warning(
                    "%s did not stop within %g s: killed", self.part.name, self.part.stop_timeout
                )
        self.kill()
        return await self.wait()

    def kill(self) -> None:
        """Kills the process and whatever it started: its group outlives it where they do."""
        if self._process is not None and not self._over:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if it is there."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _listen(self, link: socket.socket) -> None:
        """Reads messages until the process closes its end, as it does when it ends."""
        loop = asyncio.get_running_loop()
        data = b""
        try:
            while len(data) <= LINE_MAX:
                more = await loop.sock_recv(link, LINE_MAX)
                if not more:
                    break
                *lines, data = (data + more).split(b"\n")
                for line in lines:
                    self._hear(json.loads(line))
        except ConnectionError:
            pass
        finally:
            if not self._report.done():
                self._report.set_result(None)
            link.close()

    def _hear(self, message: dict[str, Any]) -> None:
        self._beat = asyncio.get_running_loop().time()
        if not self._report.done():
            self._report.set_result(message)
        elif "retire" in message and self.on_retire is not None:
            self.on_retire(str(message["retire"]))

    async def _watch_health(self, limit: float) -> None:
        """Ends the process once it gives no sign of life for `limit` seconds, with its stacks."""
        loop = asyncio.get_running_loop()
        while (  # noqa: ASYNC110  a clock is watched
            left := self._beat + limit - loop.time()
        ) > 0:
            # This process may itself have been stopped: what lies in the socket is read first.
            await asyncio.sleep(left + min(limit / 4, 1.0))
        logger.error(
            "%s (pid %d) gave no sign of life for %g s: it is killed, and writes its stacks",
            self.part.name,
            self.pid,
            limit,
        )
        # Python's fault handler, which the child has enabled, writes the stacks of all threads.
        self.send(signal.SIGABRT)
        await asyncio.sleep(DUMP_TIME)
        self.kill()


def ending(code: int) -> str:
    """How a process ended, for people."""
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with exit code {code}"
