"""The second half of a RabbitMQ broker: what keeps the records of the jobs that it hands out."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import quote

_LOGGER = logging.getLogger("pelton.jobs")


def with_store(url: str, store: str | None, beside: Path) -> str:
    """A broker's URL with its store in it, `beside` the program where none is named."""
    if not url.startswith(("amqp://", "amqps://")):
        if store is not None:
            raise ValueError(
                f"store={shown(store)!r} is for RabbitMQ, which keeps no records itself: other "
                "brokers are their own store"
            )
        return url
    _, _, options = url.partition("?")
    if any(option.startswith("store=") for option in options.split("&")):
        if store is not None:
            raise ValueError("the store is named twice: in the broker's URL, and by store=")
        return url
    place = store if store is not None else f"sqlite:///{beside / 'pelton-amqp.db'}"
    return f"{url}{'&' if options else '?'}store={quote(place, safe=':/@')}"


def tell_of_file(given: str, beside: Path) -> None:
    """Says in the log that a broker, as it was given, keeps its records on this machine."""
    if given.startswith(("amqp://", "amqps://")) and "store=" not in given:
        _LOGGER.info(
            "the records of RabbitMQ's jobs are in %s, for the processes of this machine: workers "
            'on several machines need Jobs(url, store="redis://…") or "postgresql://…"',
            beside / "pelton-amqp.db",
        )


def shown(url: str) -> str:
    """A URL as people may see it: a password, its own or its store's, is nobody's business."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme in ("sqlite", "memory"):
        return url
    place, _, options = rest.partition("?")
    if "@" in options.partition("=")[0]:
        # A question mark in the password: where that ends is anybody's guess.
        return f"{scheme}://…"
    return f"{scheme}://{place.rpartition('@')[2]}"
