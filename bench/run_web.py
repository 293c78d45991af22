"""The framework on its server, 64 connections: ours beside FastAPI on uvicorn and on Granian,
BlackSheep, Robyn, Litestar, servers with no framework, and nginx with a static file as the limit.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from bench import harness
from bench.web.models import PAGE, NewOrder, confirm
from bench.web.servers import peers

CONNECTIONS = 64
SCRIPT = Path(__file__).parent / "web/post.lua"
ORDER = {
    "customer": "Ada",
    "express": True,
    "lines": [{"sku": f"sku-{n}", "quantity": n, "price": n * 1.5} for n in range(1, 4)],
}


@dataclass(frozen=True)
class Case:
    """A request, and the answer that it must get."""

    path: str
    answer: object
    body: object = None


CASES = {
    "GET /hello": Case("/hello", {"hello": "world"}),
    "GET, path and query": Case(
        "/items/7?name=cup&limit=20", {"number": 7, "name": "cup", "limit": 20}
    ),
    "GET, yield dependency": Case("/visits", {"visits": 1}),
    "POST, model in and out": Case(
        "/orders", confirm(NewOrder.model_validate(ORDER)).model_dump(), ORDER
    ),
    "GET, page of 50 models": Case("/page", [item.model_dump() for item in PAGE]),
    "GET, def endpoint": Case("/sync", {"hello": "world"}),
}


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=4.0, quick_seconds=0.5)
    with tempfile.TemporaryDirectory() as directory:
        servers = peers(Path(directory))
        results = harness.Results(
            "web",
            "requests/s",
            options,
            harness.versions("fastapi", "uvicorn", "granian", "blacksheep", "robyn", "litestar"),
            limits=frozenset(name for name, peer in servers.items() if peer.is_limit),
        )

        def run(name: str, peer: str) -> float:
            case = CASES[name]
            paths = servers[peer].paths
            if paths is not None and case.path not in paths:
                raise harness.Absent("not part of a limit")
            port = harness.free_port()
            with harness.server(servers[peer].command(port), port):
                check(port, case)
                return load(port, case, options.seconds)

        print(results.header(list(servers)))
        results.measure(list(CASES), list(servers), run)
    print(f"\nwritten to {results.write()}")
    return results.exit_status()


def check(port: int, case: Case) -> None:
    """One request, whose answer must be the one that every peer gives."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{case.path}")
    if case.body is not None:
        request.data = json.dumps(case.body).encode()
        request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            answer = json.loads(response.read())
    except urllib.error.HTTPError as refused:
        if refused.code == 404:
            raise harness.Absent("has no such route") from None
        raise harness.Failed(f"{case.path} got {refused.code}: {refused.read()[:200]!r}") from None
    except OSError as reason:
        raise harness.Failed(f"{case.path} got no answer: {reason}") from None
    if answer != case.answer:
        raise harness.Failed(f"{case.path} got another answer: {str(answer)[:200]}")


def load(port: int, case: Case, seconds: float) -> float:
    """Requests a second to a server."""
    url = f"http://127.0.0.1:{port}{case.path}"
    return wrk(url, [] if case.body is None else [json.dumps(case.body)], seconds)


def wrk(url: str, body: list[str], seconds: float) -> float:
    """Requests a second, as wrk counts them; an answer that is no success spoils the run."""
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", "-s", str(SCRIPT)]
    # wrk's durations are whole seconds; the first run warms up what grows lazily.
    harness.output_of([*command, "-d1", url, "--", *body], role="load", timeout=30)
    duration = max(1, round(seconds))
    said = harness.output_of(
        [*command, f"-d{duration}", url, "--", *body], role="load", timeout=duration + 30
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if "Non-2xx" in said or "Socket errors" in said or rate is None:
        raise harness.Failed(f"not every answer was a success: {said.strip().splitlines()[-3:]}")
    return float(rate[1])


if __name__ == "__main__":
    sys.exit(main())
