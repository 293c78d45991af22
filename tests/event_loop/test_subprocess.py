"""Subprocesses: their pipes, their end, and who waits for it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
import warnings
from collections.abc import Coroutine
from typing import Any

import pytest

PYTHON = sys.executable


def run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> None:
    loop.run_until_complete(asyncio.wait_for(work, 60))


def test_there_and_back(loop: asyncio.AbstractEventLoop) -> None:
    data = os.urandom(1_000_000)

    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate(data)
        assert out == data
        assert process.returncode == 0

    run(loop, main())


def test_many_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async def one(n: int) -> None:
        process = await asyncio.create_subprocess_shell(
            f"echo {n}; exit {n}", stdout=asyncio.subprocess.PIPE
        )
        out, _ = await process.communicate()
        assert (int(out), process.returncode) == (n, n)

    async def main() -> None:
        await asyncio.gather(*(one(n) for n in range(20)))

    run(loop, main())


def test_order_of_the_protocols_calls(loop: asyncio.AbstractEventLoop) -> None:
    calls: list[str] = []
    lost = asyncio.Event()

    class Recorder(asyncio.SubprocessProtocol):
        def pipe_data_received(self, fd: int, data: bytes) -> None:
            calls.append(f"{fd} {data.decode().strip()}")

        def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
            calls.append(f"{fd} lost")

        def process_exited(self) -> None:
            calls.append("exited")

        def connection_lost(self, exc: Exception | None) -> None:
            calls.append("lost")
            lost.set()

    async def main() -> None:
        transport, _ = await loop.subprocess_shell(Recorder, "echo out; echo err >&2", stdin=None)
        await lost.wait()
        assert transport.get_returncode() == 0
        transport.close()

    run(loop, main())
    assert calls[-1] == "lost"  # behind the pipes' ends and the exit
    assert sorted(calls[:-1]) == ["1 lost", "1 out", "2 err", "2 lost", "exited"]


def test_output_is_read_whole_after_the_exit(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_shell("echo x", stdout=asyncio.subprocess.PIPE)
        assert await process.wait() == 0
        assert process.stdout is not None
        assert await process.stdout.read() == b"x\n"

    run(loop, main())


def test_killed_and_cancelled(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("sleep", "100")
        waiting = asyncio.create_task(process.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        with pytest.raises(ProcessLookupError):
            process.kill()

    run(loop, main())


def test_closed_standard_input_is_no_error(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec("true", stdin=asyncio.subprocess.PIPE)
        await process.communicate(bytes(1_000_000))
        assert process.returncode == 0

    run(loop, main())


def test_not_found(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with pytest.raises(FileNotFoundError):
            await asyncio.create_subprocess_exec("/nowhere/at/all")

    run(loop, main())


def test_inherits_nothing_of_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            PYTHON,
            "-c",
            "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:-1])",
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        assert out.strip() == b"[0, 1, 2]"

    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("this system does not list descriptors")
    run(loop, main())


def test_beside_another_loops_children(loop: asyncio.AbstractEventLoop) -> None:
    """The watcher is the process's, and serves the loops of all threads."""
    codes: list[int] = []

    async def one(code: int) -> int:
        process = await asyncio.create_subprocess_shell(f"exit {code}")
        return await process.wait()

    def in_thread() -> None:
        with asyncio.Runner(loop_factory=type(loop)) as runner:
            codes.append(runner.run(one(7)))

    async def main() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            thread = threading.Thread(target=in_thread)
            thread.start()
            codes.append(await one(3))
            await loop.run_in_executor(None, thread.join)

    run(loop, main())
    assert sorted(codes) == [3, 7]
