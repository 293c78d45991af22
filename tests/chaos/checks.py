"""What must hold after a chaos run: on end states, histories, notes and leftovers."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pelton.jobs import JobRecord, Jobs
from tests.chaos.places import Place
from tests.chaos.producer import Accepted, again

_UNFINISHED: tuple[Literal["waiting", "scheduled", "queued", "running"], ...] = (
    "waiting",
    "scheduled",
    "queued",
    "running",
)
_PAGE = 1000
_TICK_SECONDS = 0.5


@dataclass(frozen=True)
class Note:
    """What a job did in a process, and when; `worker`: that process, or the one it works for."""

    what: str
    id: str
    worker: int
    at: float


def is_tick(record: JobRecord) -> bool:
    """Whether it is a job of the schedule."""
    return record.task.endswith(".tick")


def read_notes(folder: Path) -> list[Note]:
    """Every note of every process, the oldest first."""
    found = []
    for path in folder.glob("*.log"):
        for line in path.read_text(encoding="ascii").splitlines():
            what, id, _, worker, at = line.split()
            found.append(Note(what, id, int(worker), float(at)))
    return sorted(found, key=lambda note: note.at)


async def all_end(jobs: Jobs, *, seconds: float) -> None:
    """Waits until nothing is unfinished but the schedule's jobs; AssertionError."""
    deadline = time.monotonic() + seconds
    while await _unfinished(jobs):
        if time.monotonic() > deadline:
            left = [
                (record.id, record.task, record.state)
                for state in _UNFINISHED
                for record in await jobs.records(state=state, limit=_PAGE)
                if not is_tick(record)
            ]
            raise AssertionError(f"{len(left)} jobs have not ended: {left[:5]}")
        await asyncio.sleep(0.2)


async def _unfinished(jobs: Jobs) -> int:
    """How many, at one moment: a job on its way from state to state is in one of them."""
    queues = await again(jobs.queue_records)
    return sum(q.counts[state] for q in queues if q.name != "ticks" for state in _UNFINISHED)


async def dead_workers_are_forgotten(jobs: Jobs, place: Place, alive: Set[int]) -> None:
    """Waits until the store has those workers that there are, and no others; AssertionError.

    alive: their process ids. Each worker has two lanes: one for its pool of processes.
    """
    deadline = time.monotonic() + 60
    while True:
        known = [one for one in await again(jobs.worker_records) if one.pid in alive]
        rows = await asyncio.to_thread(place.rows_of_workers)
        if len(known) == rows == 2 * len(alive):
            return
        assert time.monotonic() < deadline, f"{rows} workers are left of {len(alive)}"
        await asyncio.sleep(0.2)


async def every_record(jobs: Jobs) -> dict[str, JobRecord]:
    """All records there are, by id."""
    found: dict[str, JobRecord] = {}
    before = None
    while page := await jobs.records(limit=_PAGE, before=before):
        found.update((record.id, record) for record in page)
        before = page[-1].id
    return found


async def check(jobs: Jobs, accepted: Accepted, notes: list[Note], began: float) -> None:
    """Every accepted job ended as it should, as often as it should."""
    records = await every_record(jobs)
    missing = accepted.sure - records.keys()
    assert not missing, f"{len(missing)} jobs are lost: {sorted(missing)[:5]}"
    ticks = [record for record in records.values() if is_tick(record)]
    known = accepted.sure | accepted.unsure | {record.id for record in ticks}
    strangers = records.keys() - known
    assert not strangers, f"nobody enqueued {strangers}"
    ran = Counter((note.what, note.id) for note in notes)
    for record in records.values():
        if not is_tick(record):
            await _check_end(jobs, accepted, record)
            await _check_attempts(jobs, record, ran)
    for _, id in ran:
        assert id in known, f"{id} ran, and nobody enqueued it"
    _check_ticks(ticks, began)
    _check_dead(records, accepted)
    for queue in await jobs.queue_records():
        counted = Counter(r.state for r in records.values() if r.queue == queue.name)
        told = {state: n for state, n in queue.counts.items() if n}
        assert told == dict(counted), f"{queue.name}: {told}, and there are {counted}"


def _check_dead(records: Mapping[str, JobRecord], accepted: Accepted) -> None:
    """The dead letters are those that always fail, and none else."""
    dead = {id for id, record in records.items() if record.state == "dead"}
    poison = {id for id in dead if (records[id].reason or "").startswith("poison")}
    doomed = {id for id in accepted.unsure & records.keys() if records[id].task == "doomed"}
    assert dead - poison - doomed == accepted.die - poison


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
    elif id in accepted.unsure and record.task == "doomed":
        assert state in ("dead", "cancelled"), f"{id} always fails, and is {state}"
    else:
        assert state in ("cancelled", "succeeded"), f"{id}: {state}: {record.reason}"


async def _check_attempts(
    jobs: Jobs, record: JobRecord, ran: Mapping[tuple[str, str], int]
) -> None:
    """A job begins again only where its attempt failed, or its worker went away with it."""
    id, runs = record.id, ran["run", record.id]
    assert runs <= record.attempt, f"{id} ran {runs} times in {record.attempt} attempts"
    if record.state == "succeeded" and record.task != "steps":
        assert runs >= 1, f"{id} succeeded, and never ran"
    history = await jobs.history(id)
    tokens = [one.token for one in history]
    assert tokens == sorted(set(tokens)), f"{id}: two ends of one attempt: {tokens}"
    ends = Counter(one.end for one in history)
    last = 1 if record.state == "succeeded" else 0
    most = last + len(history)
    assert runs <= most, f"{id} ({record.task}) ran {runs} of {most} times: {ends}"
    if record.task == "steps" and record.state == "succeeded":
        for step in ("step-a", "step-b", "step-c"):
            # Once, and once more for each worker that went away in the midst of it.
            times = ran[step, id]
            assert 1 <= times <= 1 + ends["lost"], f"{id}: {step} ran {times} times"
    if record.task == "doomed" and record.state == "dead" and not ends["lost"]:
        assert ends["failed"] == 2, f"{id} was tried {ends}"


def _check_ticks(ticks: list[JobRecord], began: float) -> None:
    """No tick fired twice: there are no more jobs than ticks.

    A leader that was killed is followed after 10 seconds, so a short run may have none.
    """
    seconds = time.time() - began
    most = seconds / _TICK_SECONDS + 1
    assert len(ticks) <= most, f"{len(ticks)} jobs of {most:.0f} ticks"
    assert ticks or seconds < 90, f"not one tick in {seconds:.0f} s"


async def recovery(jobs: Jobs, killed: Mapping[int, float]) -> float:
    """The longest time from a worker's death to the loss of a lease that it held.

    Then the job is anybody's again; how soon it runs depends on what else there is to do.
    """
    longest = 0.0
    for record in (await every_record(jobs)).values():
        for one in await jobs.history(record.id) if record.attempt > 1 else ():
            # A worker's name is host, process id, and a random part.
            died = [at for pid, at in killed.items() if f"-{pid}-" in (one.worker or "")]
            if one.end == "lost" and died and one.ended_at > died[0]:
                longest = max(longest, one.ended_at - died[0])
    return longest


async def remove_all(jobs: Jobs) -> set[str]:
    """Removes every record; the ids of those that there were."""
    ended = await every_record(jobs)
    await asyncio.gather(*(jobs.delete(id) for id in ended))
    left = [record.state for record in await jobs.records(limit=10)]
    assert set(left) <= {"queued", "running"}, f"cannot be removed: {left}"
    return {id for id, record in ended.items() if not is_tick(record)}
