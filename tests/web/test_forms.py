"""Forms read in Rust: the same as Starlette's own parser reads, from every kind of caller."""

from __future__ import annotations

import asyncio
import encodings
import random
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import FormParser, MultiPartException, MultiPartParser

from pelton import _core
from pelton.web import FastAPI, File, Form, Request
from pelton.web import UploadFile as FastAPIUploadFile
from pelton.web._request import FormRequest
from pelton.web.testclient import TestClient
from tests.server.support import Client, run, serving

MULTIPART = "multipart/form-data; boundary=b"
URLENCODED = "application/x-www-form-urlencoded"

Items = list[tuple[str, Any]]


async def plain(form: FormData) -> Items:
    """A form's items, with a file as what can be said of it."""
    items: Items = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            headers = [*(value.headers.raw or [])]
            content = await value.read()
            items.append((name, (value.filename, value.size, value.content_type, headers, content)))
            await value.close()
        else:
            items.append((name, value))
    return items


async def pieces(body: bytes, size: int) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


def starlettes(content_type: str, body: bytes, **limits: int) -> Items | str:
    """What Starlette's parser makes of a body, or the message of its error."""

    async def read() -> Items | str:
        headers = Headers({"content-type": content_type})
        # In one piece: cut at the wrong place, it skips less of what comes before the boundary.
        stream = pieces(body, len(body) + 1)
        try:
            if not content_type.startswith("multipart"):
                limits.pop("max_files", None)
                return await plain(await FormParser(headers, stream, **limits).parse())
            parser = MultiPartParser(headers, stream, **limits)
            items = await plain(await parser.parse())
            for file in parser._files_to_close_on_error:
                file.close()  # It leaves a file open that was cut off.
            return items
        except MultiPartException as error:
            return error.message

    return asyncio.run(read())


def ours(content_type: str, body: bytes, size: int, **limits: int) -> Items | str:
    """The same by Rust's, in pieces of `size` bytes."""

    async def read() -> Items | str:
        parts = [part async for part in pieces(body, size)]

        async def receive() -> dict[str, Any]:
            part = parts.pop(0) if parts else b""
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        scope = {"type": "http", "headers": [(b"content-type", content_type.encode("latin-1"))]}
        request = FormRequest(scope, receive)
        try:
            return await plain(await request.form(**limits))
        except MultiPartException as error:
            return error.message

    return asyncio.run(read())


def part(disposition: str, content: bytes, *headers: str) -> bytes:
    lines = [f"Content-Disposition: {disposition}", *headers]
    head = "--b\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"
    return head.encode() + content + b"\r\n"


BODIES = [
    (MULTIPART, b""),
    (MULTIPART, b"--b--"),
    (MULTIPART, part('form-data; name="a"', b"1") + b"--b--\r\n"),
    (MULTIPART, part("form-data; name=é", "é".encode()) + b"--b--"),
    (MULTIPART, part('form-data; name="a"', b"\xff\xfe") + b"--b--"),
    (MULTIPART + "; charset=latin-1", part('form-data; name="a"', b"\xe9") + b"--b--"),
    (MULTIPART + "; charset=utf-16-le", part('form-data; name="a"', b"a\0b\0") + b"--b--"),
    (MULTIPART + "; charset=nonsense", part('form-data; name="a"', b"\xe9") + b"--b--"),
    (MULTIPART + "; charset=KOI8-U", part('form-data; name="a"', b"\xa4\xc1") + b"--b--"),
    (MULTIPART + "; charset=cp874", part('form-data; name="a"', b"\xa1\xe9") + b"--b--"),
    (MULTIPART + "; charset=utf-8-sig", part('form-data; name="a"', b"\xef\xbb\xbf1") + b"--b--"),
    (MULTIPART, part('form-data; name="f"; filename="x.txt"', b"hi", "X-A: 1") + b"--b--"),
    (MULTIPART, part('form-data; name="f"; filename="a;b\\".txt"', b"") + b"--b--"),
    (MULTIPART, part('form-data; name="f"; filename=""', b"", "Content-Type: a/b") + b"--b--"),
    (MULTIPART, part("form-data; name=f; filename*=UTF-8''x", b"?") + b"--b--"),
    (MULTIPART, part('form-data; name="f"; filename="C:\\dir\\x.txt"', b"1") + b"--b--"),
    (MULTIPART, part("form-data", b"1") + b"--b--"),
    (MULTIPART, b"--b\r\n\r\n1\r\n--b--"),
    (MULTIPART, b"--b\r\nbad name: 1\r\n\r\n"),
    (MULTIPART, b"nothing like it"),
    (MULTIPART, part("form-data; name=a", b"cut off")[:-2]),
    ("multipart/form-data", b"--b--"),
    ("multipart/form-data; boundary=" + "b" * 300, b"--b--"),
    ('multipart/form-data; boundary="b"; x', part("form-data; name=a", b"1") + b"--b--"),
    (URLENCODED, b""),
    (URLENCODED, b"a=1&b=2&a=3"),
    (URLENCODED, b"&&a&=v&b=%C3%A9+%zz&c=\xe9&&"),
    (URLENCODED + "; charset=utf-8", b"a=%FF"),
]


@pytest.mark.parametrize(("content_type", "body"), BODIES)
def test_the_same_as_starlettes_parser(content_type: str, body: bytes) -> None:
    expected = starlettes(content_type, body)
    for size in (1, 2, 3, 7, 64, len(body) + 1):
        assert ours(content_type, body, size) == expected, size


def generated(seed: int) -> Iterator[tuple[str, bytes, dict[str, int]]]:
    """Forms that are mostly good, and damaged ones."""
    random_ = random.Random(seed)
    values = [b"", b"x", b"\r\n", b"\r\n--", b"\r\n--b", b"--b--", b"-", b"\r", b"\xff", b"y" * 70]
    dispositions = [
        'form-data; name="a"',
        'form-data; name="f"; filename="x"',
        "form-data; name=f; filename=y; size=1",
        "form-data",
        'form-data; name="a\\"; b"',
    ]
    headers = ["X: 1", "Content-Type: text/plain", "x:", "Bad Name: 1", "X:   spaced"]
    pairs = [b"a", b"=", b"&", b"%", b"%41", b"+", b"1", b"\xe9", b"&&"]
    for _ in range(150):
        limits = {
            "max_files": random_.choice([1, 2, 1000]),
            "max_fields": random_.choice([1, 2, 1000]),
            "max_part_size": random_.choice([10, 50, 2000]),
        }
        if random_.random() < 0.3:
            yield URLENCODED, b"".join(random_.choices(pairs, k=random_.randint(0, 30))), limits
            continue
        body = random_.choice([b"", b"", b"\r\n", b"x"])
        for _ in range(random_.randint(0, 4)):
            value = b"".join(random_.choices(values, k=random_.randint(0, 4)))
            extra = random_.choices(headers, k=random_.choice([0, 0, 1, 2, 9]))
            body += part(random_.choice(dispositions), value, *extra)
        body += random_.choice([b"--b--", b"--b--\r\nepilogue", b"--b \t\r\n", b"--b-", b""])
        if body and random_.random() < 0.4:
            at = random_.randrange(len(body))
            damage = bytes([random_.choice(b'\r\n-b: x\0\xff;"')])
            body = body[:at] + random_.choice([b"", damage, damage * 2]) + body[at + 1 :]
        yield MULTIPART, body, limits


@pytest.mark.parametrize("seed", range(4))
def test_generated_forms_are_read_as_starlettes_parser_reads_them(seed: int) -> None:
    for content_type, body, limits in generated(seed):
        expected = starlettes(content_type, body, **limits)
        for size in (1, 5, len(body) + 1):
            assert ours(content_type, body, size, **limits) == expected, (body, limits, size)


def test_small_files_stay_in_memory_and_large_ones_go_to_disk() -> None:
    limit = MultiPartParser.spool_max_size
    for size in (0, limit, limit + 1, 3 * limit):
        content = random.Random(size).randbytes(size)
        body = part('form-data; name="f"; filename="x"', content) + b"--b--"
        items = _core.parse_form(MULTIPART.encode(), body)
        assert items is not None
        (_, upload) = items[0]
        assert isinstance(upload, UploadFile)
        assert upload.size == size
        assert upload._in_memory == (size <= limit)
        file: Any = upload.file
        assert file.tell() == 0
        assert file.read() == content
        file.write(b"more")
        file.seek(size)
        assert file.read() == b"more"
        file.close()


def test_a_forms_files_are_closed_when_it_is_wrong() -> None:
    reader = _core.FormReader.of(MULTIPART.encode(), 10, 10, 1000, 1)
    assert reader is not None
    reader.feed(part('form-data; name="f"; filename="x"', b"on the disk"))
    with pytest.raises(MultiPartException, match="Invalid multipart data"):
        reader.feed(b"--b\r\n: broken")
    with pytest.raises(RuntimeError, match="given up"):
        reader.feed(b"more")


def test_other_content_types_are_no_forms() -> None:
    assert _core.parse_form(b"application/json", b"{}") is None
    with pytest.raises(HTTPException) as wrong:
        _core.parse_form(b"multipart/form-data", b"")
    assert (wrong.value.status_code, wrong.value.detail) == (400, "Missing boundary in multipart.")


def make_app() -> FastAPI:
    app = FastAPI()

    @app.post("/form")
    async def form(
        name: str = Form(), file: FastAPIUploadFile = File(), small: bytes = File()
    ) -> dict[str, Any]:
        assert file.filename is not None
        return {
            "name": name,
            "file": [file.filename, file.size, (await file.read())[:5].decode()],
            "small": small.decode(),
        }

    @app.post("/raw")
    async def raw(request: Request) -> dict[str, Any]:
        async with request.form(max_fields=2) as form:
            return {key: value for key, value in form.items() if isinstance(value, str)}

    return app


def upload(size: int) -> bytes:
    return (
        part("form-data; name=name", b"n")
        + part("form-data; name=file; filename=big", b"12345" + b"x" * size)
        + part("form-data; name=small; filename=s", b"tiny")
        + b"--b--\r\n"
    )


EXPECTED = {"name": "n", "small": "tiny"}


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_endpoints_under_the_test_client(size: int) -> None:
    client = TestClient(make_app())
    response = client.post("/form", content=upload(size), headers={"content-type": MULTIPART})
    assert response.json() == {**EXPECTED, "file": ["big", size + 5, "12345"]}
    response = client.post("/raw", data={"a": "1", "b": "2"})
    assert response.json() == {"a": "1", "b": "2"}
    response = client.post("/raw", data={"a": "1", "b": "2", "c": "3"})
    assert (response.status_code, response.json()) == (
        400,
        {"detail": "Too many fields. Maximum number of fields is 2."},
    )


async def post(client: Client, path: str, content_type: str, body: bytes) -> tuple[int, bytes]:
    head = (
        f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    client.send(head.encode() + body)
    response = await client.response()
    return response.status, response.body


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_endpoints_under_our_server(size: int) -> None:
    async def main() -> None:
        async with serving(make_app()) as address, await address.connect() as client:
            status, body = await post(client, "/form", MULTIPART, upload(size))
            assert status == 200, body
            assert f'["big",{size + 5},"12345"]'.encode() in body
            status, body = await post(client, "/raw", URLENCODED, b"a=1&b=2")
            assert (status, body) == (200, b'{"a":"1","b":"2"}')
            status, body = await post(client, "/raw", URLENCODED, b"a=1&b=2&c=3")
            assert (status, b"Too many fields" in body) == (400, True)
            status, body = await post(client, "/raw", MULTIPART, b"broken")
            assert (status, body) == (400, b'{"detail":"Invalid multipart data."}')

    run(main())


def test_a_client_that_leaves_within_its_form() -> None:
    left: list[str] = []
    over = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = FormRequest(scope, receive)
        try:
            await request.form()
        except Exception as error:
            left.append(type(error).__name__)
        over.set()

    async def main() -> None:
        async with serving(app) as address:
            async with await address.connect() as client:
                client.send(
                    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\nContent-Type: "
                    + MULTIPART.encode()
                    + b"\r\n\r\n--b\r\n"
                )
            await over.wait()

    run(main())
    assert left == ["ClientDisconnect"]


def test_a_form_may_be_asked_for_twice_and_after_the_body() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = FormRequest(scope, receive)
        if scope["path"] == "/body":
            assert await request.body() == b"a=1"
        first = await request.form()
        assert await request.form() is first
        answer = str(first["a"]).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": answer})

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            for path in ("/", "/body"):
                assert await post(client, path, URLENCODED, b"a=1") == (200, b"1")

    run(main())


def test_a_charset_that_nobody_knows_leaves_nothing_behind() -> None:
    # Python keeps what it does not find there, for ever.
    cache: dict[str, Any] = encodings._cache  # type: ignore[attr-defined]
    before = dict(cache)
    body = part('form-data; name="a"', b"\xe9") + b"--b--"
    for seed in range(50):
        charset = random.Random(seed).randbytes(40).hex()
        assert ours(f"{MULTIPART}; charset={charset}", body, len(body)) == [("a", "é")]
    assert cache == before


@pytest.mark.parametrize("charset", ["punycode", "idna", "unicode_escape", "undefined"])
def test_charsets_that_no_client_needs(charset: str) -> None:
    # Some of their decoders take time that grows with the square of the text.
    body = part('form-data; name="a"', b"\\x41-b") + b"--b--"
    assert ours(f"{MULTIPART}; charset={charset}", body, len(body)) == [("a", "\\x41-b")]


@pytest.mark.parametrize("charset", ["ISO-8859-15", "Latin 1", "cp1252", "KOI8-R", "shift_jis"])
def test_charsets_that_everybody_knows(charset: str) -> None:
    body = part('form-data; name="a"', b"\xa4\xb1") + b"--b--"
    expected = [("a", b"\xa4\xb1".decode(charset))]
    assert ours(f"{MULTIPART}; charset={charset}", body, len(body)) == expected
