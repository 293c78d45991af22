"""Jobs that wait for jobs: chains, groups, and groups with a callback."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Union

from pelton._core import Edge, JobRecord, NewJob, new_job_id
from pelton.jobs.codec import Shape
from pelton.jobs.job import ENDED, Job, State, run_blocking_here
from pelton.jobs.options import Options, patience

if TYPE_CHECKING:
    from pelton.jobs.jobs import Jobs
    from pelton.jobs.task import Task


R = TypeVar("R")

WORKFLOW_LIMIT = 100_000
"""Jobs and dependencies that one workflow may have."""

# What a step leaves: the job whose result it is, or a list of such.
_PROGRESS_SECONDS = 0.05  # between two looks at a workflow whose progress is followed

_DISTANCE = ("succeeded", "running", "queued", "scheduled", "waiting", "cancelled", "dead")
"""States, the furthest from success last."""

Ends = Union[str, list["Ends"]]  # noqa: UP007 - a recursive alias needs the string form


class Failure:
    """What a step waits for that runs on an error: the failure of these."""

    def __init__(self, ends: Ends) -> None:
        self.ends = ends


Before = Union[Ends, Failure, None]  # noqa: UP007 - a recursive alias is in it


class Step:
    """A part of a workflow; `a | b` is `chain(a, b)`."""

    # Those that follow its failure.
    errbacks: tuple[Step, ...] = ()

    def __or__(self, after: Step) -> Chain:
        return chain(self, after)

    def on_error(self, *callbacks: Step) -> Self:
        """The same step, with steps that run once if it fails, as a whole and for good.

        Each gets a dict as its first argument: `job` (the id of the first job that failed),
        `state` ("dead" or "cancelled"), `reason`, and `error` (type, message, traceback; or None).
        If the step succeeds they are cancelled, as not needed. Of a group, the first failure of a
        member counts; of a chain, any of its jobs'.
        """
        step = copy.copy(self)
        step.errbacks = (*self.errbacks, *callbacks)
        return step

    link_error = on_error  # Celery's name

    def _plan(self, plan: _Plan, before: Before) -> Ends:
        ends = self._plan_jobs(plan, before)
        for callback in self.errbacks:
            callback._plan(plan, Failure(ends))
        return ends

    def _plan_jobs(self, plan: _Plan, before: Before) -> Ends:
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
        """Writes the call as a job, like `task.enqueue`, and its error callbacks with it."""
        if self.errbacks:
            plan, _ = _planned(self)
            await plan.jobs.write(plan.new, plan.edges)
            return Job(self.task.jobs, plan.new[0].id, self.task.name)
        new = self.task.new_job(self.options, self.args, self.kwargs)
        (id,) = await self.task.jobs.write([new])
        return Job(self.task.jobs, id, self.task.name)

    def _plan_jobs(self, plan: _Plan, before: Before) -> Ends:
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

    async def enqueue(self) -> WorkflowJob:
        """Writes all jobs at once, all or none; the handle's result is the last step's."""
        plan, ends = _planned(self)
        await plan.jobs.write(plan.new, plan.edges)
        return plan.whole(ends)

    def delay(self) -> WorkflowJob:
        """`enqueue` for code that is not async: blocks until the jobs are durable."""
        plan, ends = _planned(self)
        plan.jobs.write_blocking(plan.new, plan.edges)
        return plan.whole(ends)

    def _plan_jobs(self, plan: _Plan, before: Before) -> Ends:
        for step in self.steps:
            before = step._plan(plan, before)
        assert before is not None  # a chain has a step
        assert not isinstance(before, Failure)
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
        after = Group(self.members, prologue)
        after.errbacks = self.errbacks
        return after

    async def enqueue(self) -> GroupJob:
        """Writes all jobs at once, all or none."""
        plan, ends = _planned(self)
        await plan.jobs.write(plan.new, plan.edges)
        return plan.handle(ends)

    def delay(self) -> GroupJob:
        """`enqueue` for code that is not async: blocks until the jobs are durable."""
        plan, ends = _planned(self)
        plan.jobs.write_blocking(plan.new, plan.edges)
        return plan.handle(ends)

    def _plan_jobs(self, plan: _Plan, before: Before) -> Ends:
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
        async with asyncio.timeout(patience(timeout)):
            values = {job.id: await job.result() for job in self.jobs}
        result = _fill(self._ends, values)
        assert isinstance(result, list)  # the ends of a group are a list
        return result

    async def records(self) -> list[JobRecord]:
        """What the broker knows of every job of the workflow, newest first."""
        return await self._owner.records(group=self.id, limit=self.size)

    async def progress(self) -> dict[str, int]:
        """How many jobs of the workflow are in each state."""
        return {state: n for state, n in (await self._counts()).items() if n}

    async def updates(self) -> AsyncIterator[dict[str, int]]:
        """`progress()` now, and again when it has changed, until all jobs have ended."""
        before: dict[str, int] | None = None
        while True:
            now = await self.progress()
            if now != before:
                before = now
                yield now
            if not now.keys() - ENDED:
                return
            await asyncio.sleep(_PROGRESS_SECONDS)

    async def cancel(self, reason: str = "") -> int:
        """Cancels all jobs of the workflow that have not ended; how many those were.

        Those that wait for it to fail are cancelled with it.
        """
        return await self._owner.cancel_workflow(self.id, reason)

    async def _counts(self) -> dict[str, int]:
        return await self._owner.workflow_counts(self.id)


class WorkflowJob(GroupJob):
    """The jobs of a chain or graph that was enqueued; `jobs` are the last ones."""

    def __repr__(self) -> str:
        return f"<WorkflowJob {self.id} of {self.size} jobs>"

    @property
    def last(self) -> Job[Any]:
        """The last step's job; RuntimeError where it is a group, which has several."""
        if not isinstance(self._ends, str):
            raise RuntimeError("the last step is a group, which has several: see `jobs`")
        return self.jobs[0]

    async def result(self, timeout: float | None = None) -> Any:  # noqa: ASYNC109
        """What the last step returned; of a group the list of its members' results.

        Raises what the first of its jobs in order that did not succeed raises: see `Job.result`.
        """
        async with asyncio.timeout(patience(timeout)):
            return _fill(self._ends, {job.id: await job.result() for job in self.jobs})

    async def status(self) -> State:
        """The last step's state: of a group the one that is furthest from success."""
        states = [await job.status() for job in self.jobs]
        return max(states, key=_DISTANCE.index)

    async def info(self) -> JobRecord:
        """The record of the last step's job."""
        return await self.last.info()

    def get(self, timeout: float | None = None) -> Any:
        """`result` for code that is not async; it blocks the thread, so not in a running loop."""
        return run_blocking_here(self.result(timeout))


class Graph:
    """Any order of jobs without a circle: each step says which steps' results it wants.

    `graph = Graph(); a = graph.add(fetch.s(1)); b = graph.add(join.s(), a, a2); await
    graph.enqueue()`. A step that comes after one gets its result as the first argument, after
    several the list of theirs, in the order given here.
    """

    def __init__(self) -> None:
        self._nodes: list[tuple[Signature[Any], tuple[int, ...]]] = []

    def add(self, signature: Signature[Any], *after: int) -> int:
        """Adds a step after others, which were added before; its number."""
        if any(not 0 <= number < len(self._nodes) for number in after):
            raise ValueError(f"{signature!r} comes after a step that is not in the graph")
        self._nodes.append((signature, after))
        return len(self._nodes) - 1

    async def enqueue(self) -> WorkflowJob:
        """Writes all jobs at once, all or none; `jobs` are those that no step comes after."""
        plan, ends = self._planned()
        await plan.jobs.write(plan.new, plan.edges)
        return plan.whole(ends)

    def delay(self) -> WorkflowJob:
        """`enqueue` for code that is not async: blocks until the jobs are durable."""
        plan, ends = self._planned()
        plan.jobs.write_blocking(plan.new, plan.edges)
        return plan.whole(ends)

    def _planned(self) -> tuple[_Plan, Ends]:
        if not self._nodes:
            raise ValueError("a graph needs at least one step")
        plan = _Plan()
        ends: list[Ends] = []
        for signature, after in self._nodes:
            before: Before = None
            if after:
                before = ends[after[0]] if len(after) == 1 else [ends[n] for n in after]
            ends.append(signature._plan(plan, before))
        wanted = {number for _, after in self._nodes for number in after}
        last = [end for number, end in enumerate(ends) if number not in wanted]
        return plan, last[0] if len(last) == 1 else last


def map_(task: Task[..., Any], values: Iterable[Any]) -> Group:
    """A group of one call for each value: `await map_(resize, paths).enqueue()`."""
    return group([task.si(value) for value in values])


def starmap(task: Task[..., Any], calls: Iterable[Sequence[Any]]) -> Group:
    """A group of one call for each sequence of arguments."""
    return group([task.si(*args) for args in calls])


def chunks(task: Task[..., Any], values: Iterable[Any], size: int) -> Group:
    """A group of one call for each `size` values, with their list: for work that is small."""
    if size < 1:
        raise ValueError(f"size={size!r} is not 1 or more")
    every = list(values)
    return group([task.si(every[at : at + size]) for at in range(0, len(every), size)])


def chain(*steps: Step | Iterable[Step]) -> Chain:
    """Steps one after the other: `await chain(fetch.s(url), parse.s(), store.s()).enqueue()`.

    A single argument may be an iterable of steps.
    """
    flat: list[Step] = []
    for step in _steps(steps):
        # A chain with error callbacks of its own stays one step.
        flat.extend(step.steps if isinstance(step, Chain) and not step.errbacks else (step,))
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

    def add(self, signature: Signature[Any], before: Before) -> str:
        on_failure = isinstance(before, Failure)
        if isinstance(before, Failure):
            before = before.ends
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
            # Of several failures the first is the only input.
            shape = 0 if on_failure else _positions(before, iter(range(len(parents))))
        new = task.new_job(
            signature.options, signature.args, signature.kwargs, shape=shape, group=self.id
        )
        self.new.append(new)
        self._tasks[new.id] = task.name
        for position, parent in enumerate(parents):
            self.edges.append(Edge(parent, new.id, position, on_failure=on_failure))
        return new.id

    def whole(self, ends: Ends) -> WorkflowJob:
        members = [self._job(id) for id in _leaves(ends)]
        return WorkflowJob(self.jobs, self.id, members, ends, len(self.new))

    def handle(self, ends: Ends) -> GroupJob:
        members = [self._job(id) for id in _leaves(ends)]
        return GroupJob(self.jobs, self.id, members, ends, len(self.new))

    def _job(self, id: str) -> Job[Any]:
        return Job(self.jobs, id, self._tasks[id])


def _planned(step: Step) -> tuple[_Plan, Ends]:
    plan = _Plan()
    return plan, step._plan(plan, None)


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
