"""The processes that run `cpu=True` tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pelton.jobs.attempt import Failure, failed

_LOGGER = logging.getLogger("pelton.jobs")
_LENGTH = struct.Struct(">I")
_CODE = "import sys; from pelton.jobs.child import main; main(int(sys.argv[1]))"
_RESPAWN_SECONDS = 1.0
_IDLE_SECONDS = 30.0  # before an autoscaled pool ends a process
_RESPAWN_SECONDS_MAX = 30.0


class Origin(NamedTuple):
    """Where a pool process finds the tasks: what it imports, and how."""

    modules: Sequence[str]
    main: str | None  # the script that the worker was started with, if tasks are in it
    path: Sequence[str]  # sys.path
    log_level: str | None = None  # of their root logger; None: left as Python makes it


class Order(NamedTuple):
    """One attempt, as it is sent to a process."""

    id: str
    task: str
    queue: str
    attempt: int
    max_retries: int
    payload: bytes
    inputs: list[bytes]
    headers: bytes | None = None


class ProcessWork:
    """An attempt in the pool; `process` while one runs it."""

    __slots__ = ("begin", "order", "process", "report", "then")

    def __init__(
        self,
        order: Order,
        then: Callable[[bytes | Failure], None],
        begin: Callable[[], None],
        report: Callable[[float, str | None], None],
    ) -> None:
        self.order = order
        self.then = then
        self.begin = begin
        self.report = report
        self.process: _Process | None = None


class ProcessLimits(NamedTuple):
    """When a process is replaced, between two jobs."""

    jobs: int | None = None
    rss: int | None = None  # bytes


class ProcessPool:
    """Keeps `size` processes that have imported the program, and gives each one job at a time.

    A process that dies, by whatever means, fails only the attempt that it had, and another takes
    its place. `waiting` is bounded by what its owner leases.
    """

    def __init__(
        self,
        size: int | tuple[int, int],
        origin: Origin,
        limits: ProcessLimits = ProcessLimits(),  # noqa: B008 - it cannot be changed
    ) -> None:
        # The fewest that are there, and the most.
        self._least, self._most = size if isinstance(size, tuple) else (size, size)
        if not 1 <= self._least <= self._most:
            raise ValueError(f"{size!r}: a pool has 1 process or more, and no fewer than the least")
        self._size = self._least
        self._origin = origin
        self._limits = limits
        self._shrinking: asyncio.TimerHandle | None = None
        self._processes: set[_Process] = set()
        self._idle: list[_Process] = []
        self.waiting: deque[ProcessWork] = deque()
        self._closed = False
        self._respawn_seconds = _RESPAWN_SECONDS
        self._respawn: asyncio.TimerHandle | None = None

    @property
    def pids(self) -> list[int]:
        """The processes' ids."""
        return [process.pid for process in self._processes]

    def start(self) -> None:
        """Starts the processes; they import the program while the worker goes on."""
        while len(self._processes) < self._size and not self._closed:
            self._processes.add(_Process(self))

    def submit(self, work: ProcessWork) -> None:
        """Runs it in the next free process; `work.then` gets the end, unless it is dropped."""
        self.waiting.append(work)
        self._dispatch()

    def drop(self, work: ProcessWork) -> None:
        """Ends it without a word: taken from the queue, or its process killed."""
        if work.process is not None:
            work.process.work = None
            work.process.kill()
        elif work in self.waiting:
            self.waiting.remove(work)

    async def close(self) -> None:
        """Kills the processes and waits for their end."""
        self._closed = True
        if self._shrinking is not None:
            self._shrinking.cancel()
        if self._respawn is not None:
            self._respawn.cancel()
        processes = list(self._processes)
        for process in processes:
            process.kill()
        await asyncio.gather(*(process.served for process in processes))

    def ready(self, process: _Process) -> None:
        """A process has imported the program, or finished its job."""
        self._respawn_seconds = _RESPAWN_SECONDS
        if self._is_worn(process):
            process.kill()  # another takes its place: see `lost`
            return
        self._idle.append(process)
        self._dispatch()
        if self._shrinking is None and self._size > self._least and not self._closed:
            loop = asyncio.get_running_loop()
            self._shrinking = loop.call_later(_IDLE_SECONDS, self._shrink)

    def lost(self, process: _Process, reason: str, *, imported: bool) -> None:
        """A process ended; the attempt that it had has failed."""
        self._processes.discard(process)
        if process in self._idle:
            self._idle.remove(process)
        if self._closed:
            return
        if imported:
            self.start()
            return
        _LOGGER.error("a pool process could not import the program: %s", reason)
        if not self._processes:
            while self.waiting:
                work = self.waiting.popleft()
                work.then(failed("ImportError", f"the pool process could not start: {reason}"))
        if self._respawn is None:
            loop = asyncio.get_running_loop()
            self._respawn = loop.call_later(self._respawn_seconds, self._start_again)
            self._respawn_seconds = min(self._respawn_seconds * 2, _RESPAWN_SECONDS_MAX)

    def spawn(self) -> tuple[subprocess.Popen[bytes], socket.socket]:
        """One process, and our end of the socket that it listens to."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _CODE, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        return process, ours

    def first_message(self) -> tuple[Any, ...]:
        """What a process must know before its first job."""
        return ("start", tuple(self._origin), os.environ.get("PYTHONPATH"))

    def _start_again(self) -> None:
        self._respawn = None
        self.start()

    def _is_worn(self, process: _Process) -> bool:
        limits = self._limits
        if process.done == 0:
            return False  # it would be so for the next one, too
        if limits.jobs is not None and process.done >= limits.jobs:
            return True
        return limits.rss is not None and resident_bytes(process.pid) > limits.rss

    def _shrink(self) -> None:
        """Ends one process that has had nothing to do for a while."""
        self._shrinking = None
        if self._idle and not self.waiting and self._size > self._least and not self._closed:
            self._size -= 1
            self._idle.pop(0).kill()
            if self._size > self._least:
                loop = asyncio.get_running_loop()
                self._shrinking = loop.call_later(_IDLE_SECONDS, self._shrink)

    def _dispatch(self) -> None:
        while self.waiting and self._idle:
            self._idle.pop().begin(self.waiting.popleft())
        if self.waiting and self._size < self._most and not self._closed:
            self._size = min(self._most, self._size + len(self.waiting))
            self.start()


class _Process:
    """One process of the pool and the socket to it."""

    def __init__(self, pool: ProcessPool) -> None:
        self._pool = pool
        self._popen, self._socket = pool.spawn()
        self._writer: asyncio.StreamWriter | None = None
        self._imported = False
        self._reason = ""
        self.pid = self._popen.pid
        self.done = 0
        self.work: ProcessWork | None = None
        self.served = asyncio.get_running_loop().create_task(self._serve())

    def begin(self, work: ProcessWork) -> None:
        self.work = work
        work.process = self
        work.begin()
        self._send(("run", tuple(work.order)))

    def hint(self) -> None:
        """Has SoftTimeout raised in the task."""
        if self._popen.returncode is None:
            self._popen.send_signal(signal.SIGUSR1)

    def kill(self) -> None:
        if self._popen.returncode is None:
            self._popen.kill()

    async def _serve(self) -> None:
        """Reads what the process says, until its end."""
        reader, self._writer = await asyncio.open_connection(sock=self._socket)
        self._send(self._pool.first_message())
        try:
            while True:
                (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
                self._take(pickle.loads(await reader.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # its end, for which the exit code has the reason
        finally:
            self._writer.close()
            self.kill()
            code = await asyncio.get_running_loop().run_in_executor(None, self._popen.wait)
            self._ended(code)

    def _take(self, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        work = self.work
        if kind == "ready":
            self._imported = True
            self._pool.ready(self)
        elif kind == "broken":
            self._reason = rest[0]
        elif kind == "progress":
            if work is not None:
                work.report(*rest)
        elif kind == "done":
            self.work = None
            self.done += 1
            if work is not None:
                work.process = None
                work.then(Failure(*rest[0]) if isinstance(rest[0], tuple) else rest[0])
            self._pool.ready(self)

    def _ended(self, code: int) -> None:
        work, self.work = self.work, None
        reason = self._reason or _exit_reason(code)
        self._pool.lost(self, reason, imported=self._imported)
        if work is not None:
            work.process = None
            work.then(failed("ProcessDied", f"the pool process {self.pid} {reason}"))

    def _send(self, message: tuple[Any, ...]) -> None:
        if self._writer is not None and not self._writer.is_closing():
            data = pickle.dumps(message)
            self._writer.write(_LENGTH.pack(len(data)) + data)


def resident_bytes(pid: int) -> int:
    """The memory that a process has; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _exit_reason(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
