"""One part of a tree, kept running."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from typing import Any

from pelton._supervision.part import Part, StartError
from pelton._supervision.run import Run, ending

FIRST_DELAY = 0.2
"""Seconds until a part that died starts again; doubled each time, up to `LONGEST_DELAY`."""
LONGEST_DELAY = 30.0
STEADY = 30.0
"""Seconds after which a running part counts as sound, and its delay begins anew."""
TRY_AGAIN = 30.0
"""Seconds after a successor that did not get ready until the process may ask for another one."""
FIRST_TRIES = 5
"""Times that a part may be killed before it was ever ready."""

logger = logging.getLogger("pelton.run")


class Keeper:
    """Runs a part's process, and the next one when that dies or is due for a successor."""

    def __init__(self, part: Part) -> None:
        self.part = part
        self._run: Run | None = None
        self._starting: Run | None = None
        """A process that is not ready yet."""
        self._watcher: asyncio.Task[None] | None = None
        self._replacing: asyncio.Task[bool] | None = None
        self._stopping = False
        self._again = asyncio.Event()
        self._delay = FIRST_DELAY
        self._retire_from = 0.0
        """The loop's time before which the process gets no successor that it asks for."""

    async def start(self) -> dict[str, Any]:
        """Starts the part: its report.

        Raises StartError where it ends by itself before it is ready: it could not start. One that
        was killed, by whomever, starts again.
        """
        for _ in range(FIRST_TRIES):
            run, report = await self._begin()
            if report is not None:
                self._adopt(run)
                return report
            code = await run.wait()
            if code >= 0 or self._stopping:
                break
            logger.warning(
                "%s %s before it was ready; starts again in %g s",
                self.part.name,
                ending(code),
                self._delay,
            )
            await self._pause()
        raise StartError(self.part, code, ending(code))

    async def stop(self) -> None:
        """Ends the part for good."""
        self._stopping = True
        self._again.set()
        if self._replacing is not None:
            self._replacing.cancel()
        runs = [run for run in (self._starting, self._run) if run is not None]
        await asyncio.gather(*(run.stop() for run in runs))
        tasks = [task for task in (self._replacing, self._watcher) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def restart(self) -> None:
        """Ends the process and starts the next at once, even if it was to wait."""
        self._again.set()
        self._delay = FIRST_DELAY
        if self._run is not None:
            await self._run.stop()

    async def replace(self, why: str) -> bool:
        """Starts a successor, and ends the process once that is ready. Where it does not get ready,
        the process goes on: False. If a successor is on its way already, its outcome counts."""
        if self._replacing is None or self._replacing.done():
            self._replacing = asyncio.create_task(
                self._replace(why), name=f"replace {self.part.name}"
            )
        return await asyncio.shield(self._replacing)

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the process, if it is ready for one."""
        if self._run is not None and self._run.is_ready:
            self._run.send(number)

    def kill(self) -> None:
        """Ends the part's processes at once."""
        for run in (self._run, self._starting):
            if run is not None:
                run.kill()

    async def _replace(self, why: str) -> bool:
        old = self._run
        if self._stopping or old is None:
            return False
        logger.info("%s is replaced: %s", self.part.name, why)
        run, report = await self._begin()
        if report is None:
            code = await run.wait()
            self._retire_from = asyncio.get_running_loop().time() + TRY_AGAIN
            if self._run is old:
                logger.error(
                    "the successor of %s %s: what runs goes on", self.part.name, ending(code)
                )
            return False
        if self._stopping or self._run is not old:
            # It died meanwhile, and has a successor already.
            await run.stop()
            return not self._stopping
        self._adopt(run)
        logger.info("%s runs as pid %d now", self.part.name, run.pid)
        await old.stop()
        return True

    async def _begin(self) -> tuple[Run, dict[str, Any] | None]:
        run = Run(self.part)
        self._starting = run
        try:
            return run, await run.start()
        except asyncio.CancelledError:
            await run.stop()
            raise
        finally:
            if self._starting is run:
                self._starting = None

    def _adopt(self, run: Run) -> None:
        """From now on this is the part's process."""
        self._run = run
        run.on_retire = self._retire
        self._watcher = asyncio.create_task(self._watch(run), name=f"keep {self.part.name}")

    def _retire(self, why: str) -> None:
        is_free = self._replacing is None or self._replacing.done()
        is_late = asyncio.get_running_loop().time() >= self._retire_from
        if is_free and is_late and not self._stopping:
            self._replacing = asyncio.create_task(
                self._replace(why), name=f"replace {self.part.name}"
            )

    async def _watch(self, run: Run) -> None:
        """Waits for the process to die and starts the next, later each time it dies young."""
        code = await run.wait()
        while not self._stopping and run is self._run:
            if asyncio.get_running_loop().time() - run.began >= STEADY:
                self._delay = FIRST_DELAY
            if not self._again.is_set():
                logger.warning(
                    "%s %s; starts again in %g s", self.part.name, ending(code), self._delay
                )
                await self._pause()
            self._again.clear()
            if self._stopping:
                return
            following, report = await self._begin()
            if report is not None:
                self._adopt(following)
                logger.info("%s is back (pid %d)", self.part.name, following.pid)
                return
            code = await following.wait()
            self._run = run = following

    async def _pause(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._delay):
                await self._again.wait()
        self._delay = min(self._delay * 2, LONGEST_DELAY)
