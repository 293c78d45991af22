"""Points where other tasks may run, and where cancellation is delivered."""

from __future__ import annotations

import types
from collections.abc import Generator

from pelton._nursery.delivery import current_scopes, is_cancelled


@types.coroutine
def give_way() -> Generator[None, None, None]:
    """Let every other task that is ready run once."""
    yield


async def checkpoint() -> None:
    """Let other tasks run, and raise CancelledError if a scope around the caller is cancelled."""
    scopes = current_scopes()
    if is_cancelled(scopes.current):
        scopes.kick()
    await give_way()


async def checkpoint_if_cancelled() -> None:
    """Raise CancelledError if a scope around the caller is cancelled; else return at once."""
    scopes = current_scopes()
    if is_cancelled(scopes.current):
        scopes.kick()
        await give_way()
