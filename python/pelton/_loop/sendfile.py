"""`sendfile` on transports of the core, by the kernel's own call."""

from __future__ import annotations

import errno
import io
import os
from asyncio.exceptions import SendfileNotAvailableError
from typing import Any, BinaryIO


class SendfileMixin:
    """What `loop.sendfile` asks for where the transport says that it can."""

    async def _sendfile_native(
        self, transp: Any, file: BinaryIO, offset: int, count: int | None
    ) -> int:
        descriptor, size = _regular_file(file)
        resume = transp.is_reading()
        transp.pause_reading()
        try:
            await transp._make_empty_waiter()
            if not (count or size):
                return 0
            return await _send(transp, descriptor, offset, count, size)
        finally:
            transp._reset_empty_waiter()
            if resume:
                transp.resume_reading()


def _regular_file(file: Any) -> tuple[int, int]:
    """Its descriptor and its size in bytes; SendfileNotAvailableError for other objects."""
    try:
        descriptor = file.fileno()
        return descriptor, os.fstat(descriptor).st_size
    except (AttributeError, io.UnsupportedOperation, OSError) as error:
        raise SendfileNotAvailableError("not a regular file") from error


async def _send(transport: Any, descriptor: int, offset: int, count: int | None, size: int) -> int:
    """Send `count` bytes (None: up to the end); the file then stands behind what was sent."""
    sock = transport._sock  # its descriptor is -1 once it is closed, never another's
    sent = 0
    try:
        while not count or sent < count:
            block = count - sent if count else size
            try:
                done = os.sendfile(sock.fileno(), descriptor, offset + sent, block)
            except (BlockingIOError, InterruptedError):
                await transport._make_writable_waiter()
                continue
            except OSError as error:
                if sent == 0:  # perhaps a file that the call does not know
                    raise SendfileNotAvailableError("os.sendfile call failed") from error
                if error.errno == errno.ENOTCONN and type(error) is not ConnectionError:
                    raise ConnectionError("socket is not connected", errno.ENOTCONN) from error
                raise
            if done == 0:
                break
            sent += done
    finally:
        if sent:
            os.lseek(descriptor, offset + sent, os.SEEK_SET)
    return sent
