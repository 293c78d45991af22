"""What `pelton control` orders of workers that run."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

_LOGGER = logging.getLogger("pelton.jobs")

ORDERS = ("grow", "shrink", "quiet", "wake", "stop")
"""grow, shrink: by `n` jobs at a time. quiet: lease no more jobs; wake: do again. stop: SIGTERM's.
"""


def order(what: str, n: int = 1) -> bytes:
    """An order as workers read it; ValueError."""
    if what not in ORDERS:
        raise ValueError(f"no order {what!r}: one of {', '.join(ORDERS)}")
    if n < 1:
        raise ValueError(f"n={n!r} is not 1 or more")
    return json.dumps({"order": what, "n": n}).encode()


class Orders:
    """Does what is ordered. What it cannot read, a newer program's perhaps, it logs."""

    def __init__(self, actions: Mapping[str, Callable[[int], None]]) -> None:
        self._actions = actions

    def obey(self, orders: list[bytes]) -> None:
        """Does each, in order."""
        for data in orders:
            try:
                words: dict[str, Any] = json.loads(data)
                action = self._actions[words["order"]]
                n = int(words.get("n", 1))
            except (ValueError, KeyError, TypeError) as error:
                _LOGGER.warning("an order that is not understood, %r: %r", data[:200], error)
                continue
            _LOGGER.info("ordered to %s (%d)", words["order"], n)
            action(n)
