"""Looks at brokers' stores, and changes them, behind Pelton's back: as other programs do."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from io import BufferedReader
from urllib.parse import parse_qs, urlsplit

from tests.jobs.servers import postgres_program

# A process of its own: one that has a broker open must not open the file with another SQLite.
_SQLITE = """
import json, sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=60)
rows = db.execute(sys.argv[2], json.loads(sys.argv[3])).fetchall()
db.commit()
print(json.dumps(rows))
"""


def sqlite(url: str, statement: str, *values: object) -> list[list[object]]:
    """The rows that a statement gives on a broker's file."""
    path = url.removeprefix("sqlite:///").partition("?")[0]
    command = [sys.executable, "-c", _SQLITE, path, statement, json.dumps(values)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=120)
    rows: list[list[object]] = json.loads(done.stdout)
    return rows


def postgres(url: str, statement: str) -> list[list[str]]:
    """The rows, as text, that a statement gives on a broker's database."""
    separator = "\x1f"
    command = [postgres_program("psql"), "-qAtX", "-F", separator, "-c", statement, url]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return [line.split(separator) for line in done.stdout.splitlines()]


class Redis:
    """A connection to a broker's Redis, for any command; its keys' names begin with `prefix`."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        namespace = parse_qs(parts.query).get("namespace", ["pelton"])[0]
        self.prefix = f"{{{namespace}}}:"
        self._socket = socket.create_connection((parts.hostname, parts.port or 6379), timeout=60)
        self._answers: BufferedReader = self._socket.makefile("rb")

    def __enter__(self) -> Redis:
        return self

    def __exit__(self, *_: object) -> None:
        self._answers.close()
        self._socket.close()

    def ask(self, *words: bytes | str | int) -> object:
        """The answer to one command; OSError for an error."""
        parts = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        lines = [b"*%d\r\n" % len(parts), *(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts)]
        self._socket.sendall(b"".join(lines))
        return self._read()

    def names(self) -> list[str]:
        """Every key of the broker, without the prefix."""
        found: set[bytes] = set()
        cursor: object = b"0"
        # The namespace is ours: it has none of a pattern's characters.
        pattern = self.prefix + "*"
        while True:
            page = self.ask("SCAN", _bytes(cursor), "MATCH", pattern, "COUNT", 1000)
            assert isinstance(page, list)
            cursor = page[0]
            found.update(page[1])
            if cursor == b"0":
                break
        return sorted(key[len(self.prefix) :].decode(errors="replace") for key in found)

    def _read(self) -> object:
        line = self._answers.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"-" or not line.endswith(b"\r\n"):
            raise OSError(rest.decode() or "the connection ended")
        if kind == b"+":
            return rest
        number = int(rest)
        if kind == b":":
            return number
        if number < 0:
            return None
        if kind == b"*":
            return [self._read() for _ in range(number)]
        return self._answers.read(number + 2)[:-2]


def _bytes(value: object) -> bytes:
    assert isinstance(value, bytes)
    return value


def spoil_schedule(url: str, name: str) -> None:
    """Gives a schedule without an owner a rule that no release of today can read."""
    if url.startswith("amqp"):
        # What RabbitMQ hands out, its store keeps.
        (url,) = parse_qs(urlsplit(url).query)["store"]
    if url.startswith("sqlite"):
        sqlite(
            url, "UPDATE pelton_schedules SET cron = '@full 1 2', every = NULL WHERE name = ?", name
        )
    elif url.startswith("postgresql"):
        rule = "cron = '@full 1 2', every = NULL"
        postgres(url, f"UPDATE pelton_schedules SET {rule} WHERE name = '{name}'")
    else:
        with Redis(url) as redis:
            packed = b"\0\0\0\x09@full 1 2\0\0\0\x03UTC\xff\xff\xff\xff"
            redis.ask("HSET", redis.prefix + "rules", f"\0{name}", packed)
