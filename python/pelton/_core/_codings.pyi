"""Content codings: bodies compressed and decompressed."""

from __future__ import annotations

from typing import final

@final
class BodyEncoder:
    """Compresses one body: `gzip` (levels 1 to 9), `br` (0 to 11) or `zstd` (1 to 19)."""

    def __new__(cls, coding: str, level: int) -> BodyEncoder: ...
    def encode(self, data: bytes) -> bytes:
        """Takes bytes and gives what is ready of their compressed form: often nothing."""

    def flush(self) -> bytes:
        """Gives all that is still inside."""

    def finish(self) -> bytes:
        """The end: what is left, and the coding's own ending. The encoder is of no more use."""

@final
class BodyDecoder:
    """Decompresses one body (`gzip`, `br`, `zstd` or `deflate`), and lets `max_size` bytes out."""

    def __new__(cls, coding: str, max_size: int) -> BodyDecoder: ...
    def decode(self, data: bytes) -> bytes:
        """Takes bytes and gives what they hold. Raises `BodyTooLarge`, and ValueError for what is
        not in the coding."""

    def finish(self) -> bytes:
        """The end of the body: what is left. Raises as `decode`, also for a body cut off."""

def negotiate_coding(accept: list[bytes], offered: list[str]) -> str | None:
    """The coding for a client with these values of `accept-encoding`, of those offered; None where
    it is to have the content as it is."""
