"""Listening sockets."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass

from pelton.server.config import Config
from pelton.server.errors import StartupError

__all__ = ["Listening", "again", "bind", "display", "prepare"]

PROBE_TIME = 1.0
"""Seconds until a Unix socket that takes no connection counts as one in use."""


@dataclass(frozen=True)
class Listening:
    """A listening socket, and what to tidy up when it is not used any more."""

    sock: socket.socket
    path: str | None = None
    """The Unix socket's path, which is removed with it."""
    identity: tuple[int, int] | None = None
    """The path's device and inode: a path that somebody else has made since stays."""

    def close(self) -> None:
        """Closes the socket and removes its path."""
        self.sock.close()
        if self.path is not None:
            with contextlib.suppress(FileNotFoundError):
                if _identity(self.path) == self.identity:
                    os.unlink(self.path)


def bind(config: Config) -> list[Listening]:
    """The sockets that `config` names, bound and listening.

    A host name can have several addresses; each gets a socket. Raises StartupError where one
    cannot be had.
    """
    with contextlib.ExitStack() as stack:
        found: list[Listening] = []
        for place in _places(config):
            for one in _open(place, config):
                stack.callback(one.close)
                found.append(one)
        stack.pop_all()
    return found


def again(sock: socket.socket, backlog: int) -> socket.socket:
    """One more socket that listens where `sock`, opened with SO_REUSEPORT, does. Of a Unix socket,
    which cannot be had twice, another descriptor."""
    if sock.family == socket.AF_UNIX:
        return sock.dup()
    return _bind_one(sock.family, sock.getsockname(), backlog, reuse_port=True)


def prepare(sock: socket.socket, backlog: int) -> socket.socket:
    """Lets a bound socket listen if it does not yet. Raises StartupError where it cannot."""
    try:
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            sock.listen(backlog)
    except OSError as error:
        raise StartupError(f"cannot listen on the given socket: {error.strerror}") from error
    return sock


def display(sock: socket.socket, *, secure: bool = False) -> str:
    """The address for people: `http://127.0.0.1:8000` or `unix:/run/app.sock`."""
    name = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(name)}"
    scheme = "https" if secure else "http"
    host, port = name[0], name[1]
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _places(config: Config) -> tuple[str | int | tuple[str, int], ...]:
    """Where to listen: a path, a descriptor, or host and port."""
    if config.bind:
        return tuple(_parse(place) for place in config.bind)
    if config.fd is not None:
        return (config.fd,)
    if config.uds is not None:
        return (config.uds,)
    return ((config.host, config.port),)


def _parse(place: str) -> str | int | tuple[str, int]:
    if path := place.removeprefix("unix:") if place.startswith("unix:") else "":
        return path
    if place.startswith("fd:") and place[3:].isdecimal():
        return int(place[3:])
    host, colon, port = place.rpartition(":")
    if colon and port.isdecimal() and int(port) <= 65_535:
        host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
        if host:
            return (host, int(port))
    raise StartupError(
        f"cannot listen on {place!r}: write host:port, [::1]:port, unix:/path or fd:3", exit_code=2
    )


def _open(place: str | int | tuple[str, int], config: Config) -> list[Listening]:
    if isinstance(place, int):
        return [Listening(prepare(_inherited(place), config.backlog))]
    if isinstance(place, str):
        mode = None if config.uds_mode is None else int(config.uds_mode, 8)
        return [_bind_unix(place, config.backlog, mode)]
    sockets = _bind_tcp(*place, config.backlog, reuse_port=config.reuse_port)
    return [Listening(sock) for sock in sockets]


def _inherited(fd: int) -> socket.socket:
    try:
        return socket.socket(fileno=os.dup(fd))
    except OSError as error:
        raise StartupError(f"descriptor {fd} is no socket: {error.strerror}") from error


def _bind_tcp(host: str, port: int, backlog: int, *, reuse_port: bool) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StartupError(
            f"cannot listen on {host}: it is no address of this machine ({error})"
        ) from error
    sockets: list[socket.socket] = []
    try:
        # The same address comes once for each protocol.
        for family, address in dict.fromkeys((item[0], item[4]) for item in found):
            where = (address[0], port, *address[2:])
            sockets.append(_bind_one(family, where, backlog, reuse_port=reuse_port))
            # Port 0 is chosen once, for all addresses of the host.
            port = sockets[-1].getsockname()[1]
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _bind_one(
    family: int, address: tuple[object, ...], backlog: int, *, reuse_port: bool
) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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
        return (
            f"cannot listen on {host}: it is no address of this machine; choose 127.0.0.1, or "
            "0.0.0.0 for all"
        )
    return f"cannot listen on {host}, port {port}: {error.strerror}"


def _bind_unix(path: str, backlog: int, mode: int | None) -> Listening:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        sock.bind(path)
        if mode is not None:
            # Nobody can connect before it listens: there is no moment with wider permissions.
            os.chmod(path, mode)
        sock.listen(backlog)
        return Listening(sock, path, _identity(path))
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            message = f"the socket {path} is in use: stop what uses it, or choose another path"
        else:
            message = f"cannot listen on {path}: {error.strerror or error}"
        raise StartupError(message) from error


def _identity(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _remove_stale(path: str) -> None:
    """Removes the socket that a server which was killed left behind."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIME)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)
        except (TimeoutError, BlockingIOError):
            return  # somebody listens, and is busy
