"""CPython's own event loop tests, bound to Pelton's loop. Run it as a program.

The classes are those of the running interpreter's `test` package, so that each Python version
judges us by its own rules.
"""

from __future__ import annotations

import asyncio
import unittest
import warnings
from typing import Any

from test.test_asyncio import (  # type: ignore[import-not-found]
    test_buffered_proto,
    test_events,
    test_server,
    test_sock_lowlevel,
    utils,
)

import pelton


class OurLoop:
    """How the mixins ask for the loop under test."""

    def create_event_loop(self) -> pelton.Loop:
        return pelton.new_event_loop()

    def new_loop(self) -> pelton.Loop:
        return pelton.new_event_loop()


class EventLoop(
    OurLoop,
    test_events.EventLoopTestsMixin,  # type: ignore[misc]
    test_events.SubprocessTestsMixin,  # type: ignore[misc]
    utils.TestCase,  # type: ignore[misc]
):
    loop: Any

    def setUp(self) -> None:
        super().setUp()
        if hasattr(asyncio, "SafeChildWatcher"):  # up to 3.13
            watcher = asyncio.SafeChildWatcher()
            watcher.attach_loop(self.loop)
            asyncio.set_child_watcher(watcher)

    def tearDown(self) -> None:
        if hasattr(asyncio, "SafeChildWatcher"):
            asyncio.set_child_watcher(None)  # type: ignore[arg-type]
        super().tearDown()


class Sockets(OurLoop, test_sock_lowlevel.BaseSockTestsMixin, utils.TestCase):  # type: ignore[misc]
    pass


class Servers(OurLoop, test_server.BaseStartServer, unittest.TestCase):  # type: ignore[misc]
    pass


class BufferedProtocols(OurLoop, test_buffered_proto.BaseTestBufferedProtocol, unittest.TestCase):  # type: ignore[misc]
    pass


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # deprecations of what the suite itself uses
    unittest.main(warnings="ignore")
