"""Worker processes: started when needed, kept for a while, given to one call at a time."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import multiprocessing
import pickle
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from multiprocessing.context import SpawnProcess
from typing import Any

# Before each message: how many bytes it has.
_HEADER = struct.Struct("!Q")

# A process that has had nothing to do for so long is ended, when the next call is made.
IDLE_MAX_S = 300.0

_idle: deque[Worker] = deque()


class BrokenWorkerProcess(Exception):
    """The worker process died, or what it was to run cannot be sent to it or back."""


class Worker:
    """One process and the socket to it. It is in the pool while it waits for a call.

    The pool belongs to the process, not to a loop: between calls no loop knows of the socket.
    """

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        self.idle_since = 0.0
        # Not forked: a fork would copy the threads' locks, and every open file.
        context = multiprocessing.get_context("spawn")
        self._process: SpawnProcess = context.Process(
            target=serve, args=(theirs,), name="pelton-worker", daemon=True
        )
        try:
            self._process.start()
        except BaseException:
            self._socket.close()
            raise
        finally:
            theirs.close()

    @property
    def pid(self) -> int | None:
        """The process's number."""
        return self._process.pid

    async def call(self, request: bytes) -> tuple[bool, Any]:
        """Run what was pickled into `request`: whether it returned, and what; or what it raised.

        BrokenWorkerProcess if the process dies meanwhile. After any exception, as after
        cancellation, the process must be killed.
        """
        loop = asyncio.get_running_loop()
        try:
            await loop.sock_sendall(self._socket, _HEADER.pack(len(request)) + request)
            (size,) = _HEADER.unpack(await self._receive(loop, _HEADER.size))
            answer = await self._receive(loop, size)
        except (EOFError, OSError) as error:
            raise BrokenWorkerProcess(
                "the worker process ended before it answered: killed, or out of memory?"
            ) from error
        outcome: tuple[bool, Any] = pickle.loads(answer)
        return outcome

    def is_alive(self) -> bool:
        """Whether the process can take a call."""
        return self._process.is_alive()

    def kill(self) -> None:
        """End the process at once, whatever it does."""
        self._socket.close()
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self._process.close()

    async def _receive(self, loop: asyncio.AbstractEventLoop, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            part = await loop.sock_recv(self._socket, min(size - len(received), 1 << 20))
            if not part:
                raise EOFError
            received += part
        return bytes(received)


def take() -> Worker | None:
    """A worker that is there already; those idle for too long are ended."""
    now = time.monotonic()
    while _idle and now - _idle[0].idle_since > IDLE_MAX_S:
        _idle.popleft().kill()
    while _idle:
        worker = _idle.pop()
        if worker.is_alive():
            return worker
        worker.kill()
    return None


def give_back(worker: Worker) -> None:
    """Keep a worker for the next call."""
    worker.idle_since = time.monotonic()
    _idle.append(worker)


@atexit.register
def _end_idle() -> None:
    while _idle:
        _idle.pop().kill()


def serve(channel: socket.socket) -> None:
    """What a worker process does, until the other side closes the socket."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    with channel, contextlib.suppress(EOFError, ConnectionError):
        channel.setblocking(True)
        while True:
            (size,) = _HEADER.unpack(_read(channel, _HEADER.size))
            answer = _answer(_read(channel, size))
            channel.sendall(_HEADER.pack(len(answer)) + answer)


def _answer(request: bytes) -> bytes:
    try:
        function: Callable[..., Any]
        function, args = pickle.loads(request)
        result = True, function(*args)
    except BaseException as error:  # the caller gets it, whatever it is
        result = False, error
    try:
        return pickle.dumps(result, pickle.HIGHEST_PROTOCOL)
    except Exception as error:
        what = "result" if result[0] else "exception"
        refusal = BrokenWorkerProcess(f"the {what} {result[1]!r} cannot be pickled: {error}")
        return pickle.dumps((False, refusal))


def _read(channel: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = channel.recv(min(size - len(received), 1 << 20))
        if not part:
            raise EOFError
        received += part
    return bytes(received)
