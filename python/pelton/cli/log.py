"""Log lines of Pelton's processes: one format, so that those of one tree read as one story."""

from __future__ import annotations

import logging
import os
import sys

LEVELS = ("debug", "info", "warning", "error", "critical")


def configure(role: str, level: str) -> None:
    """Sends the root logger to stderr as `HH:MM:SS LEVEL role[pid] message`.

    `role` names what this process is in the tree (`web`, `worker`, …). An application that sets
    up logging itself when it is imported replaces this, as it should.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        logging.Formatter(
            f"%(asctime)s %(levelname)-7s {role}[{os.getpid()}] %(message)s", datefmt="%H:%M:%S"
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
