"""The process tree: starts, restarts, reports, stops; nothing outlives its parent."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pelton.cli.supervisor import Part, StartError, Supervisor
from tests.cli.waiting import asynchronous, is_gone, until

READY = """
import os, signal, sys
from pelton.cli import supervised
supervised.start(stop_timeout=0.2)
supervised.ready({"pid": os.getpid(), "arguments": sys.argv[1:]})
"""
SERVES = READY + "signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVES
FAILS = "raise SystemExit(7)"
HAS_CHILD = READY.replace(
    "supervised.ready",
    """import subprocess
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(child.pid, file=open(sys.argv[1], "w"), flush=True)
supervised.ready""",
)
NOTES_ITS_END = """
import sys, signal
def end(number, frame):
    open(sys.argv[1], "a").write(sys.argv[2] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
"""


def part(script: str, *arguments: str, name: str = "part", stop_timeout: float = 10.0) -> Part:
    return Part(name, (sys.executable, "-c", script, *arguments), stop_timeout)


async def eventually(look: Callable[[], bool], what: str) -> None:
    await asyncio.to_thread(until, look, what)


@asynchronous
async def test_reports_come_in_order_of_the_parts() -> None:
    supervisor = Supervisor()
    reports = await supervisor.start(part(SERVES, "one"), part(SERVES, "two"))
    await supervisor.stop()
    assert [report["arguments"] for report in reports] == [["one"], ["two"]]
    assert all(is_gone(report["pid"]) for report in reports)


@asynchronous
async def test_a_killed_part_starts_again(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"import os; print(os.getpid(), file=open({str(pids)!r}, 'a'), flush=True)" + SERVES
    supervisor = Supervisor()
    [report] = await supervisor.start(part(script))
    os.kill(report["pid"], signal.SIGKILL)
    await eventually(lambda: len(pids.read_text().split()) == 2, "a second process")
    await supervisor.stop()
    first, second = map(int, pids.read_text().split())
    assert first == report["pid"] != second
    assert is_gone(second)


@asynchronous
async def test_a_part_that_ends_before_it_is_ready() -> None:
    supervisor = Supervisor()
    with pytest.raises(StartError) as raised:
        await supervisor.start(part(FAILS, name="broken"), part(SERVES))
    assert raised.value.code == 7
    assert "broken ended with exit code 7" in str(raised.value)
    await supervisor.stop()


@asynchronous
async def test_parts_stop_in_the_order_of_their_start(tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    supervisor = Supervisor()
    for name in ("web", "worker"):
        await supervisor.start(part(NOTES_ITS_END + SERVES, str(ends), name))
    await supervisor.stop()
    assert ends.read_text().split() == ["web", "worker"]


@asynchronous
async def test_a_part_that_does_not_stop_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor()
    [report] = await supervisor.start(part(STUBBORN, stop_timeout=0.1))
    await supervisor.stop()
    assert is_gone(report["pid"])
    assert "did not stop within 0.1 s: killed" in caplog.text


@asynchronous
async def test_what_a_dead_part_had_started_ends_too(tmp_path: Path) -> None:
    child = tmp_path / "child"
    supervisor = Supervisor()
    [report] = await supervisor.start(part(HAS_CHILD + "signal.pause()", str(child)))
    orphan = int(child.read_text())
    os.kill(report["pid"], signal.SIGKILL)
    await eventually(lambda: is_gone(orphan), "the orphan's end")
    await supervisor.stop()


@asynchronous
async def test_a_part_may_die_while_others_start() -> None:
    supervisor = Supervisor()
    starting = asyncio.create_task(supervisor.start(part("import time; time.sleep(600)")))
    await asyncio.sleep(0)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    await supervisor.stop()
    assert starting.cancelled()


def test_children_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    parent = f"""
import asyncio, sys
from pelton.cli.supervisor import Part, Supervisor
async def main():
    supervisor = Supervisor()
    parts = [Part(str(n), (sys.executable, "-c", sys.argv[1]), 1.0) for n in range(2)]
    reports = await supervisor.start(*parts)
    with open({str(pids)!r} + ".new", "w") as file:
        print(*(report["pid"] for report in reports), file=file)
    import os; os.rename({str(pids)!r} + ".new", {str(pids)!r})
    await asyncio.Event().wait()
asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", parent, SERVES], stderr=subprocess.DEVNULL)
    try:
        until(pids.exists, "the children")
        process.kill()
        process.wait()
        for pid in map(int, pids.read_text().split()):
            until(lambda pid=pid: is_gone(pid), "the child's end")  # type: ignore[misc]
    finally:
        process.kill()
        process.wait()
