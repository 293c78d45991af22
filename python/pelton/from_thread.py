"""Back into the event loop from a thread of `pelton.to_thread`."""

from __future__ import annotations

from pelton._nursery.thread_call import call_from_thread as run_sync
from pelton._nursery.thread_call import run_from_thread as run

__all__ = ["run", "run_sync"]
