"""TLS of the server, with Python's ssl module (OpenSSL) as the client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
from pathlib import Path
from typing import Any

import pytest

from pelton.server import ConfigError, StartupError
from tests.server.certificates import Authority, Issued, openssl, requires_openssl
from tests.server.support import (
    Address,
    Client,
    Receive,
    Scope,
    Send,
    read_body,
    reply,
    run,
    serving,
)
from tests.server.tls_support import GET, connecting, files, hello, session

pytestmark = requires_openssl

BIG = bytes(range(256)) * 4096  # 1 MiB


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def local(authority: Authority) -> Issued:
    return authority.issue("localhost", "127.0.0.1")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_requests_and_the_scope(
    authority: Authority, local: Issued, version: ssl.TLSVersion
) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await reply(send, await read_body(receive))

    async def main() -> None:
        context = authority.client_context()
        context.maximum_version = version
        async with serving(app, **files(local)) as address:
            assert address.server.addresses[0].startswith("https://")
            async with connecting(address, context) as client:
                for _ in range(2):
                    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
                    assert (await client.response()).body == b"abc"
                cipher = session(client).cipher()
                assert cipher is not None

    run(main())
    first, second = scopes
    assert first["scheme"] == "https"
    tls = first["extensions"]["tls"]
    assert tls["tls_version"] == (0x0303 if version == ssl.TLSVersion.TLSv1_2 else 0x0304)
    assert isinstance(tls["cipher_suite"], int)
    assert ssl.PEM_cert_to_DER_cert(tls["server_cert"]) == local.der
    assert tls["client_cert_chain"] == []
    assert (tls["client_cert_name"], tls["client_cert_error"]) == (None, None)
    assert second["extensions"]["tls"] == tls


def test_websockets_are_wss(authority: Authority, local: Issued) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["scheme"] == "wss"
        assert "tls" in scope["extensions"]
        assert "websocket.http.response" in scope["extensions"]
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "hi"})
        await receive()

    async def main() -> None:
        import websockets

        async with serving(app, **files(local)) as address:
            url = f"wss://localhost:{address.port}/"
            context = authority.client_context()
            async with websockets.connect(url, ssl=context, proxy=None) as socket:
                assert await socket.recv() == "hi"

    run(main())


def test_large_bodies_both_ways(authority: Authority, local: Issued) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        await send({"type": "http.response.start", "status": 200})
        for start in range(0, len(body), 100_000):
            piece = body[start : start + 100_000]
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body"})

    async def main() -> None:
        async with (
            serving(app, **files(local)) as address,
            connecting(address, authority.client_context()) as client,
        ):
            head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(BIG)}\r\n\r\n"
            client.send(head.encode() + BIG)
            assert (await client.response()).body == BIG

    run(main())


def test_the_certificate_for_the_name_that_is_asked_for(
    authority: Authority, local: Issued
) -> None:
    other, wild = authority.issue("other.test"), authority.issue("*.wild.test")

    async def main() -> None:
        context = authority.client_context()
        context.check_hostname = False
        async with serving(hello, **files(local, other, wild)) as address:
            for name, issued in {
                "localhost": local,
                "other.test": other,
                "a.wild.test": wild,
                "unknown.test": local,
            }.items():
                async with connecting(address, context, name) as client:
                    assert session(client).getpeercert(binary_form=True) == issued.der

    run(main())


def test_a_certificate_that_the_client_can_verify(authority: Authority) -> None:
    """Of two for one name, a client that takes no ECDSA gets the one with RSA."""
    curve, rsa = authority.issue("localhost"), authority.issue("localhost", kind="rsa")

    async def main() -> None:
        async with serving(hello, **files(curve, rsa)) as address:
            for cipher, issued in {"ECDHE-RSA-AES256-GCM-SHA384": rsa, "DEFAULT": curve}.items():
                context = authority.client_context()
                context.maximum_version = ssl.TLSVersion.TLSv1_2
                context.set_ciphers(cipher)
                async with connecting(address, context) as client:
                    assert session(client).getpeercert(binary_form=True) == issued.der

    run(main())


@pytest.mark.parametrize("wanted", ["optional", "required"])
def test_client_certificates(
    authority: Authority, local: Issued, tmp_path: Path, wanted: str
) -> None:
    subject = "/C=DE/O=Ex, Inc./OU=A+B/CN=ali\\/ce"
    alice = authority.issue(subject=subject)
    stranger = Authority(tmp_path, "stranger").issue(subject="/CN=mallory")
    seen: list[dict[str, Any]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope["extensions"]["tls"])
        await reply(send, b"hello")

    async def answers(address: Address, issued: Issued | None) -> bool:
        try:
            async with connecting(address, authority.client_context(issued)) as client:
                client.send(GET)
                return (await client.response()).body == b"hello"
        except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
            return False

    async def main() -> None:
        options = {"ssl_ca_certs": str(authority.certificate), "ssl_client_certs": wanted}
        async with serving(app, **files(local), **options) as address:
            assert await answers(address, alice)
            assert await answers(address, None) == (wanted == "optional")
            assert not await answers(address, stranger)

    run(main())
    assert ssl.PEM_cert_to_DER_cert(seen[0]["client_cert_chain"][0]) == alice.der
    expected = openssl(
        *("x509", "-in", str(alice.certificate), "-noout", "-subject", "-nameopt", "RFC2253")
    )
    assert f"subject={seen[0]['client_cert_name']}" == expected.strip()


def test_old_versions_are_refused(authority: Authority, local: Issued) -> None:
    async def main() -> None:
        context = authority.client_context()
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        async with serving(hello, **files(local), ssl_min_version="1.3") as address:
            with pytest.raises((ssl.SSLError, ConnectionError)):
                async with connecting(address, context):
                    pass
            async with connecting(address, authority.client_context()) as client:
                client.send(GET)
                assert (await client.response()).status == 200

    run(main())


@pytest.mark.parametrize(
    ("http2", "offered", "agreed"),
    [
        (False, ["h2", "http/1.1"], "http/1.1"),
        (True, ["http/1.1"], "http/1.1"),
        (False, [], None),
    ],
)
def test_alpn(
    authority: Authority, local: Issued, http2: bool, offered: list[str], agreed: str | None
) -> None:
    async def main() -> None:
        context = authority.client_context()
        if offered:
            context.set_alpn_protocols(offered)
        async with (
            serving(hello, **files(local), http2=http2) as address,
            connecting(address, context) as client,
        ):
            assert session(client).selected_alpn_protocol() == agreed
            client.send(GET)
            assert (await client.response()).body == b"hello"

    run(main())


def resume(port: int, context: ssl.SSLContext, before: ssl.SSLSession | None) -> Any:
    """A request in a thread: its session, and whether that was resumed."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as sock,
        context.wrap_socket(sock, server_hostname="localhost", session=before) as client,
    ):
        client.sendall(GET)
        # TLS 1.3 sends its tickets behind the handshake.
        client.recv(1000)
        return client.session, client.session_reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed(
    authority: Authority, local: Issued, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    context = authority.client_context()
    context.maximum_version = version
    shared = tmp_path / "tickets"
    shared.write_bytes(os.urandom(32))
    sharing = {"ssl_ticket_key_file": str(shared)}

    async def reused(first: dict[str, Any], second: dict[str, Any] | None) -> bool:
        """Whether a session of a server is taken by it, or by another one."""
        async with contextlib.AsyncExitStack() as stack:
            one = await stack.enter_async_context(serving(hello, **files(local), **first))
            other = one
            if second is not None:
                other = await stack.enter_async_context(serving(hello, **files(local), **second))
            before, was = await asyncio.to_thread(resume, one.port, context, None)
            assert not was
            _, is_reused = await asyncio.to_thread(resume, other.port, context, before)
            return bool(is_reused)

    async def main() -> None:
        assert await reused({}, None)
        assert not await reused({}, {})
        assert await reused(sharing, sharing)
        # Clients that were verified are strangers where other authorities count.
        optional = {"ssl_ca_certs": str(authority.certificate), "ssl_client_certs": "optional"}
        assert not await reused(sharing, sharing | optional)

    run(main())


def test_a_ticket_key_is_long_enough(local: Issued, tmp_path: Path) -> None:
    short = tmp_path / "short"
    short.write_bytes(b"secret")

    async def main() -> None:
        with pytest.raises(StartupError, match="short has 6 bytes: it needs 32 random ones"):
            async with serving(hello, **files(local), ssl_ticket_key_file=str(short)):
                pass

    run(main())


def test_the_end_is_told(authority: Authority, local: Issued) -> None:
    """close_notify comes before the connection's end, so that nobody can cut a body short."""

    async def main() -> None:
        async with (
            serving(hello, **files(local)) as address,
            connecting(address, authority.client_context()) as client,
        ):
            client.send(b"GET / HTTP/1.0\r\n\r\n")
            assert (await client.reader.read()).endswith(b"hello")
            assert client.reader.at_eof()

    run(main())


def test_what_is_no_tls_ends(authority: Authority, local: Issued) -> None:
    async def main() -> None:
        async with serving(hello, **files(local)) as address:
            async with await address.connect() as client:
                client.send(GET)
                # An alert, and the end.
                assert (await client.reader.read())[:1] == b"\x15"
            async with connecting(address, authority.client_context()) as client:
                client.send(GET)
                assert (await client.response()).status == 200

    run(main())


def test_handshakes_have_a_time_and_a_number(authority: Authority, local: Issued) -> None:
    async def main() -> None:
        options = {"handshake_timeout": 0.2, "max_handshakes": 1}
        async with serving(hello, **files(local), **options) as address:
            async with await address.connect() as silent, await address.connect() as second:
                assert await second.closed()
                assert await silent.closed()
            async with connecting(address, authority.client_context()) as client:
                client.send(GET)
                assert (await client.response()).status == 200

    run(main())


def test_a_handshake_does_not_hold_the_stop(local: Issued) -> None:
    async def main() -> None:
        async with serving(hello, **files(local)) as address, await address.connect() as silent:
            # Once the server has the connection, it sees its first byte.
            silent.send(b"\x16")
            await asyncio.sleep(0)
            address.server.stop()
            assert await silent.closed()

    run(main())


def test_a_handshake_under_way_is_served_when_the_server_stops(
    authority: Authority, local: Issued
) -> None:
    async def main() -> None:
        accepted = asyncio.Event()

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["path"] == "/first":
                accepted.set()
            await reply(send, b"hello")

        async with serving(app, **files(local)) as address:
            # Accepted before the other one's request is answered.
            sock = socket.create_connection((address.host, address.port))
            async with connecting(address, authority.client_context()) as first:
                first.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n")
                await accepted.wait()
                address.server.stop()
                sock.setblocking(False)
                reader, writer = await asyncio.open_connection(
                    sock=sock, ssl=authority.client_context(), server_hostname="localhost"
                )
                async with Client(reader, writer) as late:
                    late.send(GET)
                    response = await late.response()
                    assert (response.body, response.header("connection")) == (b"hello", "close")

    run(main())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"ssl_certfile": ("a", "b"), "ssl_keyfile": "c"}, "1 ssl_keyfile for 2 ssl_certfile"),
        ({"ssl_keyfile": "c"}, "1 ssl_keyfile for 0 ssl_certfile"),
        ({"ssl_certfile": "a", "ssl_ca_certs": "b"}, "belong together"),
        ({"ssl_certfile": "a", "ssl_client_certs": "optional"}, "belong together"),
        ({"ssl_ca_certs": "b", "ssl_client_certs": "optional"}, "without ssl_certfile"),
        ({"ssl_min_version": "1.1"}, "it must be '1.2' or '1.3'"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], message: str) -> None:
    from pelton.server import Config

    with pytest.raises(ConfigError, match=message):
        Config(**options)


@pytest.mark.requires("curl")
@pytest.mark.parametrize(("flag", "version"), [("--http1.1", "1.1"), ("--http2", "2")])
def test_curl(authority: Authority, local: Issued, flag: str, version: str) -> None:
    scopes: list[Scope] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scopes.append(scope)
        await reply(send, b"hello")

    async def main() -> None:
        async with serving(app, **files(local)) as address:
            command = ["curl", "-sS", flag, "--cacert", str(authority.certificate)]
            url = f"https://localhost:{address.port}/"
            resolve = f"localhost:{address.port}:127.0.0.1"
            done = await asyncio.to_thread(
                subprocess.run,
                [*command, "--noproxy", "*", "--resolve", resolve, url],
                capture_output=True,
                timeout=60,
            )
            assert (done.stdout, done.stderr) == (b"hello", b"")

    run(main())
    [scope] = scopes
    assert (scope["http_version"], scope["scheme"]) == (version, "https")
    assert scope["extensions"]["tls"]["tls_version"] == 0x0304


def test_a_file_of_an_answered_request_is_not_sent_as_the_next_ones(
    authority: Authority, local: Issued, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"secret")
    late: list[asyncio.Future[None]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/first":
            message = {"type": "http.response.pathsend", "path": str(tmp_path / "file")}
            late.append(asyncio.ensure_future(send(message)))
            raise RuntimeError("it is answered before its file is")
        await send({"type": "http.response.start", "status": 200})
        with pytest.raises(OSError, match="disconnected"):
            await late[0]
        await send({"type": "http.response.body", "body": b"public"})

    async def main() -> None:
        context = authority.client_context()
        async with (
            serving(app, **files(local)) as address,
            connecting(address, context) as client,
        ):
            client.send(b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
            assert (await client.response()).status == 500
            assert (await client.response()).body == b"public"

    run(main())


def test_a_flood_of_handshakes_lets_others_have_their_turns(
    authority: Authority, local: Issued
) -> None:
    number, most = 60, 8  # of one look: the steps of two turns of the loop

    async def main() -> None:
        async with serving(hello, **files(local)) as address:
            with contextlib.ExitStack() as stack:
                await flooded(address, stack)
            async with connecting(address, authority.client_context()) as client:
                client.send(GET)
                assert (await client.response()).body == b"hello"

    async def flooded(address: Address, stack: contextlib.ExitStack) -> None:
        flood = []
        # The loop gets to see them all at once: nothing is awaited meanwhile.
        for _ in range(number):
            sock = socket.create_connection((address.host, address.port))
            flood.append(stack.enter_context(sock))
            sock.setblocking(False)
            sock.send(client_hello())
        answered = 0
        while answered < number:
            await asyncio.sleep(0)
            before, answered = answered, sum(map(has_answer, flood))
            assert answered - before <= most

    run(main())


def client_hello() -> bytes:
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with pytest.raises(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


def has_answer(sock: socket.socket) -> bool:
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
