"""Servers with TLS, keep-alive, 64 connections: a bare ASGI application on ours, on uvicorn with
uvloop and on Granian. Requests a second, and the server's CPU time for one of them.
"""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from pathlib import Path

from bench import harness
from bench.web.servers import granian, pelton, uvicorn

CONNECTIONS = 64
RATE, CPU = "GET /hello, 1/s", "GET /hello, CPU ns"
APP = "bench.web.raw_app:app"


def main() -> int:
    """Measure, print the table, write the JSON."""
    options = harness.parse(__doc__ or "", seconds=4.0, quick_seconds=0.5)
    with tempfile.TemporaryDirectory() as directory:
        certificate = make_certificate(Path(directory))
        servers = peers(certificate)
        versions = harness.versions("uvicorn", "uvloop", "granian")
        rates = harness.Results("https", "requests/s", options, versions)
        costs = harness.Results("https-cpu", "CPU ns a request", options, versions)
        costs.smaller_is_better = True
        spent: dict[str, list[float]] = {}

        def run(_case: str, peer: str) -> float:
            port = harness.free_port()
            with harness.server(servers[peer](port), port) as process:
                check(port)
                rate, cost = load(port, process, options.seconds)
            spent.setdefault(peer, []).append(cost)
            return rate

        print(rates.header(list(servers)))
        rates.measure([RATE], list(servers), run)
        costs.rates[CPU] = spent
        print(costs.row(CPU, harness.chosen(list(servers), options.peers)))
    print(f"\nwritten to {rates.write()} and {costs.write()}")
    return rates.exit_status()


def peers(certificate: Path) -> dict[str, Callable[[int], list[str]]]:
    """How each server is started."""
    flags = ["--ssl-certfile", str(certificate), "--ssl-keyfile", str(certificate)]
    files = ["--ssl-certificate", str(certificate), "--ssl-keyfile", str(certificate)]
    plain = {"pelton": pelton(APP), "uvicorn": uvicorn(APP), "granian": granian(APP)}
    return {
        "pelton": lambda port: [*plain["pelton"](port), *flags],
        "uvicorn": lambda port: [*plain["uvicorn"](port), *flags],
        "granian": lambda port: [*plain["granian"](port), *files],
    }


def make_certificate(directory: Path) -> Path:
    """A certificate with its key (ECDSA) in one file."""
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    subprocess.run(
        [
            *(harness.program("openssl"), "req", "-x509", "-newkey", "ec"),
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    certificate.write_text(certificate.read_text() + key.read_text())
    return certificate


def check(port: int) -> None:
    """The server answers as it should, or `Failed`."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    with opener.open(f"https://127.0.0.1:{port}/hello", timeout=10) as response:
        if b"world" not in response.read():
            raise harness.Failed("not the answer that was asked for")


def load(port: int, process: subprocess.Popen[bytes], seconds: float) -> tuple[float, float]:
    """Requests a second, and the server's CPU time in nanoseconds for each."""
    # wrk's durations are whole seconds.
    duration = max(1, round(seconds))
    before = cpu_seconds(process.pid)
    output = harness.output_of(
        [
            *(harness.program("wrk"), "-t", "1", "-c", str(CONNECTIONS), "-d", f"{duration}s"),
            f"https://127.0.0.1:{port}/hello",
        ],
        role="load",
        timeout=duration + 30,
    )
    spent = cpu_seconds(process.pid) - before
    if "Non-2xx" in output or "Socket errors" in output:
        raise harness.Failed(f"wrk had errors: {output}")
    [requests], [rate] = (
        re.findall(r"(\d+) requests in", output),
        re.findall(r"Requests/sec:\s+([\d.]+)", output),
    )
    return float(rate), spent / float(requests) * 1e9


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all that it started and still runs."""
    total = 0.0
    for task in [pid, *children(pid)]:
        fields = Path(f"/proc/{task}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / 100
    return total


def children(pid: int) -> list[int]:
    """The processes below one, at any depth."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


if __name__ == "__main__":
    sys.exit(main())
