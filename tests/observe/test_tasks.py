"""The task tree: where tasks stand, and who awaits whom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

import pelton
from pelton import aio, observe


@pytest.fixture(params=[asyncio.SelectorEventLoop, pelton.new_event_loop])
def runner(request: pytest.FixtureRequest) -> asyncio.Runner:
    factory: Callable[[], asyncio.AbstractEventLoop] = request.param
    return asyncio.Runner(loop_factory=factory)


async def park(gate: asyncio.Event) -> None:
    await gate.wait()


async def settle() -> None:
    """Let tasks that were just made come to where they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


def by_name(infos: list[observe.TaskInfo]) -> dict[str, observe.TaskInfo]:
    return {info.name: info for info in infos}


def test_state_and_place(runner: asyncio.Runner) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        task = asyncio.create_task(park(gate), name="parked")
        fresh = asyncio.create_task(park(gate), name="fresh")
        assert by_name(observe.tasks())["parked"].state == "ready"
        await settle()
        infos = by_name(observe.tasks())
        parked = infos["parked"]
        assert parked.state == "waiting"
        assert parked.waits_for == "Future"
        assert parked.coroutine == "park"
        assert [frame.name for frame in parked.stack] == ["park", "Event.wait"]
        assert f"test_tasks.py:{parked.stack[0].lineno}" in str(parked)
        assert infos["Task-1" if "Task-1" in infos else next(iter(infos))].state == "running"
        gate.set()
        await asyncio.gather(task, fresh)
        assert "parked" not in by_name(observe.tasks())

    with runner:
        runner.run(main())


async def by_await(task: asyncio.Task[None], _: Any) -> None:
    await task


async def by_gather(task: asyncio.Task[None], library: Any) -> None:
    await library.gather(task)


async def by_shield(task: asyncio.Task[None], library: Any) -> None:
    await library.shield(task)


async def by_wait(task: asyncio.Task[None], library: Any) -> None:
    await library.wait([task])


async def by_wait_for(task: asyncio.Task[None], library: Any) -> None:
    await library.wait_for(task, 60)


async def by_as_completed(task: asyncio.Task[None], library: Any) -> None:
    for next_one in library.as_completed([task]):
        await next_one


async def by_gathered_shields(task: asyncio.Task[None], library: Any) -> None:
    await library.gather(library.shield(task), library.shield(task))


WAYS = [
    by_await, by_gather, by_shield, by_wait, by_wait_for, by_as_completed, by_gathered_shields,
]  # fmt: skip


@pytest.mark.parametrize("library", [asyncio, aio], ids=["asyncio", "aio"])
@pytest.mark.parametrize("way", WAYS)
def test_who_awaits_whom(runner: asyncio.Runner, way: Callable[..., object], library: Any) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        task = asyncio.create_task(park(gate), name="awaited")
        waiting: asyncio.Task[None] = asyncio.create_task(way(task, library), name="awaiting")  # type: ignore[arg-type]
        await settle()
        infos = by_name(observe.tasks())
        assert infos["awaited"].awaited_by == (infos["awaiting"].id,)
        tree = observe.format_tasks().splitlines()
        above = next(n for n, line in enumerate(tree) if line.startswith("awaiting: "))
        assert tree[above + 1].startswith("└─ awaited: park waiting for Future at test_tasks.py:")
        gate.set()
        await waiting

    with runner:
        runner.run(main())


@pytest.mark.parametrize("group_type", [asyncio.TaskGroup, aio.TaskGroup])
def test_a_task_group_is_seen(runner: asyncio.Runner, group_type: Any) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        async with group_type() as group:
            group.create_task(park(gate), name="one")
            group.create_task(park(gate), name="two")
            await settle()
            infos = by_name(observe.tasks())
            me = id(asyncio.current_task())
            assert infos["one"].awaited_by == infos["two"].awaited_by == (me,)
            gate.set()

    with runner:
        runner.run(main())


def test_a_nursery_is_seen(runner: asyncio.Runner) -> None:
    async def main() -> None:
        gate = asyncio.Event()
        async with pelton.open_nursery() as nursery:
            nursery.start_soon(park, gate, name="one")
            await settle()
            me = id(asyncio.current_task())
            assert by_name(observe.tasks())["one"].awaited_by == (me,)
            gate.set()

    with runner:
        runner.run(main())


def test_a_deadlock_is_shown(runner: asyncio.Runner) -> None:
    async def main() -> None:
        pair: list[asyncio.Task[None]] = []
        gate = asyncio.Event()

        async def wait_for_the_other(other: int) -> None:
            out = asyncio.ensure_future(gate.wait())
            await asyncio.wait([pair[other], out], return_when=asyncio.FIRST_COMPLETED)

        pair += [asyncio.create_task(wait_for_the_other(n), name=f"half {n}") for n in (1, 0)]
        await settle()
        text = observe.format_tasks()
        assert "(see above)" in text
        assert {info.name for info in observe.tasks()} >= {"half 0", "half 1"}
        assert all(f"half {n}: " in text for n in (0, 1))
        gate.set()  # without this way out their cancellation would go round for ever

    with runner:
        runner.run(main())


def test_another_thread_may_ask(runner: asyncio.Runner) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        infos = await asyncio.to_thread(observe.tasks, loop)
        assert len(infos) == 1
        assert infos[0].state in ("running", "waiting")  # the thread may be the faster one

    with runner:
        runner.run(main())


def test_without_a_loop() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        observe.tasks()
