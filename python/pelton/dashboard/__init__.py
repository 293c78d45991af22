"""The dashboard: queues, jobs, workers, schedules, requests and loop lag on one live page."""

from pelton.dashboard.app import Dashboard
from pelton.dashboard.process import ProcessFigures

__all__ = ["Dashboard", "ProcessFigures"]
