"""How each peer's server is started: one process, one thread of Python, no access log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import harness

LIMIT = "nginx static"

NGINX = """
daemon off; worker_processes 1; pid {prefix}/pid; error_log {prefix}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush off;
  open_file_cache max=10; default_type application/json;
  client_body_temp_path {prefix}/body; proxy_temp_path {prefix}/proxy;
  fastcgi_temp_path {prefix}/fastcgi; uwsgi_temp_path {prefix}/uwsgi;
  scgi_temp_path {prefix}/scgi;
  server {{ listen 127.0.0.1:{port}; root {prefix}/root; }}
}}
"""


@dataclass(frozen=True)
class Peer:
    """A framework on a server."""

    command: Callable[[int], list[str]]
    # Left out of the table's "best rival": it shows what a server or the machine can do.
    is_limit: bool = False
    # The paths it answers; all of them where None.
    paths: frozenset[str] | None = None


def uvicorn(app: str) -> Callable[[int], list[str]]:
    """Uvicorn with its fastest parser and loop."""
    return lambda port: [
        *(sys.executable, "-m", "uvicorn", app, "--port", str(port), "--loop", "uvloop"),
        *("--http", "httptools", "--log-level", "warning", "--no-access-log"),
    ]


def granian(app: str) -> Callable[[int], list[str]]:
    """Granian with one worker."""
    return lambda port: [
        *(sys.executable, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1"),
        *("--port", str(port), "--workers", "1", "--loop", "uvloop", "--http", "1"),
        *("--log-level", "warning", app),
    ]


def robyn(port: int) -> list[str]:
    """Robyn is its own server."""
    return [
        *(sys.executable, "-m", "bench.web.robyn_app", str(port)),
        *("--log-level", "WARN", "--disable-openapi"),
    ]


def pelton(app: str) -> Callable[[int], list[str]]:
    """Our own server, as a user starts it."""
    return lambda port: [
        *(sys.executable, "-m", "pelton", "serve", app, "--host", "127.0.0.1"),
        *("--port", str(port), "--log-level", "warning"),
    ]


def nginx(prefix: Path) -> Callable[[int], list[str]]:
    """nginx with a static file, in a directory of its own."""

    def command(port: int) -> list[str]:
        (prefix / "root").mkdir(exist_ok=True)
        (prefix / "root/hello").write_text('{"hello":"world"}')
        configuration = prefix / "nginx.conf"
        configuration.write_text(NGINX.format(prefix=prefix, port=port))
        # Where it is root, nginx gives its worker another user, who must be let in.
        prefix.chmod(0o755)
        return [
            harness.program("nginx"),
            "-p",
            str(prefix),
            "-c",
            str(configuration),
            "-e",
            f"{prefix}/error.log",
        ]

    return command


def peers(prefix: Path) -> dict[str, Peer]:
    """Every peer, in the order of the table's columns."""
    hello = frozenset(["/hello"])
    return {
        "pelton": Peer(pelton("bench.web.pelton_app:app")),
        "fastapi+uvicorn": Peer(uvicorn("bench.web.fastapi_app:app")),
        "fastapi+pelton": Peer(pelton("bench.web.fastapi_app:app"), is_limit=True),
        "fastapi+granian": Peer(granian("bench.web.fastapi_app:app")),
        "blacksheep": Peer(granian("bench.web.blacksheep_app:app")),
        "robyn": Peer(robyn),
        "litestar": Peer(uvicorn("bench.web.litestar_app:app")),
        "pelton, ASGI": Peer(pelton("bench.web.raw_app:app"), is_limit=True, paths=hello),
        "uvicorn, ASGI": Peer(uvicorn("bench.web.raw_app:app"), is_limit=True, paths=hello),
        "granian, ASGI": Peer(granian("bench.web.raw_app:app"), is_limit=True, paths=hello),
        LIMIT: Peer(nginx(prefix), is_limit=True, paths=hello),
    }
