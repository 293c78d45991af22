"""Conditional requests for files: the prober's CAP-* cases."""

from __future__ import annotations

from pathlib import Path

import pytest

from pelton.web import FastAPI
from pelton.web.staticfiles import StaticFiles
from tests.server.support import Client, Response, run, serving
from tests.server.vectors import TABLES

PAST, FUTURE = "Thu, 01 Jan 1970 00:00:00 GMT", "Thu, 01 Jan 2099 00:00:00 GMT"

CASES = {
    "CAP-ETAG-304": ("If-None-Match: {etag}", 304),
    "CAP-LAST-MODIFIED-304": ("If-Modified-Since: {modified}", 304),
    "CAP-ETAG-IN-304": ("If-None-Match: {etag}", 304),
    "CAP-INM-PRECEDENCE": (f"If-None-Match: {{etag}}\r\nIf-Modified-Since: {PAST}", 304),
    "CAP-INM-WILDCARD": ("If-None-Match: *", 304),
    # A date to come is no date that a validator could have: either answer will do.
    "CAP-IMS-FUTURE": (f"If-Modified-Since: {FUTURE}", 304),
    "CAP-IMS-INVALID": ("If-Modified-Since: not-a-date", 200),
    "CAP-INM-UNQUOTED": ("If-None-Match: {unquoted}", 200),
    "CAP-ETAG-WEAK": ("If-None-Match: W/{etag}", 304),
}


async def ask(client: Client, fields: str = "") -> Response:
    lines = (
        f"GET /file.txt HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"
        if fields
        else ("GET /file.txt HTTP/1.1\r\nHost: a\r\n\r\n")
    )
    client.send(lines.encode())
    return await client.response()


@pytest.mark.parametrize("name", CASES)
def test_a_file_that_the_client_has(name: str, tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_bytes(b"content")
    app = FastAPI()
    app.mount("/", StaticFiles(directory=tmp_path))

    async def main() -> None:
        async with serving(app) as address, await address.connect() as client:
            first = await ask(client)
            assert (first.status, first.body) == (200, b"content")
            etag, modified = first.header("etag"), first.header("last-modified")
            assert etag is not None
            fields, status = CASES[name]
            fields = fields.format(etag=etag, modified=modified, unquoted=etag.strip('"'))
            second = await ask(client, fields)
            assert second.status == status
            assert second.header("etag") == etag
            # Nothing of a body is left over where there was none.
            assert (await ask(client)).body == b"content"

    run(main())


def test_every_id_of_the_prober_is_somewhere() -> None:
    lines = (TABLES / "probe.txt").read_text().splitlines()
    ids = {line.split(" | ")[0] for line in lines if line and not line.startswith("#")}
    assert len(ids) + len(CASES) == 215
