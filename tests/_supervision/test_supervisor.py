"""The process tree: starts, restarts, reports, stops; nothing outlives its parent."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pelton._supervision import keeper
from pelton._supervision.part import Part, StartError
from pelton._supervision.run import Run
from pelton._supervision.supervisor import Supervisor
from tests.cli.waiting import asynchronous, is_gone, until

READY = """
import os, signal, sys
from pelton._supervision import child
child.start(stop_timeout=0.2)
child.ready({"pid": os.getpid(), "arguments": sys.argv[1:]})
"""
SERVES = READY + "signal.pause()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" + SERVES
FAILS = "raise SystemExit(7)"
HAS_CHILD = READY.replace(
    "child.ready",
    """import subprocess
grandchild = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print(grandchild.pid, file=open(sys.argv[1], "w"), flush=True)
child.ready""",
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
async def test_a_part_that_is_killed_before_it_is_ready_starts_again(tmp_path: Path) -> None:
    tries = tmp_path / "tries"
    script = f"""
import os, signal
with open({str(tries)!r}, "a") as file:
    print("x", file=file)
if len(open({str(tries)!r}).read()) < 6:
    os.kill(os.getpid(), signal.SIGKILL)
"""
    supervisor = Supervisor()
    [report] = await supervisor.start(part(script + SERVES))
    assert tries.read_text() == "x\nx\nx\n"
    assert not is_gone(report["pid"])
    await supervisor.stop()


@asynchronous
async def test_a_part_that_is_always_killed_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "FIRST_DELAY", 0.01)
    supervisor = Supervisor()
    killed = part("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", name="doomed")
    with pytest.raises(StartError, match="doomed was ended by SIGKILL before it was ready"):
        await supervisor.start(killed)
    await supervisor.stop()


@asynchronous
async def test_a_rolling_restart_has_a_successor_ready_first(tmp_path: Path) -> None:
    events = tmp_path / "events"
    script = f"""
import os, signal, sys
def note(what):
    with open({str(events)!r}, "a") as file:
        print(what, os.getpid(), file=file)
def end(number, frame):
    note("ends")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
note("begins")
"""
    supervisor = Supervisor()
    [report] = await supervisor.start(part(script + SERVES))
    old = report["pid"]
    await supervisor.roll()
    lines = [line.split() for line in events.read_text().splitlines()]
    assert [what for what, _ in lines] == ["begins", "begins", "ends"]
    assert lines[2][1] == str(old) != lines[1][1]
    new = int(lines[1][1])
    assert is_gone(old)
    assert not is_gone(new)
    # The new one is kept as the old one was.
    os.kill(new, signal.SIGKILL)
    await eventually(lambda: events.read_text().count("begins") == 3, "the next")
    await supervisor.stop()


@asynchronous
async def test_a_successor_that_does_not_get_ready_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken"
    script = f"import os; assert not os.path.exists({str(broken)!r})\n" + SERVES
    supervisor = Supervisor()
    [report] = await supervisor.start(part(script))
    broken.touch()
    await supervisor.roll()
    assert not is_gone(report["pid"])
    assert "what runs goes on" in caplog.text
    await supervisor.stop()
    assert is_gone(report["pid"])


@asynchronous
async def test_a_part_asks_for_a_successor(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = (
        READY
        + f"""
import asyncio
with open({str(pids)!r}, "a") as file:
    print(os.getpid(), file=file)
first = open({str(pids)!r}).read().count("\\n") == 1
async def main():
    child.beat(0.4, lambda: "it is the first" if first else None)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    )
    supervisor = Supervisor()
    [report] = await supervisor.start(part(script))
    await eventually(lambda: is_gone(report["pid"]), "the end of the first")
    _, second = map(int, pids.read_text().split())
    assert not is_gone(second)
    await supervisor.stop()


@asynchronous
async def test_a_part_without_a_sign_of_life_writes_its_stacks(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    script = f"""
import os
with open({str(pids)!r}, "a") as file:
    print(os.getpid(), file=file)
"""
    supervisor = Supervisor()
    hung = part(script + READY + "def held(): signal.pause()\nheld()")
    [report] = await supervisor.start(dataclasses.replace(hung, health_timeout=0.5))
    await eventually(lambda: len(pids.read_text().split()) >= 2, "the successor")
    assert is_gone(report["pid"])
    await supervisor.stop()
    assert "in held" in capfd.readouterr().err


@asynchronous
async def test_parts_of_a_role_come_and_go() -> None:
    supervisor = Supervisor()
    parts = [dataclasses.replace(part(SERVES, name=name), role="web") for name in ("a", "b")]
    first, second = await supervisor.start(*parts)
    await supervisor.start(part(SERVES, name="other"))
    assert [each.name for each in supervisor.parts("web")] == ["a", "b"]
    removed = await supervisor.remove("web")
    assert removed is not None
    assert removed.name == "b"
    assert is_gone(second["pid"])
    assert await supervisor.remove("web") is None
    assert not is_gone(first["pid"])
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
async def test_a_process_that_is_gone_is_not_killed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(part(SERVES))
    await run.start()
    run.kill()
    assert await run.wait() == -signal.SIGKILL
    killed: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda group, number: killed.append(group))
    # Its id may be another process's by now.
    run.kill()
    assert await run.stop() == -signal.SIGKILL
    assert killed == []


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
from pelton._supervision.part import Part
from pelton._supervision.supervisor import Supervisor
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
