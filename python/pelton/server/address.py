"""Listening sockets."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

from pelton.server.config import Config
from pelton.server.errors import StartupError

__all__ = ["bind", "display", "prepare"]


def bind(config: Config) -> list[socket.socket]:
    """The sockets that `config` names, bound and listening.

    A host name can have several addresses; each gets a socket. Raises StartupError where one
    cannot be had.
    """
    if config.fd is not None:
        return [prepare(_inherited(config.fd), config.backlog)]
    if config.uds is not None:
        return [_bind_unix(config.uds, config.backlog)]
    return _bind_tcp(config)


def prepare(sock: socket.socket, backlog: int) -> socket.socket:
    """Lets a bound socket listen if it does not yet. Raises StartupError where it cannot."""
    try:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(backlog)
    except OSError as error:
        raise StartupError(f"cannot listen on the given socket: {error.strerror}") from error
    return sock


def display(sock: socket.socket) -> str:
    """The address for people: `http://127.0.0.1:8000` or `unix:/run/app.sock`."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    host, port = name[0], name[1]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _inherited(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=os.dup(fd))
    except OSError as error:
        raise StartupError(f"descriptor {fd} is no socket: {error.strerror}") from error


def _bind_tcp(config: Config) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        raise StartupError(f"cannot resolve the host {config.host!r}: {error.strerror}") from error
    sockets: list[socket.socket] = []
    port = config.port
    try:
        # The same address comes once for each protocol.
        for family, address in dict.fromkeys((item[0], item[4]) for item in found):
            sock = _bind_one(family, (address[0], port, *address[2:]), config.backlog)
            sockets.append(sock)
            # Port 0 is chosen once, for all addresses of the host.
            port = sock.getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind_one(
    family: socket.AddressFamily, address: tuple[object, ...], backlog: int
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        raise StartupError(_why(error, str(address[0]), address[1])) from error
    return sock


def _why(error: OSError, host: str, port: object) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {host} is in use: stop what uses it, or choose another port"
    if error.errno == errno.EACCES:
        return f"port {port} on {host} needs more rights: choose a port from 1024 on"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine: choose 127.0.0.1, or 0.0.0.0 for all"
    return f"cannot listen on {host}, port {port}: {error.strerror}"


def _bind_unix(path: str, backlog: int) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        sock.bind(path)
        sock.listen(backlog)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            message = f"the socket {path} is in use: stop what uses it, or choose another path"
        else:
            message = f"cannot listen on {path}: {error.strerror}"
        raise StartupError(message) from error
    return sock


def _remove_stale(path: str) -> None:
    """Removes the socket that a server which was killed left behind."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
