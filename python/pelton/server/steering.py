"""The life of a tree of processes that serve, and what signals do to it."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from pelton._supervision.part import Part, StartError
from pelton._supervision.supervisor import Supervisor, wait_for_signals
from pelton.server.crew import ROLE, Crew

__all__ = ["live", "steer"]

logger = logging.getLogger("pelton.run")


def hold() -> None:
    """Has the signals change nothing until `steer`: their default would end this process, or stop
    it, with its children left to themselves."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1):
        loop.add_signal_handler(number, logger.warning, "%s ignored: still starting", number.name)


async def live(
    tree: Supervisor,
    start: Callable[[], Coroutine[Any, Any, None]],
    *,
    beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
) -> None:
    """A tree's life: `start` fills it, and calls `steer`; then it lives until SIGTERM or SIGINT,
    with `beside` running meanwhile. Whatever happens, its processes are stopped at the end.

    Raises StartError where a part cannot start.
    """
    stop = wait_for_signals((signal.SIGTERM, signal.SIGINT), tree)
    hold()
    stopping, starting = asyncio.create_task(stop.wait()), asyncio.create_task(start())
    tasks: list[asyncio.Task[Any]] = [stopping, starting]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            await starting
            if beside is not None:
                tasks.append(asyncio.create_task(beside()))
            await stopping
        logger.info("stopping")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await tree.stop()


def steer(tree: Supervisor, crew: Crew, part: Callable[[str, tuple[int, ...]], Part]) -> None:
    """Lets signals change a tree from now on: SIGHUP replaces its processes, SIGTTIN and SIGTTOU
    make its web processes one more or less, SIGUSR1 goes to them. `part` makes a place's part."""
    loop = asyncio.get_running_loop()
    changing = asyncio.Lock()
    tasks: set[asyncio.Task[None]] = set()

    async def grow() -> None:
        name, fds = crew.join()
        try:
            await tree.start(part(name, fds))
        except StartError as error:
            logger.error("no further process: %s", error)
            await tree.drop(name)
            crew.leave(name)

    async def shrink() -> None:
        gone = await tree.remove(ROLE)
        if gone is None:
            logger.warning("the last web process stays")
        else:
            crew.leave(gone.name)

    def on(number: signal.Signals, change: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async def in_turn() -> None:
            async with changing:
                await change()

        def received() -> None:
            logger.info("%s received", number.name)
            task = asyncio.create_task(in_turn(), name=number.name)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        loop.add_signal_handler(number, received)

    on(signal.SIGHUP, tree.roll)
    on(signal.SIGTTIN, grow)
    on(signal.SIGTTOU, shrink)
    loop.add_signal_handler(signal.SIGUSR1, tree.send, signal.SIGUSR1, ROLE)
