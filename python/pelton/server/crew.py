"""The places of worker processes, and the sockets of each."""

from __future__ import annotations

import dataclasses
import os
import socket

from pelton.server import address
from pelton.server.config import Config

__all__ = ["ROLE", "Crew"]

ROLE = "web"
"""The role of the processes that serve."""
TICKET_KEY = 48
"""Bytes of the secret behind session tickets."""


class Crew:
    """The places of the workers, and the sockets that each of them serves.

    All share `sockets`, or with `reuse_port` each place has its own: the parent holds them open, so
    that nothing in their queues is lost while a worker is replaced.
    """

    def __init__(self, sockets: list[socket.socket], config: Config) -> None:
        self.sockets = sockets
        """What all places share, or the first one has."""
        self._config = config
        self._own: dict[str, list[socket.socket]] = {}
        self._number = 0
        self._tickets = _ticket_key(config)

    def join(self) -> tuple[str, tuple[int, ...]]:
        """One more place: its name, and its descriptors."""
        self._number += 1
        single = self._number == 1 and self._config.workers == 1
        name = ROLE if single else f"{ROLE}-{self._number}"
        sockets = self.sockets
        if self._config.reuse_port and self._own:
            sockets = [address.again(sock, self._config.backlog) for sock in self.sockets]
        self._own[name] = sockets
        return name, tuple(sock.fileno() for sock in sockets)

    @property
    def shared(self) -> tuple[int, ...]:
        """Descriptors that all of them inherit beside their sockets."""
        return () if self._tickets is None else (self._tickets,)

    def leave(self, name: str) -> None:
        """Its worker is gone, and none takes its place."""
        sockets = self._own.pop(name, self.sockets)
        if sockets is not self.sockets:
            for sock in sockets:
                sock.close()

    @property
    def config(self) -> Config:
        """The config of those who serve: with what they share."""
        if self._tickets is None:
            return self._config
        path = f"/proc/self/fd/{self._tickets}"
        return dataclasses.replace(self._config, ssl_ticket_key_file=path)

    def close(self) -> None:
        """Closes what was opened for it."""
        for name in list(self._own):
            self.leave(name)
        if self._tickets is not None:
            os.close(self._tickets)
            self._tickets = None


def _ticket_key(config: Config) -> int | None:
    """A file in memory from which all workers make the keys of TLS session tickets."""
    if not config.ssl_certfile or config.ssl_ticket_key_file is not None:
        return None
    descriptor = os.memfd_create("pelton-tickets")
    os.write(descriptor, os.urandom(TICKET_KEY))
    return descriptor
