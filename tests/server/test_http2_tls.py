"""HTTP/2 as browsers ask for it: agreed on by ALPN."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.server.certificates import Authority, Issued, requires_openssl
from tests.server.http2_support import Http2Client
from tests.server.support import Receive, Scope, Send, read_body, reply, run, serving

pytestmark = requires_openssl

GOAWAY = 7
"""The type of a frame."""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def local(authority: Authority) -> Issued:
    return authority.issue("localhost", "127.0.0.1")


def test_httpx_chooses_it(authority: Authority, local: Issued) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await reply(send, await read_body(receive))

    async def main() -> None:
        files = {"ssl_certfile": str(local.certificate), "ssl_keyfile": str(local.key)}
        body = bytes(range(256)) * 2000
        async with serving(app, **files) as address:
            url = f"https://{address.host}:{address.port}/"
            context = authority.client_context()
            async with httpx.AsyncClient(http2=True, verify=context) as client:
                responses = await asyncio.gather(
                    *(client.post(url, content=body) for _ in range(5)), client.get(url)
                )
            assert {response.http_version for response in responses} == {"HTTP/2"}
            assert [response.content == body for response in responses] == [True] * 5 + [False]
            async with httpx.AsyncClient(http2=False, verify=context) as client:
                assert (await client.get(url)).http_version == "HTTP/1.1"

    run(main())
    assert [scope["http_version"] for scope in scopes] == ["2"] * 6 + ["1.1"]
    assert {scope["scheme"] for scope in scopes} == {"https"}
    assert scopes[0]["extensions"]["tls"]["tls_version"] == 0x0304


def test_settings_come_before_the_client_says_anything(authority: Authority, local: Issued) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"hello")

    async def main() -> None:
        files = {"ssl_certfile": str(local.certificate), "ssl_keyfile": str(local.key)}
        async with serving(app, **files) as address:
            context = authority.client_context()
            context.set_alpn_protocols(["h2"])
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=context, server_hostname="localhost"
            )
            # A SETTINGS frame on stream 0.
            head = await reader.readexactly(9)
            assert head[3:] == b"\x04\0\0\0\0\0"
            await reader.readexactly(int.from_bytes(head[:3]))
            writer.close()
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=context, server_hostname="localhost"
            )
            client = Http2Client(reader, writer)
            client.begin()
            assert (await client.ask("GET", "/")).body == b"hello"
            writer.close()

    run(main())


def test_a_first_request_that_meets_a_stop_is_served(authority: Authority, local: Issued) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"hello")

    async def attempt() -> bool:
        """Whether the request was in time: a stalled machine may take longer than the grace."""
        files = {"ssl_certfile": str(local.certificate), "ssl_keyfile": str(local.key)}
        async with serving(app, **files) as address:
            context = authority.client_context()
            context.set_alpn_protocols(["h2"])
            reader, writer = await asyncio.open_connection(
                address.host, address.port, ssl=context, server_hostname="localhost"
            )
            client = Http2Client(reader, writer)
            first = await frame(reader)
            address.server.stop()
            while first[-1][3] != GOAWAY:
                first += await frame(reader)
            client.begin()
            client.receive(b"".join(first))
            stream = client.request("GET", "/")
            await client.closed()
            writer.close()
            assert client.goaway == 0
            return client.answers[stream].body == b"hello"

    async def main() -> None:
        for _ in range(5):
            if await attempt():
                return
        raise AssertionError("no request was served")

    run(main(), limit=60.0)


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304)])
def test_a_file_for_a_response_without_a_body_is_not_read(
    authority: Authority, local: Issued, tmp_path: Path, protocol: str, method: str, status: int
) -> None:
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        # Holes only: reading it would take minutes, in one turn of the loop.
        file.truncate(1 << 40)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"%d" % (1 << 40))] if scope["path"] == "/length" else []
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.pathsend", "path": str(huge)})

    async def main() -> None:
        files = {"ssl_certfile": str(local.certificate), "ssl_keyfile": str(local.key)}
        context = authority.client_context()
        async with (
            serving(app, **files) as address,
            httpx.AsyncClient(
                http2=protocol == "h2", http1=protocol != "h2", verify=context
            ) as client,
        ):
            url = f"https://{address.host}:{address.port}"
            # (python h2 knows that HEAD's length is of no body here, but not that 304's is.)
            lengths = {"/": None} | ({"/length": str(1 << 40)} if method == "HEAD" else {})
            for path, length in lengths.items():
                response = await client.request(method, url + path)
                assert (response.status_code, response.content) == (status, b"")
                assert response.headers.get("content-length") == length

    run(main())


def test_one_connection_too_many_hears_so_in_its_own_protocol(
    authority: Authority, local: Issued
) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, b"hello")

    async def main() -> None:
        files = {"ssl_certfile": str(local.certificate), "ssl_keyfile": str(local.key)}
        context = authority.client_context()
        context.set_alpn_protocols(["h2"])
        clients = []
        async with serving(app, max_connections=1, **files) as address:
            for _ in range(2):
                reader, writer = await asyncio.open_connection(
                    address.host, address.port, ssl=context, server_hostname="localhost"
                )
                clients.append(Http2Client(reader, writer))
                clients[-1].begin()
                if len(clients) == 1:
                    assert (await clients[0].ask("GET", "/")).body == b"hello"
            refused = clients[1].request("GET", "/")
            await clients[1].closed()
            assert (clients[1].goaway, clients[1].answers[refused].status) == (0, 0)
            assert (await clients[0].ask("GET", "/")).body == b"hello"
            for client in clients:
                client.writer.close()

    run(main())


async def frame(reader: asyncio.StreamReader) -> list[bytes]:
    """The next frame, alone in a list."""
    head = await reader.readexactly(9)
    return [head + await reader.readexactly(int.from_bytes(head[:3]))]
