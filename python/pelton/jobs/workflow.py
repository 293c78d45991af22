"""Jobs that wait for jobs: chains, groups, and groups with a callback."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, Union

from pelton._core import Edge, JobRecord, NewJob, new_job_id
from pelton.jobs.codec import Shape
from pelton.jobs.job import Job, State
from pelton.jobs.options import Options

if TYPE_CHECKING:
    from pelton.jobs.jobs import Jobs
    from pelton.jobs.task import Task


R = TypeVar("R")

WORKFLOW_LIMIT = 100_000
"""Jobs and dependencies that one workflow may have."""

# What a step leaves: the job whose result it is, or a list of such.
Ends = Union[str, list["Ends"]]  # noqa: UP007 - a recursive alias needs the string form


class Step:
    """A part of a workflow; `a | b` is `chain(a, b)`."""

    def __or__(self, after: Step) -> Chain:
        return chain(self, after)

    def _plan(self, plan: _Plan, before: Ends | None) -> Ends:
        raise NotImplementedError


class Signature(Step, Generic[R]):
    """A call that is not made yet: `task.s(...)`, or `task.si(...)` if it wants no input."""

    def __init__(
        self,
        task: Task[..., R],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        options: Options,
        *,
        immutable: bool,
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.options = options
        self.immutable = immutable

    def __repr__(self) -> str:
        args = [repr(arg) for arg in self.args]
        args += [f"{name}={value!r}" for name, value in self.kwargs.items()]
        return f"{self.task.name}({', '.join(args)})"

    async def enqueue(self) -> Job[R]:
        """Writes the call as a job, like `task.enqueue`."""
        new = self.task.new_job(self.options, self.args, self.kwargs)
        (id,) = await self.task.jobs.write([new])
        return Job(self.task.jobs, id, self.task.name)

    def _plan(self, plan: _Plan, before: Ends | None) -> Ends:
        return plan.add(self, before)


class Chain(Step):
    """Steps one after the other: each gets the result of the one before as its first argument.

    A step that is a group gives the list of its members' results. When a job of the chain is dead
    or cancelled, those after it are cancelled.
    """

    def __init__(self, steps: Sequence[Step]) -> None:
        if not steps:
            raise ValueError("a chain needs at least one step")
        self.steps = tuple(steps)

    async def enqueue(self) -> Job[Any]:
        """Writes all jobs at once, all or none; the handle is the last one's."""
        plan = self._planned()
        await plan.jobs.write(plan.new, plan.edges)
        return plan.last()

    def delay(self) -> Job[Any]:
        """`enqueue` for code that is not async: blocks until the jobs are durable."""
        plan = self._planned()
        plan.jobs.write_blocking(plan.new, plan.edges)
        return plan.last()

    def _planned(self) -> _Plan:
        if isinstance(self.steps[-1], Group):
            raise TypeError(
                "this chain ends in a group, which has many results: add a last step for their "
                "list, or enqueue `group.after(step)`"
            )
        plan = _Plan()
        self._plan(plan, None)
        return plan

    def _plan(self, plan: _Plan, before: Ends | None) -> Ends:
        for step in self.steps:
            before = step._plan(plan, before)
        assert before is not None  # a chain has a step
        return before


class Group(Step):
    """Steps side by side; their results in order make a list."""

    def __init__(self, members: Sequence[Step], prologue: Step | None = None) -> None:
        if not members:
            raise ValueError("a group needs at least one member")
        self.members = tuple(members)
        self.prologue = prologue

    def then(self, callback: Step) -> Chain:
        """Runs `callback` once all members succeeded, with the list of their results."""
        return chain(self, callback)

    def after(self, step: Step) -> Group:
        """The same group, begun once `step` succeeded; its result is each member's first input."""
        prologue = step if self.prologue is None else chain(step, self.prologue)
        return Group(self.members, prologue)

    async def enqueue(self) -> GroupJob:
        """Writes all jobs at once, all or none."""
        plan = _Plan()
        ends = self._plan(plan, None)
        await plan.jobs.write(plan.new, plan.edges)
        return plan.handle(ends)

    def delay(self) -> GroupJob:
        """`enqueue` for code that is not async: blocks until the jobs are durable."""
        plan = _Plan()
        ends = self._plan(plan, None)
        plan.jobs.write_blocking(plan.new, plan.edges)
        return plan.handle(ends)

    def _plan(self, plan: _Plan, before: Ends | None) -> Ends:
        if self.prologue is not None:
            before = self.prologue._plan(plan, before)
        return [member._plan(plan, before) for member in self.members]


class GroupJob:
    """The jobs of a group that was enqueued.

    `jobs` are those whose results count, in the order of the members (of a member that is a chain,
    its last). `id` is common to all jobs of the workflow, `size` their number.
    """

    def __init__(self, owner: Jobs, id: str, jobs: list[Job[Any]], ends: Ends, size: int) -> None:
        self._owner = owner
        self._ends = ends
        self.id = id
        self.jobs = jobs
        self.size = size

    def __repr__(self) -> str:
        return f"<GroupJob {self.id} of {len(self.jobs)} jobs>"

    async def results(self, timeout: float | None = None) -> list[Any]:  # noqa: ASYNC109
        """The members' results in order, once all have ended (a nested group's as a list).

        Raises what the first job in order that did not succeed raises: see `Job.result`.
        TimeoutError after `timeout` seconds.
        """
        async with asyncio.timeout(timeout):
            values = {job.id: await job.result() for job in self.jobs}
        result = _fill(self._ends, values)
        assert isinstance(result, list)  # the ends of a group are a list
        return result

    async def records(self) -> list[JobRecord]:
        """What the broker knows of every job of the workflow, newest first."""
        return await self._owner.records(group=self.id, limit=self.size)

    async def progress(self) -> dict[State, int]:
        """How many jobs of the workflow are in each state."""
        return dict(Counter(record.state for record in await self.records()))

    async def cancel(self, reason: str = "") -> int:
        """Cancels all jobs of the workflow that have not ended; how many those were."""
        asked = [await self._owner.cancel(r.id, reason) for r in await self.records()]
        return sum(asked)


def chain(*steps: Step | Iterable[Step]) -> Chain:
    """Steps one after the other: `await chain(fetch.s(url), parse.s(), store.s()).enqueue()`.

    A single argument may be an iterable of steps.
    """
    flat: list[Step] = []
    for step in _steps(steps):
        flat.extend(step.steps if isinstance(step, Chain) else (step,))
    return Chain(flat)


def group(*members: Step | Iterable[Step]) -> Group:
    """Steps side by side: `await group(resize.s(path, width) for width in widths).enqueue()`."""
    return Group(_steps(members))


def chord(members: Group | Iterable[Step], callback: Step) -> Chain:
    """A group and what to do with the list of its results: `group(...).then(callback)`."""
    return (members if isinstance(members, Group) else group(members)).then(callback)


def _steps(given: Sequence[Step | Iterable[Step]]) -> list[Step]:
    if len(given) == 1 and isinstance(given[0], Iterable):
        given = list(given[0])
    steps = []
    for step in given:
        if not isinstance(step, Step):
            raise TypeError(f"a workflow is made of signatures such as task.s(...), not {step!r}")
        steps.append(step)
    return steps


class _Plan:
    """The jobs and edges of a workflow, while its steps add theirs."""

    def __init__(self) -> None:
        self.id = new_job_id()
        self.new: list[NewJob] = []
        self.edges: list[Edge] = []
        self._owner: Jobs | None = None
        self._tasks: dict[str, str] = {}

    @property
    def jobs(self) -> Jobs:
        assert self._owner is not None  # every step ends in a signature
        return self._owner

    def add(self, signature: Signature[Any], before: Ends | None) -> str:
        task = signature.task
        if self._owner is None:
            self._owner = task.jobs
        elif self._owner is not task.jobs and self._owner.url != task.jobs.url:
            raise ValueError(f"{task.name} belongs to another broker than the steps before it")
        if signature.options.key is not None:
            raise ValueError(f"{task.name}: a job with a key cannot be part of a workflow")
        parents = list(_leaves(before)) if before is not None else []
        if len(self.new) + len(self.edges) + len(parents) >= WORKFLOW_LIMIT:
            raise ValueError(f"the workflow has more than {WORKFLOW_LIMIT} jobs and dependencies")
        shape: Shape | None = None
        if before is not None and not signature.immutable:
            shape = _positions(before, iter(range(len(parents))))
        new = task.new_job(
            signature.options, signature.args, signature.kwargs, shape=shape, group=self.id
        )
        self.new.append(new)
        self._tasks[new.id] = task.name
        for position, parent in enumerate(parents):
            self.edges.append(Edge(parent, new.id, position))
        return new.id

    def last(self) -> Job[Any]:
        return self._job(self.new[-1].id)

    def handle(self, ends: Ends) -> GroupJob:
        members = [self._job(id) for id in _leaves(ends)]
        return GroupJob(self.jobs, self.id, members, ends, len(self.new))

    def _job(self, id: str) -> Job[Any]:
        return Job(self.jobs, id, self._tasks[id])


def _leaves(ends: Ends) -> Iterator[str]:
    if isinstance(ends, str):
        yield ends
    else:
        for part in ends:
            yield from _leaves(part)


def _positions(ends: Ends, numbers: Iterator[int]) -> Shape:
    if isinstance(ends, str):
        return next(numbers)
    return [_positions(part, numbers) for part in ends]


def _fill(ends: Ends, values: Mapping[str, Any]) -> Any:
    if isinstance(ends, str):
        return values[ends]
    return [_fill(part, values) for part in ends]
