"""Where the server listens: opening it, and telling people."""

from __future__ import annotations

import ipaddress
import os
import socket
from collections.abc import Sequence

from pelton.cli.errors import CommandError
from pelton.server import address
from pelton.server.config import Config
from pelton.server.errors import StartupError


def bind(config: Config) -> list[address.Listening]:
    """The listening sockets that the config asks for.

    Raises CommandError that says what stands in the way.
    """
    try:
        return address.bind(config)
    except StartupError as error:
        raise CommandError(str(error), code=error.exit_code) from None


def url(listener: socket.socket, *, secure: bool) -> str:
    """Where a browser of this machine finds what listens on this socket."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(listener.getsockname())}"
    host, port = listener.getsockname()[:2]
    found = ipaddress.ip_address(host)
    if found.is_unspecified:
        host = "127.0.0.1" if found.version == 4 else "::1"
    return f"http{'s' * secure}://{f'[{host}]' if ':' in host else host}:{port}"


def print_banner(
    spec: str,
    listeners: Sequence[socket.socket],
    *,
    secure: bool,
    dashboard: bool,
    brokers: Sequence[str] = (),
) -> None:
    """Says on stdout what runs and where to look."""
    where = [url(listener, secure=secure) for listener in listeners]
    lines = [f"Pelton runs {spec}", *(f"  app        {each}" for each in where)]
    if dashboard:
        lines.append(f"  dashboard  {where[0]}/_pelton")
    lines += [f"  jobs       {broker}" for broker in brokers]
    lines.append("  stop       Ctrl-C")
    print("\n".join(lines), flush=True)
