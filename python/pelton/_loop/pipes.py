"""Pipes: asyncio's transports, reading without an object of 256 KiB for whatever comes."""

from __future__ import annotations

import asyncio
import asyncio.unix_events
from asyncio.log import logger
from typing import IO, Any

from pelton import _core

# asyncio's own parts that no stub knows.
_unix_events: Any = asyncio.unix_events


class ReadPipeTransport(_unix_events._UnixReadPipeTransport):  # type: ignore[misc]
    """What `connect_read_pipe` gives its protocol."""

    _last = 0  # the length of the last read

    def _read_ready(self) -> None:
        try:
            data = _core.read_pipe(self._loop, self._fileno, self.max_size, self._last)
        except OSError as error:
            self._fatal_error(error, "Fatal read error on pipe transport")
            return
        if data:
            self._last = len(data)
            self._protocol.data_received(data)
        elif data is not None:
            if self._loop.get_debug():
                logger.info("%r was closed by peer", self)
            self._closing = True
            self._loop._remove_reader(self._fileno)
            self._loop.call_soon(self._protocol.eof_received)
            self._loop.call_soon(self._call_connection_lost, None)


class PipesMixin:
    """The hook that `connect_read_pipe` and subprocesses make their transports by."""

    def _make_read_pipe_transport(
        self,
        pipe: IO[bytes],
        protocol: asyncio.Protocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> ReadPipeTransport:
        return ReadPipeTransport(self, pipe, protocol, waiter, extra)
