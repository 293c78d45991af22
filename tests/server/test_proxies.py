"""What is believed of proxies: forwarded headers, and the PROXY protocol."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from pathlib import Path
from typing import Annotated, Any

import pytest

from pelton.server import Config, Server, StartupError
from pelton.web import FastAPI, Header, Request
from pelton.web.middleware import Middleware
from pelton.web.middleware.trustedhost import TrustedHostMiddleware
from tests.server.support import Receive, Scope, Send, reply, run, serving


async def tell(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with what the scope says of the client."""
    host = dict(scope["headers"]).get(b"host", b"").decode()
    told = (scope["client"], scope["scheme"], scope["server"], host)
    await reply(send, repr(told).encode())


async def asked(address: Any, *fields: str, before: bytes = b"") -> Any:
    """What `tell` says to a request with these header lines, sent behind `before`."""
    lines = "".join(f"{field}\r\n" for field in fields)
    async with await address.connect() as client:
        client.send(before + f"GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n".encode())
        response = await client.response()
        return eval(response.body)


FORWARDED = ("X-Forwarded-For: 6.6.6.6, 192.0.2.1", "X-Forwarded-Proto: https")


def test_a_proxy_on_this_machine_is_believed() -> None:
    async def main() -> None:
        async with serving(tell) as address:
            client, scheme, server, host = await asked(address, *FORWARDED)
            assert (client, scheme) == (("192.0.2.1", 0), "https")
            assert (server, host) == (("127.0.0.1", address.port), "a")
            # Per request, not per connection.
            client, scheme, _, _ = await asked(address)
            assert (client[0], scheme) == ("127.0.0.1", "http")

    run(main())


@pytest.mark.parametrize(
    "options",
    [{"trusted_proxies": ()}, {"trusted_proxies": "10.0.0.0/8"}, {"forwarded_headers": "off"}],
)
def test_others_are_not(options: dict[str, Any]) -> None:
    async def main() -> None:
        async with serving(tell, **options) as address:
            client, scheme, _, _ = await asked(address, *FORWARDED)
            assert (client[0], scheme) == ("127.0.0.1", "http")

    run(main())


def test_only_one_family_of_headers_is_read() -> None:
    forwarded = 'Forwarded: for="[2001:db8::7]:4711";proto=https;host=shop.example'

    async def main() -> None:
        async with serving(tell) as address:
            client, _, _, _ = await asked(address, forwarded)
            assert client[0] == "127.0.0.1"
        async with serving(tell, forwarded_headers="forwarded") as address:
            client, scheme, _, _ = await asked(address, forwarded, *FORWARDED)
            assert (client, scheme) == (("2001:db8::7", 4711), "https")
            client, _, _, _ = await asked(address, "Forwarded: for=_hidden")
            assert client is None
            client, _, _, _ = await asked(address, "Forwarded: for=1.2.3.4;for=5.6.7.8")
            assert client[0] == "127.0.0.1"

    run(main())


def test_the_host_only_where_it_is_asked_for() -> None:
    fields = (*FORWARDED, "X-Forwarded-Host: shop.example", "X-Forwarded-Port: 8443")

    async def main() -> None:
        async with serving(tell, forwarded_host=True) as address:
            _, _, server, host = await asked(address, *fields)
            assert (server, host) == (("shop.example", 8443), "shop.example")
            _, _, server, host = await asked(address, *FORWARDED, "X-Forwarded-Host: b:1/../x")
            assert (server, host) == (("127.0.0.1", address.port), "a")
            _, _, server, _ = await asked(address, *FORWARDED, "X-Forwarded-Host: shop.example")
            assert server == ("shop.example", 443)

    run(main())


@pytest.mark.parametrize(
    ("host", "forwarded", "seen"),
    [
        ("good", "X-Forwarded-Host: evil", None),
        ("backend", "X-Forwarded-Host: good", "good"),
        ("good", "X-Other: evil", "good"),
        ("backend", "X-Other: good", None),
    ],
)
def test_plans_see_the_host_that_scopes_have(host: str, forwarded: str, seen: str | None) -> None:
    app = FastAPI(middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["good"])])

    @app.get("/plain")
    async def plain(host: Annotated[str, Header()]) -> list[str]:
        return [host]

    @app.get("/request")
    async def with_request(request: Request, host: Annotated[str, Header()]) -> list[str]:
        return [host, str(request.url.hostname)]

    async def main() -> None:
        async with serving(app, forwarded_host=True) as address:
            for path in ("plain", "request"):
                head = f"GET /{path} HTTP/1.1\r\nHost: {host}\r\n{forwarded}\r\n\r\n"
                response = await address.ask(head.encode())
                assert response.status == (400 if seen is None else 200)
                if seen is not None:
                    assert set(json.loads(response.body)) == {seen}

    run(main())


@pytest.mark.parametrize(
    ("trusted", "believed"), [("unix", True), ("127.0.0.1", False), ("*", True)]
)
def test_proxies_on_a_unix_socket(tmp_path: Path, trusted: str, believed: bool) -> None:
    async def main() -> None:
        path = str(tmp_path / "app.sock")
        started = asyncio.Event()
        config = Config(uds=path, lifespan="off", trusted_proxies=(trusted,))
        server = Server(tell, config, on_started=started.set)
        task = asyncio.create_task(server.serve())
        await started.wait()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        client, _, _, _ = eval(await reader.readexactly(length))
        assert client == (("192.0.2.1", 0) if believed else None)
        writer.close()
        await writer.wait_closed()
        server.stop()
        await task

    run(main())


def test_a_list_that_names_no_proxy() -> None:
    async def main() -> None:
        with pytest.raises(StartupError, match='"localhost" is no address'):
            async with serving(tell, trusted_proxies="localhost"):
                pass

    run(main())


def binary(client: str, port: int) -> bytes:
    """A PROXY header, version 2."""
    source = ipaddress.ip_address(client)
    target = ipaddress.ip_address("::1" if source.version == 6 else "198.51.100.2")
    family = b"\x21" if source.version == 6 else b"\x11"
    told = source.packed + target.packed + port.to_bytes(2) + (443).to_bytes(2)
    return b"\r\n\r\n\0\r\nQUIT\n\x21" + family + len(told).to_bytes(2) + told


@pytest.mark.parametrize(
    ("header", "client", "server"),
    [
        (
            b"PROXY TCP4 192.0.2.1 198.51.100.2 5123 443\r\n",
            ("192.0.2.1", 5123),
            ("198.51.100.2", 443),
        ),
        (binary("192.0.2.9", 77), ("192.0.2.9", 77), ("198.51.100.2", 443)),
        (binary("2001:db8::9", 77), ("2001:db8::9", 77), ("::1", 443)),
    ],
)
def test_the_proxy_protocol(header: bytes, client: Any, server: Any) -> None:
    async def main() -> None:
        async with serving(tell, proxy_protocol=True) as address:
            told = await asked(address, before=header)
            assert told[0] == client
            assert told[2] == server
            # Whom it tells of is no proxy of ours.
            told = await asked(address, *FORWARDED, before=header)
            assert told[0] == client
            # However it is cut.
            async with await address.connect() as one:
                for byte in header + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n":
                    one.send(bytes([byte]))
                    await one.writer.drain()
                assert eval((await one.response()).body)[0] == client

    run(main())


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"])
def test_a_proxy_that_speaks_for_itself(header: bytes) -> None:
    async def main() -> None:
        async with serving(tell, proxy_protocol=True) as address:
            client, _, server, _ = await asked(address, before=header)
            assert client[0] == "127.0.0.1"
            assert server == ("127.0.0.1", address.port)

    run(main())


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"PROXY TCP4 nonsense\r\n", b"\x16\x03\x01"]
)
def test_without_its_header_a_connection_ends(data: bytes) -> None:
    async def main() -> None:
        async with serving(tell, proxy_protocol=True) as address, await address.connect() as client:
            client.send(data)
            assert await client.closed()

    run(main())


def test_proxy_headers_of_strangers_and_slow_ones() -> None:
    async def main() -> None:
        options: dict[str, Any] = {"proxy_protocol": True, "handshake_timeout": 0.1}
        async with serving(tell, **options) as address, await address.connect() as client:
            client.send(b"PROXY TCP4 192.0.2.1")
            assert await client.closed()
        options["trusted_proxies"] = "192.0.2.5"
        async with serving(tell, **options) as address, await address.connect() as client:
            assert await client.closed()

    run(main())
