"""A worker's answers to whoever asks how it is: `/live`, `/ready` and `/metrics`."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pelton._core import BrokerError
from pelton.jobs.jobs import Jobs
from pelton.jobs.metrics import CONTENT_TYPE, metrics

if TYPE_CHECKING:
    from pelton.jobs.worker import Worker

_LOGGER = logging.getLogger("pelton.jobs")

_HEAD_LIMIT = 8192
_SECONDS = 5.0  # for a request, and for the broker's answer
_CONNECTIONS = 32

Answer = tuple[str, str, str]
"""Status, content type, body."""


class HealthServer:
    """Serves GET on a small port of its own: no framework, one request a connection.

    `/live`: the loop runs. `/ready`: the brokers answer, and the worker takes jobs; else 503.
    `/metrics`: Prometheus.
    """

    def __init__(self, worker: Worker, jobs: Sequence[Jobs], host: str, port: int) -> None:
        self._worker = worker
        self._jobs = jobs
        self._host = host
        self._port = port
        self._open = 0
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        assert self._server is not None  # start() was awaited
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listens; OSError where the port is taken."""
        self._server = await asyncio.start_server(
            self._serve, self._host, self._port, limit=_HEAD_LIMIT
        )
        _LOGGER.info("health at http://%s:%d/ready", self._host, self.port)

    async def stop(self) -> None:
        """Listens no more."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            if self._open <= _CONNECTIONS:
                async with asyncio.timeout(_SECONDS):
                    head = await reader.readuntil(b"\r\n\r\n")
                    answer = await self._answer(head.split(b"\r\n", 1)[0].split(b" "))
                    writer.write(_response(*answer))
                    await writer.drain()
        except (TimeoutError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # somebody who does not speak to the point is not answered
        finally:
            self._open -= 1
            writer.close()

    async def _answer(self, request: list[bytes]) -> Answer:
        if len(request) != 3 or request[0] not in (b"GET", b"HEAD"):
            return "405 Method Not Allowed", "text/plain", "GET only\n"
        path = request[1].partition(b"?")[0]
        if path == b"/live":
            return "200 OK", "application/json", json.dumps(self._worker.state) + "\n"
        if path == b"/ready":
            return await self._ready()
        if path == b"/metrics":
            try:
                return "200 OK", CONTENT_TYPE, await metrics(self._jobs, self._worker.state)
            except BrokerError as error:
                return "503 Service Unavailable", "text/plain", f"{error}\n"
        return "404 Not Found", "text/plain", "/live, /ready or /metrics\n"

    async def _ready(self) -> Answer:
        state = self._worker.state
        problems = [word for word in ("stopping", "quiet") if state[word]]
        try:
            for each in self._jobs:
                await each.queue_records()
        except BrokerError as error:
            problems.append(str(error))
        body = json.dumps({"ready": not problems, "problems": problems, **state}) + "\n"
        return "503 Service Unavailable" if problems else "200 OK", "application/json", body


def _response(status: str, kind: str, body: str) -> bytes:
    data = body.encode()
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(data)}\r\n"
    return (head + "connection: close\r\n\r\n").encode() + data
