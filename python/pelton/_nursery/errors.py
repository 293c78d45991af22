"""What channels and limiters raise; the names are Trio's and AnyIO's."""

from __future__ import annotations


class WouldBlock(Exception):
    """A `*_nowait` method could only have succeeded by waiting."""


class EndOfChannel(Exception):
    """Nothing is left to receive, and no sender is open that could send more."""


class BrokenResourceError(Exception):
    """The other side is gone: no receiver is open that could take what is sent."""


class ClosedResourceError(Exception):
    """This object was closed before, or while, it was used."""
