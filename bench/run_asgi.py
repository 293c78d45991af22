"""ASGI with no framework, 64 connections: a short answer, a body of 10 KB sent back, an answer that
streams. Ours beside Granian and uvicorn.
"""

from __future__ import annotations

import sys
import urllib.request
from dataclasses import dataclass

from bench import harness
from bench.run_web import wrk
from bench.web.raw_app import BODY, PIECE, PIECES
from bench.web.servers import granian, pelton, uvicorn

APP = "bench.web.raw_app:app"
PEERS = {"pelton": pelton(APP), "granian": granian(APP), "uvicorn": uvicorn(APP)}


@dataclass(frozen=True)
class Case:
    """A request, and the answer that it must get."""

    path: str
    answer: bytes
    body: bytes = b""


SENT = b"0123456789" * 1024
CASES = {
    "GET, 17 bytes": Case("/hello", BODY),
    "echo of 10 KB": Case("/echo", SENT, SENT),
    f"stream of {PIECES} x 4 KiB": Case("/stream", PIECE * PIECES),
}


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=3.0, quick_seconds=0.5)
    results = harness.Results("asgi", "requests/s", options, harness.versions("granian", "uvicorn"))

    def run(name: str, peer: str) -> float:
        case = CASES[name]
        port = harness.free_port()
        with harness.server(PEERS[peer](port), port):
            check(port, case)
            url = f"http://127.0.0.1:{port}{case.path}"
            body = [case.body.decode()] if case.body else []
            return wrk(url, body, options.seconds)

    print(results.header(list(PEERS)))
    results.measure(list(CASES), list(PEERS), run)
    print(f"\nwritten to {results.write()}")
    return results.exit_status()


def check(port: int, case: Case) -> None:
    """One request, whose answer must be the one that every peer gives."""
    url = f"http://127.0.0.1:{port}{case.path}"
    try:
        with urllib.request.urlopen(url, data=case.body or None, timeout=10) as response:
            answer = response.read()
    except OSError as reason:
        raise harness.Failed(f"{case.path} got no answer: {reason}") from None
    if answer != case.answer:
        raise harness.Failed(f"{case.path} got another answer: {answer[:200]!r}")


if __name__ == "__main__":
    sys.exit(main())
