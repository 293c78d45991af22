"""Where the server listens: the options, and the socket itself."""

from __future__ import annotations

import argparse
import errno
import ipaddress
import socket
from collections.abc import Sequence

from pelton.cli import options
from pelton.cli.errors import CommandError

BACKLOG = 2048
"""Connections that wait to be accepted."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds `args.host` and `args.port`."""
    options.add(parser, "--host", default="127.0.0.1", help="Address to listen on.")
    options.add(
        parser, "--port", type=options.port, default=8000, help="Port to listen on; 0: a free one."
    )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, of the first family that `host` resolves to.

    Raises CommandError (code 1) that says what stands in the way.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CommandError(
            f"host {host!r} is not an address of this machine ({error}): choose another with --host"
        ) from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise CommandError(_reason(host, port, error), code=1) from None
    return listener


def inherited(descriptor: int) -> socket.socket:
    """The listening socket that the parent bound and handed over as `descriptor`."""
    try:
        listener = socket.socket(fileno=descriptor)
        listener.getsockname()
    except OSError as error:
        raise CommandError(f"--fd {descriptor} is not a socket: {error}") from None
    return listener


def url(listener: socket.socket) -> str:
    """Where a browser of this machine finds what listens on this socket."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def print_banner(
    spec: str, listener: socket.socket, *, dashboard: bool, brokers: Sequence[str] = ()
) -> None:
    """Says on stdout what runs and where to look."""
    where = url(listener)
    lines = [f"Pelton runs {spec}", f"  app        {where}"]
    if dashboard:
        lines.append(f"  dashboard  {where}/_pelton")
    lines += [f"  jobs       {broker}" for broker in brokers]
    lines.append("  stop       Ctrl-C")
    print("\n".join(lines), flush=True)


def _reason(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"port {port} on {host} is in use: stop what listens there, "
            "or choose another with --port (0: a free one)"
        )
    if error.errno == errno.EACCES:
        return f"port {port} on {host} is not permitted: choose one above 1023 with --port"
    return f"cannot listen on {host} port {port}: {error.strerror}; see --host and --port"
