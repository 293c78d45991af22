"""The child's side: its lifeline to the parent, and what it tells it.

The parent gives each child one end of a socket pair. When the parent dies, however it dies, the
kernel closes the other end, and the child ends itself: no orphan outlives `kill -9` of the parent.
"""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any

VARIABLE = "PELTON_SUPERVISOR_FD"
MARGIN = 5.0
"""Seconds past the stop timeout until a child without a parent is ended hard."""

BEAT_MAX = 5.0
"""Seconds between two signs of life, at most."""

logger = logging.getLogger("pelton.supervised")
_link: socket.socket | None = None
_orphaned = threading.Event()


def start(stop_timeout: float) -> None:
    """Watches the parent, if there is one; otherwise does nothing.

    After the parent's death this process gets SIGTERM, and `stop_timeout` seconds and a margin
    later it ends whatever it does.
    """
    global _link
    # Removed: a process that this one starts has another parent.
    number = os.environ.pop(VARIABLE, None)
    if number is None:
        return
    _link = socket.socket(fileno=int(number))
    os.set_inheritable(_link.fileno(), False)
    if not faulthandler.is_enabled():
        # A parent that finds this process hung ends it by a signal that writes all stacks.
        faulthandler.enable()
    threading.Thread(
        target=_watch, args=(_link, stop_timeout), name="pelton-lifeline", daemon=True
    ).start()


def active() -> bool:
    """Whether this process is part of a tree."""
    return _link is not None


def orphaned() -> bool:
    """Whether the parent died: who is left has to tidy up after it."""
    return _orphaned.is_set()


def ready(report: dict[str, Any]) -> None:
    """Tells the parent once that this process serves, with what it should know.

    `report` must be JSON of at most 64 KiB. Without a parent it does nothing.
    """
    if _link is not None:
        try:
            _link.sendall(json.dumps(report).encode() + b"\n")
        except OSError:
            logger.debug("the parent is gone; the lifeline ends this process")


def beat(health_timeout: float, due: Callable[[], str | None]) -> None:
    """Gives signs of life from the running loop, often enough for this timeout of the parent.

    `due` says why this process should have a successor, or None; while it does, the parent is told
    each time, and starts one. Without a parent nothing happens.
    """
    if _link is None:
        return
    loop = asyncio.get_running_loop()
    period = min(health_timeout / 4, BEAT_MAX)

    def tell() -> None:
        why = due()
        _send({"beat": True} if why is None else {"retire": why})
        loop.call_later(period, tell)

    tell()


def _send(message: dict[str, Any]) -> None:
    """Tells the parent; one that does not read is not waited for."""
    assert _link is not None
    try:
        # The kernel takes a line of this size whole or not at all.
        _link.send(json.dumps(message).encode() + b"\n", socket.MSG_DONTWAIT)
    except OSError:
        logger.debug("the parent is gone, or does not read")


def _watch(link: socket.socket, stop_timeout: float) -> None:
    while True:
        try:
            if not link.recv(1):
                break
        except OSError:
            break
    logger.warning("the parent process is gone: stopping")
    _orphaned.set()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(stop_timeout + MARGIN)
    os._exit(1)
