"""What must hold after a chaos run: on end states, histories, notes and leftovers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from pelton.jobs import JobRecord, Jobs

if TYPE_CHECKING:
    from tests.chaos.run import Accepted

_UNFINISHED = ("waiting", "scheduled", "queued", "running")
_PAGE = 1000
_TICK_SECONDS = 0.5


async def all_end(jobs: Jobs, accepted: Accepted, *, seconds: float) -> None:
    """Waits until nothing is unfinished but the schedule's jobs; AssertionError."""
    deadline = time.monotonic() + seconds
    while left := await _unfinished(jobs):
        assert time.monotonic() < deadline, f"{len(left)} jobs have not ended: {left[:5]}"
        await asyncio.sleep(0.2)


async def _unfinished(jobs: Jobs) -> list[tuple[str, str, str]]:
    return [
        (record.id, record.task, record.state)
        for state in _UNFINISHED
        for record in await jobs.records(state=state, limit=_PAGE)
        if not record.task.endswith(".tick")
    ]


async def _every(jobs: Jobs) -> dict[str, JobRecord]:
    found: dict[str, JobRecord] = {}
    before = None
    while page := await jobs.records(limit=_PAGE, before=before):
        found.update((record.id, record) for record in page)
        before = page[-1].id
    return found


async def check(jobs: Jobs, accepted: Accepted, notes: Path, began: float) -> None:
    """Every accepted job ended as it should, as often as it should."""
    records = await _every(jobs)
    missing = accepted.all - records.keys()
    assert not missing, f"lost: {missing}"
    ticks = [record for record in records.values() if record.task.endswith(".tick")]
    strangers = records.keys() - accepted.all - {record.id for record in ticks}
    assert not strangers, f"nobody enqueued {strangers}"
    ran = _notes(notes)
    for id, record in records.items():
        if id in accepted.all:
            await _check_end(jobs, accepted, record)
            await _check_attempts(jobs, record, ran)
    _check_ticks(ticks, began)
    dead = {id for id, record in records.items() if record.state == "dead"}
    poison = {id for id in dead if (records[id].reason or "").startswith("poison")}
    assert dead - poison == accepted.die - poison, "the dead letters are those that always fail"
    for queue in await jobs.queue_records():
        counted = Counter(r.state for r in records.values() if r.queue == queue.name)
        told = {state: n for state, n in queue.counts.items() if n}
        assert told == dict(counted), f"{queue.name}: {told}, and there are {counted}"


async def _check_end(jobs: Jobs, accepted: Accepted, record: JobRecord) -> None:
    id, state = record.id, record.state
    if state == "dead" and (record.reason or "").startswith("poison"):
        losses = [one.end for one in await jobs.history(id)]
        assert losses[-5:] == ["lost"] * 5, f"{id} is no poison: {losses}"
    elif id in accepted.succeed:
        # What waits for a poisonous job is cancelled with it.
        fate = state == "cancelled" and (record.reason or "").endswith("is dead")
        assert state == "succeeded" or fate, f"{id} ({record.task}) is {state}: {record.reason}"
    elif id in accepted.die:
        assert state == "dead", f"{id} always fails, and is {state}"
    elif id in accepted.follow:
        assert state == "succeeded", f"the error callback {id} is {state}: {record.reason}"
    elif id in accepted.unneeded:
        assert state in ("cancelled", "succeeded"), f"{id}: {state}"
    else:
        assert state in ("cancelled", "succeeded"), f"{id} was cancelled, and is {state}"


def _notes(notes: Path) -> Counter[tuple[str, str]]:
    """How often each job did what."""
    ran: Counter[tuple[str, str]] = Counter()
    for path in notes.glob("*.log"):
        for line in path.read_text(encoding="ascii").splitlines():
            what, id, _ = line.split()
            ran[what, id] += 1
    return ran


async def _check_attempts(jobs: Jobs, record: JobRecord, ran: Counter[tuple[str, str]]) -> None:
    history = await jobs.history(record.id)
    tokens = [one.token for one in history]
    assert tokens == sorted(set(tokens)), f"{record.id}: two ends of one attempt: {tokens}"
    last = 1 if record.state == "succeeded" else 0
    ends = Counter(one.end for one in history)
    # A job begins again only where its attempt failed, or its worker went away with it.
    most = last + len(history)
    assert ran["run", record.id] <= most, f"{record.id} ran {ran['run', record.id]} of {most} times"
    if record.state == "succeeded" and record.task not in ("steps",):
        assert ran["run", record.id] >= 1 or record.task.endswith(".tick"), f"{record.id} never ran"
    if record.task == "steps" and record.state == "succeeded":
        for step in ("step-a", "step-b", "step-c"):
            # Once, and once more for each worker that was killed in the midst of it.
            times = ran[step, record.id]
            assert 1 <= times <= 1 + ends["lost"], f"{record.id}: {step} ran {times} times"
    if record.task == "doomed" and record.state == "dead" and not ends["lost"]:
        assert ends["failed"] == 2, f"{record.id} was tried {ends}"


def _check_ticks(ticks: list[JobRecord], began: float) -> None:
    """No tick fired twice: there are no more jobs than ticks.

    A leader that was killed is followed after 10 seconds, so a short run may have none.
    """
    seconds = time.time() - began
    most = seconds / _TICK_SECONDS + 1
    assert len(ticks) <= most, f"{len(ticks)} jobs of {most:.0f} ticks"
    assert ticks or seconds < 60, f"not one tick in {seconds:.0f} s"


async def remove_all(jobs: Jobs) -> int:
    """Removes every record; how many there were."""
    ended = await _every(jobs)
    await asyncio.gather(*(jobs.delete(id) for id in ended))
    left = [record.state for record in await jobs.records(limit=10)]
    assert set(left) <= {"queued", "running"}, f"cannot be removed: {left}"
    return len(ended)


_TABLES = ("edges", "attempts", "steps", "signals", "orders", "buckets")

_LOOK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
for table in sys.argv[2:]:
    left = db.execute(f"SELECT count(*) FROM pelton_{table}").fetchone()[0]
    assert left == 0, f"{left} rows are left in pelton_{table}"
ended = db.execute("SELECT count(*) FROM pelton_jobs WHERE state NOT IN (2, 3)").fetchone()[0]
assert ended == 0, f"{ended} jobs are left"
"""


def nothing_is_left(url: str) -> None:
    """No row of another table outlives its job. In another process, with its own SQLite."""
    if url.startswith("sqlite:///"):
        path = url.removeprefix("sqlite:///").partition("?")[0]
        subprocess.run([sys.executable, "-c", _LOOK, path, *_TABLES], check=True, timeout=120)
