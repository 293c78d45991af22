"""Requests whose forms are read in Rust."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from pelton import _core

Consumer = _core.FormReader | _core.BodyFile
"""What takes the bytes of a body."""

_MOST = 2**63


class FormRequest(Request):
    """Starlette's request; `form()` is parsed in Rust, and from our own server without the body
    passing through Python. Limits, results and errors are Starlette's."""

    async def _get_form(
        self,
        *,
        max_files: int | float = 1000,
        max_fields: int | float = 1000,
        max_part_size: int = 1024 * 1024,
    ) -> FormData:
        if self._form is None:
            try:
                self._form = await self._read_form(max_files, max_fields, max_part_size)
            except MultiPartException as error:
                if "app" in self.scope:
                    raise HTTPException(status_code=400, detail=error.message) from error
                raise
        return self._form

    async def _read_form(
        self, max_files: float, max_fields: float, max_part_size: float
    ) -> FormData:
        reader = _core.FormReader.of(
            self.headers.get("content-type", "").encode("latin-1"),
            _whole(max_files),
            _whole(max_fields),
            _whole(max_part_size),
            MultiPartParser.spool_max_size,
        )
        if reader is None:
            return FormData()
        try:
            await read_body_into(self, reader)
            return FormData(reader.finish())
        except BaseException:
            reader.close()
            raise


async def read_body_into(request: Request, consumer: Consumer) -> None:
    """Gives the whole body to `consumer`, from our own server without making it Python objects.

    Raises Starlette's `ClientDisconnect` if the client leaves before the body's end, and what the
    consumer raises.
    """
    receive = request._receive
    untouched = type(request).stream is Request.stream and not hasattr(request, "_body")
    if type(receive) is _core.RequestReceive and untouched and not request._stream_consumed:
        if not await receive.drain(consumer):
            request._is_disconnected = True
            raise ClientDisconnect
        request._stream_consumed = True
        return
    stream: Any = request.stream()
    async with aclosing(stream):
        async for piece in stream:
            consumer.feed(piece)


def _whole(limit: float) -> int:
    """A limit as Rust takes it: infinity is more than there can be."""
    return int(max(0, min(limit, _MOST)))
