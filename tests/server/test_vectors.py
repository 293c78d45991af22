"""The engine's tables of requests, over sockets: what is served, refused, kept and closed."""

from __future__ import annotations

import asyncio

import pytest

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
from tests.server.vectors import Case, read

GET = b"GET /after HTTP/1.1\r\nHost: a\r\n\r\n"

SOCKETS = {"COMP-UPGRADE-INVALID-VER": "426", "connection-14": "426", "connection-20": "426"}
"""Handshakes of WebSockets that are wrong: a server of them refuses them with a hint."""


class App:
    """Notes what reaches it, as the tables write it."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await read_body(receive)
        line = f"{scope['method']} {_escape(scope['raw_path'])}"
        if scope["query_string"]:
            line += f"?{_escape(scope['query_string'])}"
        line = line if len(line) <= 60 else line[:60] + ".."
        self.seen.append(f'{line} "{_escape(body)}"' if body else line)
        await reply(send)


def _escape(data: bytes) -> str:
    """As Rust's `escape_ascii`."""
    text = repr(data)[2:-1].replace("\\'", "'")
    if repr(data)[1] == '"':
        return text.replace('"', '\\"').replace("'", "\\'")
    return text.replace('"', '\\"').replace("'", "\\'")


async def outcome(client: Client, app: App, case: Case) -> list[str]:
    """What becomes of the case's requests."""
    app.seen.clear()
    answers: list[str] = []
    for index, piece in enumerate(case.pieces):
        client.send(piece)
        if index < len(case.pieces) - 1 and case.answers:
            await answer(client, app, answers)
    while len(answers) < case.answers:
        await answer(client, app, answers)
    return answers


async def answer(client: Client, app: App, answers: list[str]) -> None:
    """Reads one answer, if the connection gives another."""
    served = len(app.seen)
    response = await client.head()
    while response.status == 100:
        response = await client.head()
    length = response.header("content-length")
    is_head = response.status == 200 and app.seen[len(answers)].startswith("HEAD")
    if length and not is_head:
        await client.reader.readexactly(int(length))
    assert served <= len(app.seen)
    if response.status == 200:
        answers.append(app.seen[len(answers)])
    else:
        answers.append(str(response.status))


async def check(address: Address, app: App, case: Case) -> None:
    *expected, end = case.outcome
    if case.id in SOCKETS:
        expected, end = [SOCKETS[case.id]], "closed"
    async with await address.connect() as client:
        assert await outcome(client, app, case) == expected
        if end == "kept":
            # What follows is understood as the next request: nothing was left over.
            client.send(GET)
            assert (await client.response()).status == 200
            assert app.seen[-1] == "GET /after"
        elif end == "waits":
            client.writer.write_eof()
            assert await client.reader.read() == b""
            assert len(app.seen) == len(expected)
        else:
            assert end == "closed"
            client.send(GET)
            assert await client.closed()
            assert "GET /after" not in app.seen


@pytest.mark.parametrize("table", ["probe.txt", "parser.txt"])
def test_each_request_has_its_outcome(table: str) -> None:
    app = App()

    async def main() -> None:
        async with serving(app, http2=False) as address:
            wrong = []
            for case in read(table):
                try:
                    async with asyncio.timeout(15):
                        await check(address, app, case)
                except (AssertionError, OSError, EOFError, TimeoutError) as error:
                    wrong.append(f"{case.id}: {type(error).__name__} {error} ({app.seen})")
            assert not wrong, "\n".join(wrong)

    run(main(), 120)
