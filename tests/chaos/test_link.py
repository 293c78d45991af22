"""The wire of chaos runs: it passes bytes on, and can be cut."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from tests.chaos.link import Link

PATIENCE = 30.0


@pytest.fixture
def link() -> Iterator[Link]:
    """A link to a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def echo(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(1024):
                    connection.sendall(data)

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=echo, args=[connection], daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        link = Link(server.getsockname()[1])
        yield link
        link.close()
        server.shutdown(socket.SHUT_RDWR)


def connected(link: Link) -> socket.socket:
    return socket.create_connection(("127.0.0.1", link.port), timeout=PATIENCE)


def is_dead(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"x")
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_a_link_passes_and_stops(link: Link) -> None:
    with connected(link) as first:
        first.sendall(b"hello")
        assert first.recv(5) == b"hello"
        link.stall()
        first.sendall(b"later")
        first.settimeout(0.05)
        with pytest.raises(TimeoutError):
            first.recv(5)
        first.settimeout(PATIENCE)
        link.mend()
        assert first.recv(5) == b"later"
        link.reset()
        assert is_dead(first)
    with connected(link) as second:
        second.sendall(b"again")
        assert second.recv(5) == b"again"
        link.cut()
        assert is_dead(second)
        with connected(link) as refused:
            assert is_dead(refused)
        link.mend()
        with connected(link) as third:
            third.sendall(b"third")
            assert third.recv(5) == b"third"
