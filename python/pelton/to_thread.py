"""Blocking functions in worker threads, awaited from tasks."""

from __future__ import annotations

from pelton._nursery.thread_call import default_limiter as current_default_thread_limiter
from pelton._nursery.thread_call import run_in_thread as run_sync

__all__ = ["current_default_thread_limiter", "run_sync"]
