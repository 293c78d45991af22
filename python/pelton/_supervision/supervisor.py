"""A tree of processes: starts its parts, restarts what dies, stops all in order."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Sequence
from typing import Any

from pelton._supervision.keeper import Keeper
from pelton._supervision.part import Part

logger = logging.getLogger("pelton.run")


class Supervisor:
    """Keeps parts running until `stop`.

    It belongs to the event loop that called `start` first.
    """

    def __init__(self) -> None:
        self._groups: list[list[Keeper]] = []

    async def start(self, *parts: Part) -> list[dict[str, Any]]:
        """Starts parts together and waits until each says that it is ready: their reports.

        Raises StartError for the first that could not start; the caller then stops the rest.
        """
        keepers = [Keeper(part) for part in parts]
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
        for group in list(self._groups):
            await asyncio.gather(*(keeper.restart() for keeper in group))

    async def roll(self) -> None:
        """Replaces each process by a new one, which is ready before the old one ends, one after the
        other. It ends where a new one does not get ready: the others would not either."""
        for keeper in [keeper for group in self._groups for keeper in group]:
            if not await keeper.replace("a rolling restart was asked for"):
                logger.error("the rolling restart ends here: %s is the old one", keeper.part.name)
                return

    def parts(self, role: str) -> list[Part]:
        """The parts of a role, oldest first."""
        return [keeper.part for keeper in self._all(role)]

    async def remove(self, role: str) -> Part | None:
        """Stops the youngest part of a role, but not the last: which."""
        keepers = self._all(role)
        if len(keepers) < 2:
            return None
        youngest = keepers[-1]
        for group in self._groups:
            if youngest in group:
                group.remove(youngest)
        await youngest.stop()
        return youngest.part

    async def drop(self, name: str) -> None:
        """Stops the part of this name, if it runs, and forgets it."""
        for group in self._groups:
            for keeper in [keeper for keeper in group if keeper.part.name == name]:
                group.remove(keeper)
                await keeper.stop()

    def send(self, number: signal.Signals, role: str) -> None:
        """Sends a signal to the processes of a role that are ready."""
        for keeper in self._all(role):
            keeper.send(number)

    def kill(self) -> None:
        """Ends all at once, without grace."""
        for group in self._groups:
            for keeper in group:
                keeper.kill()

    def _all(self, role: str) -> list[Keeper]:
        return [keeper for group in self._groups for keeper in group if keeper.part.role == role]


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
