"""What a process of the pool does: imports the program, then runs one job after another.

It ends when the worker does: a thread reads the socket all the time, and the socket's end is the
process's end, also while a job runs.
"""

from __future__ import annotations

import contextvars
import functools
import importlib
import os
import pickle
import queue
import runpy
import signal
import socket
import struct
import sys
import threading
import traceback
from typing import Any

_LENGTH = struct.Struct(">I")


def main(fd: int) -> None:
    """Serves the worker at the other end of the socket `fd`; never returns."""
    # The worker decides when this process ends: a Ctrl-C reaches the whole group.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # but while a task runs
    channel = _Channel(socket.socket(fileno=fd))
    threading.Thread(target=channel.listen, name="pelton-worker", daemon=True).start()
    _, origin, python_path = channel.orders.get()
    if python_path is None:
        os.environ.pop("PYTHONPATH", None)
    else:
        os.environ["PYTHONPATH"] = python_path
    try:
        _import(*origin)
    except BaseException:
        channel.send(("broken", traceback.format_exc()))
        os._exit(1)
    channel.send(("ready",))
    while True:
        _, order = channel.orders.get()
        ended = _run(channel, *order)
        # This process does not end in a way that would write what is left in them.
        sys.stdout.flush()
        sys.stderr.flush()
        channel.send(("done", ended))


class _Channel:
    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._sending = threading.Lock()
        self.orders: queue.SimpleQueue[tuple[Any, ...]] = queue.SimpleQueue()

    def send(self, message: tuple[Any, ...]) -> None:
        data = pickle.dumps(message)
        with self._sending:
            try:
                self._socket.sendall(_LENGTH.pack(len(data)) + data)
            except OSError:
                os._exit(0)  # the worker is gone

    def listen(self) -> None:
        stream = self._socket.makefile("rb")
        try:
            while head := stream.read(_LENGTH.size):
                (length,) = _LENGTH.unpack(head)
                self.orders.put(pickle.loads(stream.read(length)))
        finally:
            # The worker is gone. A connection that it left unread words in is reset, not ended;
            # whatever it was, this process has nothing more to do.
            os._exit(0)


def _import(modules: list[str], main: str | None, path: list[str], log_level: str | None) -> None:
    from pelton.cli import log
    from pelton.jobs.program import MAIN_IN_CHILD

    if log_level is not None:
        log.configure("pool", log_level)
    sys.path[:] = path
    if main is not None:
        module = type(sys)(MAIN_IN_CHILD)
        sys.modules[MAIN_IN_CHILD] = module
        module.__file__ = main
        module.__dict__.update(runpy.run_path(main, run_name=MAIN_IN_CHILD))
    for name in modules:
        importlib.import_module(name)


def _run(
    channel: _Channel,
    id: str,
    name: str,
    queue: str,
    attempt: int,
    max_retries: int,
    payload: bytes,
    inputs: list[bytes],
    headers: bytes | None,
) -> bytes | tuple[Any, ...]:
    from pelton.jobs.attempt import Failure, Rest, failed, failure, run_blocking
    from pelton.jobs.context import JobContext
    from pelton.jobs.errors import SoftTimeout
    from pelton.jobs.headers import read
    from pelton.jobs.jobs import instances

    task = next((jobs.tasks[name] for jobs in instances() if name in jobs.tasks), None)
    if task is None:
        message = (
            f"importing the program in the pool process did not make a task {name!r}: declare "
            "cpu=True tasks at the top level of a module"
        )
        return tuple(failed("UnknownTask", message))
    context = JobContext(
        id=id,
        task=name,
        queue=queue,
        attempt=attempt,
        max_retries=max_retries,
        headers=read(headers),
        report=lambda fraction, message: channel.send(("progress", fraction, message)),
    )
    soft = task.settings.soft_timeout
    if soft is not None:
        signal.signal(signal.SIGUSR1, functools.partial(_interrupt, name, soft))
    ended: bytes | Failure | Rest | None = None
    try:
        try:
            # What rides along with one job is not there for the next.
            own = contextvars.copy_context()
            ended = own.run(run_blocking, task, context, payload, inputs)
        finally:
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    except SoftTimeout as late:
        # It came while the end of the task was noted: an end that is known counts.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        ended = failure(task, late) if ended is None else ended
    assert not isinstance(ended, Rest)  # a process has no steps to rest between
    return ended if isinstance(ended, bytes) else tuple(ended)


def _interrupt(task: str, seconds: float, _number: int, _frame: Any) -> None:
    from pelton.jobs.errors import SoftTimeout

    raise SoftTimeout(task, seconds)
