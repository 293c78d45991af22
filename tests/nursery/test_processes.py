"""Calls into worker processes."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pelton
from pelton import to_process
from tests.house.tree import ROOT
from tests.nursery.conftest import Run
from tests.nursery.test_scope import counts


def test_result_and_errors(run: Run) -> None:
    async def main() -> None:
        assert await to_process.run_sync(divmod, 7, 2) == (3, 1)
        assert await to_process.run_sync(bytes, 3_000_000) == bytes(3_000_000)
        assert await to_process.run_sync(len, bytes(3_000_000)) == 3_000_000
        with pytest.raises(ZeroDivisionError):
            await to_process.run_sync(divmod, 1, 0)
        with pytest.raises(SystemExit):
            await to_process.run_sync(sys.exit, 3)
        with pytest.raises(to_process.BrokenWorkerProcess, match="cannot be pickled"):
            await to_process.run_sync(memoryview, b"abc")
        with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
            await to_process.run_sync(lambda: None)

    run(main)


def test_processes_are_used_again_and_are_not_ours(run: Run) -> None:
    async def main() -> None:
        pids = {await to_process.run_sync(os.getpid) for _ in range(5)}
        assert len(pids) == 1
        assert os.getpid() not in pids

    run(main)


def test_several_at_once_up_to_the_limiter(run: Run) -> None:
    async def main() -> None:
        limiter = pelton.CapacityLimiter(2)
        pids = set()

        async def call() -> None:
            pids.add(await to_process.run_sync(os.getpid, limiter=limiter))
            assert limiter.borrowed_tokens <= 2

        async with pelton.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(call)
        assert 1 <= len(pids) <= 2
        assert limiter.borrowed_tokens == 0
        assert to_process.current_default_process_limiter().total_tokens == os.cpu_count()

    run(main)


def test_a_killed_process_is_an_error_and_the_next_call_works(run: Run) -> None:
    async def main() -> None:
        with pytest.raises(to_process.BrokenWorkerProcess, match="ended before it answered"):
            await to_process.run_sync(os._exit, 3)
        assert await to_process.run_sync(abs, -1) == 1

    run(main)


@pytest.mark.parametrize("native", [False, True])
def test_cancellable_kills_the_process(run: Run, native: bool, tmp_path: Path) -> None:
    async def main() -> None:
        pid = await to_process.run_sync(os.getpid)
        scope = pelton.CancelScope()

        async def call() -> None:
            with scope:
                await to_process.run_sync(time.sleep, 60, cancellable=True)

        task = asyncio.create_task(call())
        await asyncio.sleep(0.05)
        if native:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            scope.cancel()
            await task
            assert scope.cancelled_caught
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert await to_process.run_sync(os.getpid) != pid

    run(main)


def test_otherwise_it_is_waited_for(run: Run) -> None:
    async def main() -> None:
        await to_process.run_sync(abs, -1)
        with pelton.CancelScope() as scope:
            asyncio.get_running_loop().call_later(0.01, scope.cancel)
            assert await to_process.run_sync(_slow_abs, -1) == 1
        assert scope.cancel_called
        assert not scope.cancelled_caught
        assert counts() == 0

    run(main)


def test_workers_ignore_ctrl_c(run: Run) -> None:
    async def main() -> None:
        pid = await to_process.run_sync(os.getpid)
        os.kill(pid, signal.SIGINT)
        assert await to_process.run_sync(os.getpid) == pid

    run(main)


def test_functions_of_the_main_module(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import pelton\n"
        "def double(x): return 2 * x\n"
        "async def main(): print(await pelton.to_process.run_sync(double, 21))\n"
        "if __name__ == '__main__': pelton.run(main())\n"
    )
    ran = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stdout, ran.returncode) == ("42\n", 0), ran.stderr


def _slow_abs(number: int) -> int:
    time.sleep(0.1)
    return abs(number)
