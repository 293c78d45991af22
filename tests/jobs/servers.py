"""Real servers for tests: each on a free loopback port, its data in a temporary directory.

Nothing here touches the services that Debian's packages bring: those stay as they are.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import ClassVar

import psutil

PATIENCE = 60.0
"""Seconds for a server to begin to answer."""

_names = itertools.count()


class Server:
    """A program that answers at a port, and can be killed and started again with its data."""

    program: ClassVar[str]

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self) -> str:
        """An empty place of its own, each time."""
        raise NotImplementedError

    def prepare(self) -> None:
        """What comes before the first start."""

    def command(self) -> Sequence[str]:
        """What runs the server in the foreground."""
        raise NotImplementedError

    def answers(self) -> bool:
        """Whether it takes connections and means it."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Its environment."""
        return os.environ

    def start(self) -> None:
        """Returns once it answers."""
        # Killed with this process, however that ends.
        log = self.directory / "log"
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command()],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(self.environment()),
                start_new_session=True,
            )
        deadline = time.monotonic() + PATIENCE
        while not self.answers():
            assert self._process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < deadline, log.read_text(errors="replace")
            time.sleep(0.01)

    def kill(self) -> None:
        """Ends it as a power cut would."""
        assert self._process is not None  # it was started
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it for good."""
        self.kill()


class Redis(Server):
    """A Redis that keeps what it answered, as a production one should; a namespace a test."""

    program = "redis-server"

    def url(self) -> str:
        name = f"t{os.getpid()}x{next(_names)}"
        return f"redis://127.0.0.1:{self.port}/0?namespace={name}"

    def command(self) -> Sequence[str]:
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": str(self.directory),
            "--save": "",
            "--appendonly": "yes",
            "--appendfsync": "no",
        }
        return ["redis-server", *itertools.chain.from_iterable(options.items())]

    def answers(self) -> bool:
        return _says(self.port, b"PING\r\n", b"+PONG")


class Postgres(Server):
    """A PostgreSQL, as an unprivileged user where we are root; a database a test."""

    program = "postgres"

    def url(self) -> str:
        name = f"t{os.getpid()}x{next(_names)}"
        self.sql("postgres", f"CREATE DATABASE {name} STRATEGY file_copy")
        return f"postgresql://pelton@127.0.0.1:{self.port}/{name}"

    def prepare(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")
        # The suite is about what is written, not about the disk.
        made = ["--pgdata", str(self.directory / "data"), "--username", "pelton", "--no-sync"]
        how = ["--auth", "trust", "--encoding", "UTF8", "--locale", "C"]
        subprocess.run(
            [*self._as_user(), postgres_program("initdb"), *made, *how],
            cwd=self.directory,
            check=True,
            capture_output=True,
        )

    def command(self) -> Sequence[str]:
        options = {
            "fsync": "off",
            "listen_addresses": "127.0.0.1",
            "max_connections": "200",
            "port": str(self.port),
            "shared_buffers": "64MB",
            "unix_socket_directories": "",
        }
        settings = [f"--{name}={value}" for name, value in options.items()]
        data = str(self.directory / "data")
        return [*self._as_user()[1:], postgres_program("postgres"), "-D", data, *settings]

    def answers(self) -> bool:
        try:
            self.sql("postgres", "SELECT 1")
        except subprocess.CalledProcessError:
            return False
        return True

    def kill(self) -> None:
        assert self._process is not None  # it was started
        children = psutil.Process(self._process.pid).children(recursive=True)
        super().kill()
        # One that waits does not see that the postmaster is gone, and no new one can start beside
        # it.
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.kill()
        psutil.wait_procs(children, timeout=PATIENCE)

    def stop(self) -> None:
        # It ends its children, too: one that waits for a lock does not see that it is gone.
        assert self._process is not None  # it was started
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait()

    def sql(self, database: str, statement: str) -> str:
        """What psql answers."""
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "pelton", database]
        done = subprocess.run(
            [postgres_program("psql"), "-qAtX", *where, "-c", statement],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def _as_user(self) -> list[str]:
        if os.getuid() != 0:
            return ["setpriv"]
        return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


class Rabbit(Server):
    """A RabbitMQ with a name server of its own; a namespace, and a file for the records, a test."""

    program = "rabbitmq-server"

    # Debian's script in PATH changes to another user and other folders; this is the original.
    _scripts = Path("/usr/lib/rabbitmq/bin")

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._distribution_port = _free_port()
        self._epmd_port = _free_port()
        self._epmd: subprocess.Popen[bytes] | None = None

    def url(self) -> str:
        name = f"t{os.getpid()}x{next(_names)}"
        store = f"sqlite:///{self.directory / name}.db"
        return f"amqp://127.0.0.1:{self.port}/?namespace={name}&store={store}"

    def prepare(self) -> None:
        (self.directory / "plugins").write_text("[].")
        # Full disks of a test machine are not what tests are about.
        (self.directory / "rabbitmq.conf").write_text("disk_free_limit.absolute = 1MB\n")
        # Erlang starts one that stays, where it finds none.
        port = str(self._epmd_port)
        self._epmd = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "epmd", "-port", port, "-address", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + PATIENCE
        while not _says(self._epmd_port, b"\0\1n", b"\0"):
            assert time.monotonic() < deadline, "epmd does not answer"
            time.sleep(0.01)

    def command(self) -> Sequence[str]:
        return [str(self._scripts / "rabbitmq-server")]

    def environment(self) -> Mapping[str, str]:
        return {
            **os.environ,
            "HOME": str(self.directory),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"pelton{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "logs"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_PID_FILE": str(self.directory / "pid"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "none"),
            # Its script becomes the server then, instead of waiting for it.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput -kernel inet_dist_use_interface {127,0,0,1}",
        }

    def answers(self) -> bool:
        return _says(self.port, b"AMQP\0\0\x09\x01", b"\x01")

    def stop(self) -> None:
        super().stop()
        assert self._epmd is not None  # it was prepared
        self._epmd.kill()
        self._epmd.wait()


SERVERS: Mapping[str, type[Server]] = {"redis": Redis, "postgresql": Postgres, "amqp": Rabbit}
"""By the schemes of their URLs."""


@contextmanager
def running(kind: type[Server]) -> Iterator[Server]:
    """A server with new data, for as long as the context lasts."""
    directory = Path(tempfile.mkdtemp(prefix=f"pelton-{kind.program}-"))
    server = kind(directory)
    try:
        server.prepare()
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def postgres_program(program: str) -> str:
    """The path of one of PostgreSQL's programs: Debian keeps each version's apart, off PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    path = os.pathsep.join([*map(str, places), os.environ.get("PATH", os.defpath)])
    found = shutil.which(program, path=path)
    assert found is not None, f"no {program}: install Debian's postgresql"
    return found


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _says(port: int, question: bytes, expected: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(question)
            return connection.recv(64).startswith(expected)
    except OSError:
        return False
