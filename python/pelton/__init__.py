"""Pelton: one engine for asynchronous Python backends."""

from pelton._core import __version__
from pelton._loop import EventLoopPolicy, Loop, install, new_event_loop, run

__all__ = ["EventLoopPolicy", "Loop", "__version__", "install", "new_event_loop", "run"]
