"""Large uploads, written to disk without passing through Python."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request

from pelton import _core

from ._request import read_body_into

__all__ = ["save_body"]


async def save_body(
    request: Request,
    path: str | os.PathLike[str],
    *,
    max_size: int | None = None,
    mode: int = 0o600,
) -> int:
    """Writes the request's raw body to the file `path`, and returns its size in bytes.

    The file appears, or replaces the old one, when all of it is there, and has the permissions
    `mode`; until then, the bytes are in a hidden neighbour of it. Under `pelton serve` they go
    from the connection's buffer to the file, a piece at a time, in Rust. The server's own limit of
    bodies (`max_body`, 100 MiB) holds as well.

    Raises HTTPException 413 for more than `max_size` bytes, `ClientDisconnect` if the client left,
    and OSError. However it fails, cancellation included, `path` is as it was before.
    """
    target = Path(path)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    file = None
    try:
        os.fchmod(descriptor, mode)
        file = _core.BodyFile(descriptor, max_size)
        await read_body_into(request, file)
        os.replace(temporary, target)
        return file.size
    except _core.BodyTooLarge as error:
        raise HTTPException(status_code=413, detail="Content Too Large") from error
    finally:
        if file is not None:
            file.close()
        os.close(descriptor)
        # Gone already, where all went well.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
