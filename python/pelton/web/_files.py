"""Starlette's file responses, whose ranges our server sends without reading them in Python."""

from __future__ import annotations

import os

import starlette.responses
import starlette.staticfiles
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.staticfiles import NotModifiedResponse
from starlette.types import Receive, Scope, Send


class FileResponse(starlette.responses.FileResponse):
    """Starlette's class. Where the server can (`http.response.pathsend`), it sends the file by
    itself; ours does so for a range of it, too."""

    _sends_ranges = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response."""
        extension = scope.get("extensions", {}).get("http.response.pathsend")
        self._sends_ranges = extension is not None and extension.get("ranges", False)
        await super().__call__(scope, receive, send)

    async def _handle_single_range(
        self, send: Send, start: int, end: int, file_size: int, send_header_only: bool
    ) -> None:
        if send_header_only or not self._sends_ranges:
            await super()._handle_single_range(send, start, end, file_size, send_header_only)
            return
        headers = MutableHeaders(raw=list(self.raw_headers))
        headers["content-range"] = f"bytes {start}-{end - 1}/{file_size}"
        headers["content-length"] = str(end - start)
        await send({"type": "http.response.start", "status": 206, "headers": headers.raw})
        await send(
            {
                "type": "http.response.pathsend",
                "path": self._absolute(),
                "offset": start,
                "count": end - start,
            }
        )

    def _absolute(self) -> str:
        return os.path.abspath(os.fspath(self.path))

    async def _handle_simple(self, send: Send, send_header_only: bool, send_pathsend: bool) -> None:
        if send_pathsend:
            # The message's path is absolute, whatever the program gave.
            self.path = self._absolute()
        await super()._handle_simple(send, send_header_only, send_pathsend)


class StaticFiles(starlette.staticfiles.StaticFiles):
    """Starlette's class; its files are our `FileResponse`."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The response for a file that was found."""
        response = FileResponse(full_path, status_code=status_code, stat_result=stat_result)
        if self.is_not_modified(response.headers, Headers(scope=scope)):
            return NotModifiedResponse(response.headers)
        return response
