"""The child's side of `pelton run`: its lifeline to the parent, and its word that it serves.

The parent gives each child one end of a socket pair. When the parent dies, however it dies, the
kernel closes the other end, and the child ends itself: no orphan outlives `kill -9` of the parent.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import threading
from typing import Any

VARIABLE = "PELTON_SUPERVISOR_FD"
MARGIN = 5.0
"""Seconds past the stop timeout until a child without a parent is ended hard."""

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
    threading.Thread(
        target=_watch, args=(_link, stop_timeout), name="pelton-lifeline", daemon=True
    ).start()


def active() -> bool:
    """Whether this process is a child of `pelton run`."""
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


def _watch(link: socket.socket, stop_timeout: float) -> None:
    while True:
        try:
            if not link.recv(1):
                break
        except OSError:
            break
    logger.warning("pelton run is gone: stopping")
    _orphaned.set()
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(stop_timeout + MARGIN)
    os._exit(1)
