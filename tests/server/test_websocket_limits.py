"""WebSocket compression with `websockets` as the other side, and limits."""

from __future__ import annotations

import asyncio
import random
import struct
import zlib
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    PerMessageDeflate,
)

from pelton.server import Config, ConfigError
from tests.server.support import Address, Client, Message, Receive, Scope, Send, run, serving
from tests.server.test_websocket import echo, url


def negotiated(client: ClientConnection) -> PerMessageDeflate:
    (extension,) = client.protocol.extensions
    assert isinstance(extension, PerMessageDeflate)
    return extension


def sample(kind: str) -> list[str | bytes]:
    """Messages of a kind: alike, different, empty, large."""
    noise = random.Random(1)
    samples: dict[str, list[str | bytes]] = {
        "alike": [f'{{"id": {number}, "name": "something"}}' * 9 for number in range(50)],
        "noise": [noise.randbytes(size) for size in (1, 200, 5_000, 70_000)],
        "empty": ["", b"", "x" * 500, ""],
        "large": ["é" * 500_000, b"\x00" * 3_000_000],
    }
    return samples[kind]


@pytest.mark.parametrize("kind", ["alike", "noise", "empty", "large"])
@pytest.mark.parametrize(
    "offer",
    [
        {},
        {"server_no_context_takeover": True, "client_no_context_takeover": True},
        {"server_max_window_bits": 9, "client_max_window_bits": 9},
        {"server_max_window_bits": 15, "client_max_window_bits": True},
    ],
    ids=str,
)
def test_messages_both_ways_compressed(kind: str, offer: dict[str, Any]) -> None:
    async def main() -> None:
        extensions = [ClientPerMessageDeflateFactory(**offer)]
        async with (
            serving(echo, ws_deflate_min_size=0) as address,
            connect(url(address), extensions=extensions, compression=None, max_size=None) as client,
        ):
            assert negotiated(client)
            for message in sample(kind):
                await client.send(message)
                assert await client.recv() == message
                # In fragments.
                middle = len(message) // 2
                await client.send([message[:middle], message[middle:]])
                assert await client.recv() == message

    run(main())


def test_the_servers_options_are_told_to_the_client() -> None:
    async def main() -> None:
        options = {"ws_deflate_window_bits": 10, "ws_deflate_context_takeover": False}
        async with serving(echo, **options) as address, connect(url(address)) as client:
            deflate = negotiated(client)
            assert deflate.remote_no_context_takeover
            assert deflate.local_no_context_takeover
            assert deflate.remote_max_window_bits == 10
        async with serving(echo, ws_deflate=False) as address, connect(url(address)) as client:
            assert client.protocol.extensions == []

    run(main())


def test_an_app_that_answers_the_extensions_itself_is_left_alone() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        headers = [(b"sec-websocket-extensions", b"")]
        await send({"type": "websocket.accept", "headers": headers})
        await send({"type": "websocket.send", "text": "x" * 1000})
        await receive()

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            client.send(upgrade("permessage-deflate"))
            head = await client.head()
            assert head.header("sec-websocket-extensions") == ""
            assert (await client.reader.readexactly(1))[0] == 0x81

    run(main())


@pytest.mark.parametrize(
    "options",
    [
        {"ws_deflate_level": 0},
        {"ws_deflate_level": 10},
        {"ws_deflate_window_bits": 8},
        {"ws_deflate_window_bits": 16},
        {"ws_deflate_min_size": -1},
        {"ws_max_frame": 0},
        {"ws_max_write_queue": 0},
        {"ws_close_timeout": 0},
    ],
)
def test_options_that_cannot_be(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ConfigError, match=name):
        Config(**options)


def upgrade(extensions: str | None = None) -> bytes:
    line = "" if extensions is None else f"Sec-WebSocket-Extensions: {extensions}\r\n"
    return (
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        f"{line}\r\n"
    ).encode()


def frame(first: int, payload: bytes) -> bytes:
    """A client's frame with a mask of zeros."""
    length = len(payload)
    if length < 126:
        head = struct.pack("!BB", first, 0x80 | length)
    elif length < 65536:
        head = struct.pack("!BBH", first, 0xFE, length)
    else:
        head = struct.pack("!BBQ", first, 0xFF, length)
    return head + bytes(4) + payload


async def close_code(client: Client) -> int:
    """The code of the close frame that comes next."""
    head = await client.reader.readexactly(2)
    assert head[0] == 0x88
    payload = await client.reader.readexactly(head[1])
    return int.from_bytes(payload[:2], "big")


async def opened(address: Address, extensions: str | None = None) -> Client:
    client = await address.connect()
    client.send(upgrade(extensions))
    assert (await client.head()).status == 101
    return client


def deflated(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(data) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_a_decompression_bomb_closes_with_1009() -> None:
    bomb = deflated(b"a" * 30_000_000)
    assert len(bomb) < 40_000

    async def main() -> None:
        async with (
            serving(echo, ws_max_message=1_000_000) as address,
            await opened(address, "permessage-deflate") as client,
        ):
            client.send(frame(0xC1, bomb))
            assert await close_code(client) == 1009

    run(main())


def test_what_does_not_inflate_closes_with_1007_and_is_no_list_with_400() -> None:
    async def main() -> None:
        async with serving(echo) as address:
            async with await opened(address, "permessage-deflate") as client:
                client.send(frame(0xC1, b"\xff\xff\xff"))
                assert await close_code(client) == 1007
            response = await address.ask(upgrade("permessage-deflate; ="))
            assert response.status == 400
            assert b"sec-websocket-extensions" in response.body

    run(main())


def test_a_frame_above_its_limit_closes_with_1009() -> None:
    async def main() -> None:
        async with (
            serving(echo, ws_max_frame=1000) as address,
            connect(url(address), compression=None) as client,
        ):
            await client.send(["x" * 1000, "y" * 1000])
            assert await client.recv() == "x" * 1000 + "y" * 1000
            await client.send("x" * 1001)
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1009

    run(main())


def test_a_client_that_never_closes_is_dropped() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 1000})

    async def main() -> None:
        async with (
            serving(app, ws_close_timeout=0.1) as address,
            await opened(address) as client,
        ):
            assert await close_code(client) == 1000
            assert await client.closed()

    run(main())


def test_pings_of_a_client_that_does_not_read_are_answered_once() -> None:
    """Otherwise its own pings would fill the server's memory."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        # More than the kernel takes, and not awaited, so that what comes is still read.
        for _ in range(30):
            unawaited(send({"type": "websocket.send", "bytes": bytes(1_000_000)}))
        assert (await receive())["text"] == "the pings were before this"
        await send({"type": "websocket.send", "text": "end"})
        await receive()

    async def main() -> None:
        async with serving(app, ws_deflate=False) as address:
            client = await address.connect(receive_buffer=4096)
            async with client:
                client.send(upgrade())
                assert (await client.head()).status == 101
                for number in range(200):
                    client.send(frame(0x89, b"%d" % number))
                client.send(frame(0x81, b"the pings were before this"))
                pongs: list[bytes] = []
                ended = False
                while not (ended and pongs):
                    first, length = await client.reader.readexactly(2)
                    if length == 127:
                        (length,) = struct.unpack("!Q", await client.reader.readexactly(8))
                    payload = await client.reader.readexactly(length)
                    if first == 0x8A:
                        pongs.append(payload)
                    ended |= payload == b"end"
                assert pongs == [b"199"]

    run(main())


def unawaited(awaitable: Any) -> None:
    """Throws away what would tell the app to wait."""
    awaitable.close()


def test_an_app_that_floods_without_waiting_loses_the_connection() -> None:
    errors: list[str] = []
    over = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        for _ in range(1000):
            try:
                unawaited(send({"type": "websocket.send", "bytes": bytes(1_000_000)}))
            except OSError as error:
                errors.append(str(error))
                break
        seen.append(await receive())
        over.set()

    seen: list[Message] = []

    async def main() -> None:
        async with serving(app, ws_max_write_queue=2_000_000) as address:
            client = await address.connect(receive_buffer=4096)
            async with client:
                client.send(upgrade())
                await over.wait()

    run(main())
    assert errors == ["the client has disconnected"]
    assert seen[0]["code"] == 1006


def test_a_denial_response_with_its_own_head_and_body() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        start = {"type": "websocket.http.response.start", "status": 451}
        await send({**start, "headers": [(b"x-why", b"law")]})
        await send({"type": "websocket.http.response.body", "body": b"not ", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"here"})

    async def main() -> None:
        async with serving(app) as address:
            with pytest.raises(InvalidStatus) as refused:
                await connect(url(address))
            response = refused.value.response
            assert (response.status_code, response.headers["x-why"]) == (451, "law")
            assert response.body == b"not here"

    run(main())
