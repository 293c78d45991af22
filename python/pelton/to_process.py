"""Functions in worker processes, awaited from tasks."""

from __future__ import annotations

from pelton._nursery.process_call import default_limiter as current_default_process_limiter
from pelton._nursery.process_call import run_in_process as run_sync
from pelton._nursery.process_worker import BrokenWorkerProcess

__all__ = ["BrokenWorkerProcess", "current_default_process_limiter", "run_sync"]
