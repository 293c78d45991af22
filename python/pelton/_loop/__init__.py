"""The Python half of the event loop: what runs per connection or per loop, not per callback."""

from pelton._loop.loop import Loop
from pelton._loop.policy import EventLoopPolicy, install, new_event_loop, run

__all__ = ["EventLoopPolicy", "Loop", "install", "new_event_loop", "run"]
