"""WSGI applications: PEP 3333, as the standard library's validator sees it, and streams."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from random import Random
from typing import Any
from wsgiref.validate import validator

import pytest

from pelton.server import Config, StartupError
from pelton.server.interface import adapt, is_wsgi
from pelton.server.wsgi import WSGIApp, _Body
from tests.server.support import Address, Message, Receive, Response, Scope, Send, run, serving

Environ = dict[str, Any]
Start = Callable[..., Any]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
TEXT = [("Content-Type", "text/plain")]


def plain(environ: Environ, start_response: Start) -> Iterable[bytes]:
    start_response("200 OK", TEXT)
    return [b"plain"]


async def ask(app: Any, data: bytes, **options: Any) -> Response:
    async with serving(app, **options) as address:
        return await address.ask(data)


def answer(app: Any, data: bytes = GET, **options: Any) -> Response:
    """A WSGI application's answer to one request."""
    found: list[Response] = []

    async def main() -> None:
        found.append(await ask(app, data, **options))

    run(main())
    return found[0]


def validated(app: Any) -> Any:
    # mypy's stubs want exact types that an application of a test need not have.
    checked: Any = validator(app)

    def run(environ: Environ, start_response: Start) -> Any:
        return checked(environ, start_response)

    return run


def test_a_whole_response_has_its_length() -> None:
    response = answer(plain)
    assert (response.status, response.body) == (200, b"plain")
    assert response.header("content-type") == "text/plain"
    assert response.header("content-length") == "5"
    assert answer(validated(plain)).body == b"plain"


def test_the_environ() -> None:
    seen: list[Environ] = []

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        seen.append(environ)
        return plain(environ, start_response)

    data = (
        b"GET /caf%C3%A9%20x?a=%20b HTTP/1.1\r\nHost: shop:80\r\nX-Two: 1\r\nX-Two: 2\r\n"
        b"Cookie: a=1\r\nCookie: b=2\r\nX_Under: no\r\nContent-Type: text/x\r\n"
        b"Content-Length: 0\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n"
    )
    answer(validated(app), data, root_path="/api")
    [environ] = seen
    expected = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "/api",
        "PATH_INFO": "/café x".encode().decode("latin-1"),
        "QUERY_STRING": "a=%20b",
        "CONTENT_TYPE": "text/x",
        "CONTENT_LENGTH": "0",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "shop:80",
        "HTTP_X_TWO": "1,2",
        "HTTP_COOKIE": "a=1; b=2",
        "REMOTE_ADDR": "192.0.2.1",
        "wsgi.url_scheme": "https",
        "wsgi.version": (1, 0),
        "wsgi.multithread": True,
    }
    assert {name: environ[name] for name in expected} == expected
    assert "HTTP_X_UNDER" not in environ
    assert int(environ["SERVER_PORT"]) > 0


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("how", ["read", "pieces", "lines", "readline"])
def test_bodies_are_read(chunked: bool, how: str) -> None:
    body = b"first\n" + b"x" * 300_000 + b"\nlast"

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        stream = environ["wsgi.input"]
        if how == "read":
            found = [stream.read(10**6), stream.read(1)]
        elif how == "pieces":
            found = list(iter(lambda: stream.read(70_000), b""))
            assert [len(piece) for piece in found[:-1]] == [70_000] * 4
        elif how == "lines":
            found = list(stream)
            assert len(found) == 3
        else:
            found = [stream.readline(), stream.readline(10), *stream.readlines()]
            assert [len(piece) for piece in found] == [6, 10, 300_000 - 10 + 1, 4]
        start_response("200 OK", TEXT)
        return [str(b"".join(found) == body).encode()]

    if chunked:
        framing = b"Transfer-Encoding: chunked"
        sent = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    else:
        framing, sent = b"Content-Length: %d" % len(body), body
    head = b"POST / HTTP/1.1\r\nHost: a\r\n" + framing + b"\r\n\r\n"
    assert answer(validated(app), head + sent).body == b"True"


def test_no_piece_waits_for_the_next() -> None:
    go_on = threading.Event()

    def app(environ: Environ, start_response: Start) -> Iterator[bytes]:
        start_response("200 OK", TEXT)
        yield b"one"
        yield b""
        assert go_on.wait(20)
        yield b"two"

    async def main() -> None:
        async with serving(validated(app)) as address, await address.connect() as client:
            client.send(GET)
            response = await client.head()
            assert response.header("transfer-encoding") == "chunked"
            chunks = client.chunks()
            assert await anext(chunks) == b"one"
            go_on.set()
            assert [chunk async for chunk in chunks] == [b"two"]

    run(main())


def test_write() -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        write = start_response("200 OK", TEXT)
        write(b"written, ")
        return [b"returned", b"!"]

    assert answer(validated(app)).body == b"written, returned!"


def test_an_error_before_the_first_byte_can_be_told() -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        try:
            raise RuntimeError("late")
        except RuntimeError:
            import sys

            start_response("503 Busy", TEXT, sys.exc_info())
        return [b"busy"]

    response = answer(validated(app))
    assert (response.status, response.body) == (503, b"busy")


def test_an_application_that_fails(caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        raise RuntimeError("in the application")

    assert answer(app).status == 500
    assert "in the application" in caplog.text


@pytest.mark.parametrize("fault", ["twice", "never"])
def test_start_response_is_called_once(fault: str, caplog: pytest.LogCaptureFixture) -> None:
    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        for _ in range({"twice": 2, "never": 0}[fault]):
            start_response("200 OK", TEXT)
        return [b"x"]

    assert answer(app).status == 500
    assert "start_response" in caplog.text


def test_close_is_called_and_a_client_that_leaves_is_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    closed = threading.Event()
    failures: list[BaseException] = []

    class Endless:
        def __iter__(self) -> Iterator[bytes]:
            try:
                while True:
                    yield b"x" * 100_000
            except GeneratorExit:
                raise
            except BaseException as error:
                failures.append(error)
                raise

        def close(self) -> None:
            closed.set()

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        start_response("200 OK", TEXT)
        return Endless()

    async def main() -> None:
        async with serving(app) as address:
            async with await address.connect() as client:
                client.send(GET)
                await client.head()
            assert await asyncio.to_thread(closed.wait, 20)

    run(main())
    # Nobody is at fault: there is nothing in the log.
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_calls_run_at_once_up_to_the_threads() -> None:
    barrier = threading.Barrier(3, timeout=20)

    def app(environ: Environ, start_response: Start) -> Iterable[bytes]:
        barrier.wait()
        return plain(environ, start_response)

    async def main() -> None:
        async with serving(app, wsgi_threads=3) as address:
            answers = await asyncio.gather(*(address.ask(GET) for _ in range(3)))
            assert [response.status for response in answers] == [200] * 3

    run(main())


def test_websockets_are_refused_and_lifespan_is_spoken() -> None:
    upgrade = (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    assert answer(plain, upgrade, lifespan="on").status == 403


class Instance:
    def __call__(self, environ: Environ, start_response: Start) -> Iterable[bytes]:
        return plain(environ, start_response)


class Iterated:
    def __init__(self, environ: Environ, start_response: Start) -> None:
        self.environ, self.start = environ, start_response

    def __iter__(self) -> Iterator[bytes]:
        return iter(plain(self.environ, self.start))


async def asgi(scope: Scope, receive: Receive, send: Send) -> None: ...


class ASGIInstance:
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None: ...


async def two(environ: Environ, start_response: Start) -> None: ...


class ASGI2:
    def __init__(self, scope: Scope) -> None: ...


def anything(*arguments: Any) -> Any: ...


@pytest.mark.parametrize(
    ("app", "expected"),
    [
        (plain, True),
        (Instance(), True),
        (Iterated, True),
        (asgi, False),
        (ASGIInstance(), False),
        (anything, False),
        (lambda scope, receive=None, send=None: None, False),
        (dict, False),
    ],
)
def test_which_interface_an_application_has(app: Any, expected: bool) -> None:
    assert is_wsgi(app) == expected


@pytest.mark.parametrize("app", [two, ASGI2, lambda: None])
def test_neither(app: Any) -> None:
    with pytest.raises(StartupError, match=r"interface='asgi' or 'wsgi'") as error:
        is_wsgi(app)
    assert error.value.exit_code == 2


def test_the_config_has_the_last_word() -> None:
    assert adapt(anything, Config(interface="asgi")) is anything
    assert isinstance(adapt(anything, Config(interface="wsgi")), WSGIApp)
    with pytest.raises(StartupError, match="cannot be called"):
        adapt(object(), Config())


def test_an_application_as_a_class() -> None:
    async def main(address: Address | None = None) -> None:
        async with serving(Iterated) as served:
            assert (await served.ask(GET)).body == b"plain"

    run(main())


class Arrived:
    """A bridge into a loop in which everything has arrived."""

    is_gone = False

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        with pytest.raises(StopIteration) as ended:
            coroutine.send(None)
        return ended.value.value


@pytest.mark.parametrize("seed", range(50))
def test_the_input_reads_as_a_file_does(seed: int) -> None:
    random = Random(seed)
    content = bytes(random.choices(b"ab\n", (10, 10, random.choice([1, 30])), k=3000))
    cuts = sorted(random.choices(range(len(content)), k=random.choice([0, 3, 100])))
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]

    async def receive() -> Message:
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    ours: Any = _Body(Arrived(), receive, has_body=True)  # type: ignore[arg-type]
    theirs = io.BytesIO(content)
    while theirs.tell() < len(content):
        name = random.choice(["read", "readline"])
        size = random.choice([None, -1, 0, 1, 2, 10, 500] if name == "readline" else [0, 1, 7, 300])
        assert getattr(ours, name)(size) == getattr(theirs, name)(size), (name, size)
    assert ours.read() == ours.readline() == b""
