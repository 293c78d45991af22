"""An HTTP/2 client of a test: the engine of python `h2` over a plain connection."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

from tests.server.support import Address

Fields = list[tuple[str, str]]


def forget_servers() -> None:
    """Lets go of the servers of earlier tests: `pelton.server.stats` counts this one's only."""
    gc.collect()


@dataclass
class Answer:
    """What came back on a stream, as far as it came."""

    informational: list[int] = field(default_factory=list)
    headers: Fields = field(default_factory=list)
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    ended: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(self.header(":status") or 0)

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)


class Http2Client:
    """One connection: `h2` does the protocol, this reads and writes its bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        # What a test wants to send, it may, allowed or not.
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.answers: dict[int, Answer] = {}
        self.goaway: int | None = None
        self.pongs: list[bytes] = []
        self.settings: dict[int, int] = {}
        self._input = b""
        self.consume = True
        """Whether windows are renewed as data comes."""

    def begin(self) -> None:
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())

    def send(self, data: bytes) -> None:
        """Bytes that `h2` does not know of."""
        self.flush()
        self.writer.write(data)

    def request(
        self, method: str, path: str, fields: Fields | None = None, body: bytes | None = None
    ) -> int:
        """Sends a request; with a body, all of it, which must fit the windows."""
        stream = self.h2.get_next_available_stream_id()
        head = [
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", "localhost"),
            *(fields or []),
        ]
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, head, end_stream=body is None)
        if body is not None:
            self.send_body(stream, body, end=True)
        self.flush()
        return stream

    def open(self, fields: Fields) -> int:
        """Sends a head with these fields and nothing more; the stream stays open."""
        stream = self.h2.get_next_available_stream_id()
        self.answers[stream] = Answer()
        self.h2.send_headers(stream, fields)
        self.flush()
        return stream

    def send_body(self, stream: int, body: bytes, *, end: bool) -> None:
        size = self.h2.max_outbound_frame_size
        pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
        for piece in pieces[:-1]:
            self.h2.send_data(stream, piece)
        self.h2.send_data(stream, pieces[-1], end_stream=end)
        self.flush()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Reads until it holds, or the server closes."""
        while not condition():
            data = await self.reader.read(65536)
            if not data:
                assert condition(), f"closed early: {self.answers}, GOAWAY {self.goaway}"
                return
            self.receive(data)

    async def answer(self, stream: int) -> Answer:
        """The complete answer, or what there was before its reset."""
        answer = self.answers[stream]
        await self.until(lambda: answer.ended or answer.reset is not None)
        return answer

    async def ask(
        self, method: str, path: str, fields: Fields | None = None, body: bytes | None = None
    ) -> Answer:
        return await self.answer(self.request(method, path, fields, body))

    async def closed(self) -> None:
        """Reads to the end of the connection."""
        with contextlib.suppress(ConnectionError):
            while data := await self.reader.read(65536):
                with contextlib.suppress(h2.exceptions.ProtocolError):
                    self.receive(data)

    def receive(self, data: bytes) -> None:
        """Gives `h2` a frame at a time: it takes none after a GOAWAY, which announces an end that
        need not be there yet."""
        self._input += data
        while len(self._input) >= 9:
            size = 9 + int.from_bytes(self._input[:3])
            if len(self._input) < size:
                break
            frame, self._input = self._input[:size], self._input[size:]
            for event in self.h2.receive_data(frame):
                self._note(event)
            if self.goaway == 0:
                self.h2.state_machine.state = h2.connection.ConnectionState.CLIENT_OPEN
        self.flush()

    def _note(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.InformationalResponseReceived():
                status = next(value for name, value in event.headers if name == ":status")
                self.answers[event.stream_id].informational.append(int(status))
            case h2.events.ResponseReceived():
                self.answers[event.stream_id].headers = list(event.headers)  # type: ignore[arg-type]
            case h2.events.DataReceived():
                self.answers[event.stream_id].body += event.data
                if self.consume:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.TrailersReceived():
                self.answers[event.stream_id].trailers = list(event.headers)  # type: ignore[arg-type]
            case h2.events.StreamEnded():
                self.answers[event.stream_id].ended = True
            case h2.events.StreamReset():
                # After the end, it says that the rest of the body is not wanted.
                if event.stream_id in self.answers and not self.answers[event.stream_id].ended:
                    self.answers[event.stream_id].reset = int(event.error_code or 0)
            case h2.events.ConnectionTerminated():
                self.goaway = int(event.error_code or 0)
            case h2.events.PingAckReceived():
                self.pongs.append(event.ping_data)
            case h2.events.RemoteSettingsChanged():
                for code, setting in event.changed_settings.items():
                    self.settings[int(code)] = setting.new_value


@contextlib.asynccontextmanager
async def http2(address: Address) -> AsyncIterator[Http2Client]:
    """A connection by prior knowledge."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    client = Http2Client(reader, writer)
    client.begin()
    try:
        yield client
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
