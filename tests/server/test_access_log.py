"""The access log: its formats and where it goes."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest

from pelton.server import StartupError
from tests.server.support import Receive, Scope, Send, run, serving

GET = b"GET /a?b=%22 HTTP/1.1\r\nHost: shop\r\nUser-Agent: test/1\r\n\r\n"


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})
        return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": b"1234", "more_body": True})
    await send({"type": "http.response.body", "body": b"56"})


def logged(tmp_path: Path, data: bytes, **options: Any) -> str:
    """The lines of a file for one request."""
    file = tmp_path / "access.log"

    async def main() -> None:
        log = {"access_log": True, "access_log_file": str(file)}
        async with serving(app, **log, **options) as address:
            await address.ask(data)

    run(main())
    return file.read_text()


def test_text(tmp_path: Path) -> None:
    line = r'127\.0\.0\.1:\d+ - "GET /a\?b=%22 HTTP/1\.1" 200\n'
    assert re.fullmatch(line, logged(tmp_path, GET))


def test_combined(tmp_path: Path) -> None:
    line = (
        r"127\.0\.0\.1 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000\] "
        r'"GET /a\?b=%22 HTTP/1\.1" 200 6 "-" "test/1"\n'
    )
    assert re.fullmatch(line, logged(tmp_path, GET, access_log_format="combined"))


def test_json(tmp_path: Path) -> None:
    entry = json.loads(logged(tmp_path, GET, access_log_format="json"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry.pop("time"))
    assert entry.pop("duration") >= 0
    assert entry.pop("port") > 0
    assert entry == {
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/a",
        "query": "b=%22",
        "version": "1.1",
        "host": "shop",
        "referer": None,
        "user_agent": "test/1",
        "status": 200,
        "bytes": 6,
        "pid": os.getpid(),
    }


def test_a_format_of_ones_own(tmp_path: Path) -> None:
    template = "{method} {header:Host} {bytes} {{}}"
    assert logged(tmp_path, GET, access_log_format=template) == "GET shop 6 {}\n"


def test_a_client_behind_a_proxy(tmp_path: Path) -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    assert logged(tmp_path, data) == '192.0.2.1 - "GET / HTTP/1.1" 200\n'


def test_a_request_that_was_refused(tmp_path: Path) -> None:
    line = r'127\.0\.0\.1:\d+ - "-" 400\n'
    assert re.fullmatch(line, logged(tmp_path, b"GET / HTTP/1.1\r\n\r\n"))


def test_nobody_forges_a_line(tmp_path: Path) -> None:
    data = b'GET / HTTP/1.1\r\nHost: a\r\nUser-Agent: "\t\xff\\\r\n\r\n'
    line = logged(tmp_path, data, access_log_format="{header:user-agent}")
    assert line == '\\"\\x09\\xFF\\\\\n'


def test_websockets(tmp_path: Path) -> None:
    data = (
        b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    line = r'127\.0\.0\.1:\d+ - "GET /ws HTTP/1\.1" 101\n'
    assert re.fullmatch(line, logged(tmp_path, data))


def test_the_logger(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with serving(app, access_log=True) as address:
            await address.ask(GET)

    with caplog.at_level(logging.INFO, "pelton.access"):
        run(main())
    [record] = [record for record in caplog.records if record.name == "pelton.access"]
    assert record.getMessage().endswith('- "GET /a?b=%22 HTTP/1.1" 200')


def test_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    async def main() -> None:
        options = {"access_log_file": "-", "access_log_format": "{status}"}
        async with serving(app, access_log=True, **options) as address:
            await address.ask(GET)

    run(main())
    assert capfd.readouterr().out == "200\n"


def test_a_file_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    file, moved = tmp_path / "access.log", tmp_path / "access.log.1"

    async def main() -> None:
        log = {"access_log": True, "access_log_file": str(file), "access_log_format": "{status}"}
        async with serving(app, **log) as address:
            await address.ask(GET)
            file.rename(moved)
            await address.ask(GET)
            address.server.reopen_logs()
            await address.ask(GET)

    run(main())
    assert (moved.read_text(), file.read_text()) == ("200\n200\n", "200\n")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"access_log_format": "apache"}, "'?\"?apache.* is neither text"),
        ({"access_log_format": "{colour}"}, "{colour} is no field"),
        ({"access_log_file": "/nonexistent/access.log"}, "cannot write the access log"),
    ],
)
def test_impossible_logs(options: dict[str, Any], message: str) -> None:
    async def main() -> None:
        with pytest.raises(StartupError, match=message) as error:
            async with serving(app, access_log=True, **options):
                pass
        assert error.value.exit_code == 2

    run(main())


def test_many_lines_are_whole(tmp_path: Path) -> None:
    file = tmp_path / "access.log"

    async def main() -> None:
        log = {"access_log": True, "access_log_file": str(file), "access_log_format": "{status}"}
        async with serving(app, **log) as address:
            await asyncio.gather(*(address.ask(GET) for _ in range(50)))

    run(main())
    assert file.read_text() == "200\n" * 50


def test_a_log_that_fails_changes_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def broken(record: logging.LogRecord) -> bool:
        raise RuntimeError("the filter is broken")

    async def waits(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        gone = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await app(scope, receive, send)
        told.append((await gone)["type"])

    async def main() -> None:
        async with serving(waits, access_log=True) as address:
            assert (await address.ask(GET)).body == b"123456"

    logger = logging.getLogger("pelton.access")
    logger.addFilter(broken)
    try:
        with caplog.at_level(logging.INFO):
            run(main())
    finally:
        logger.removeFilter(broken)
    assert told == ["http.disconnect"]
    assert "Error in the access log" in caplog.text
    assert "Exception in ASGI application" not in caplog.text
