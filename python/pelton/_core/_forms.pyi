"""Forms and uploads."""

from __future__ import annotations

from typing import final

from starlette.datastructures import UploadFile

def parse_form(content_type: bytes, body: bytes) -> list[tuple[str, str | UploadFile]] | None:
    """Reads a whole form with Starlette's limits: its `(name, value)` pairs; None if
    `content_type` is no form's. Raises `HTTPException` with status 400 if the form is wrong."""

@final
class FormReader:
    """Reads a form from the pieces of a request's body."""

    @staticmethod
    def of(
        content_type: bytes, max_files: int, max_fields: int, max_part_size: int, spool_size: int
    ) -> FormReader | None:
        """A reader for this content type; None if it is no form's. `spool_size`: bytes of a file
        that are kept in memory. Raises Starlette's `MultiPartException` without a boundary."""

    def feed(self, data: bytes) -> None:
        """Takes the next bytes of the body. Raises Starlette's `MultiPartException` if the form
        is wrong, and `OSError` if a file could not be written."""

    def finish(self) -> list[tuple[str, str | UploadFile]]:
        """The fields in their order, as `(name, value)`. A value is text, or a `UploadFile`."""

    def close(self) -> None:
        """Gives the form up: closes its files."""

@final
class BodyFile:
    """Writes the pieces of a body to a copy of `descriptor`, from its position on."""

    def __new__(cls, descriptor: int, max_size: int | None = None) -> BodyFile: ...
    def feed(self, data: bytes) -> None:
        """Writes bytes. Raises `BodyTooLarge` for more than `max_size`, and `OSError`."""

    @property
    def size(self) -> int: ...
    def close(self) -> None:
        """Closes the copy of the descriptor."""

class BodyTooLarge(Exception):
    """A body has more bytes than it may have."""
