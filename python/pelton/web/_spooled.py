"""Uploaded files, made of what the form reader in Rust received."""

from __future__ import annotations

import os
from tempfile import SpooledTemporaryFile
from typing import Any, cast

from starlette.datastructures import Headers, UploadFile


class ReceivedFile(SpooledTemporaryFile[bytes]):
    """A spooled file whose content was on the disk before Python knew of it."""

    def adopt(self, descriptor: int) -> None:
        """Takes over an open file without a name, which is gone when this one is closed."""
        inside = cast(Any, self)
        inside._file.close()
        inside._file = os.fdopen(descriptor, "w+b")
        inside._rolled = True


def make_upload(
    content: bytes | int,
    size: int,
    filename: str,
    headers: list[tuple[bytes, bytes]],
    spool_size: int,
) -> UploadFile:
    """Starlette's upload over `content`: bytes, or a descriptor of an open file."""
    file = ReceivedFile(max_size=spool_size)
    if isinstance(content, bytes):
        file.write(content)
        file.seek(0)
    else:
        file.adopt(content)
    return UploadFile(
        file=cast(Any, file), size=size, filename=filename, headers=Headers(raw=headers)
    )
