"""`tasks`: the tasks of a loop, where each stands, and who awaits whom."""

from __future__ import annotations

import asyncio
import os
import traceback
from dataclasses import dataclass
from typing import Any, Literal

from pelton.observe.awaiters import awaiters

__all__ = ["TaskInfo", "format_tasks", "tasks"]

# Coroutines within each other that are followed.
_DEPTH_MAX = 100
_ASYNCIO = os.path.dirname(asyncio.__file__)


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """One task that is not done."""

    id: int
    """Tells it from the others; `id()` of the task."""
    name: str
    coroutine: str
    """The qualified name of what it runs."""
    state: Literal["running", "ready", "waiting"]
    """`running`: this very task asks; `ready`: it waits for its turn of the loop."""
    stack: tuple[traceback.FrameSummary, ...]
    """Its coroutines, the outermost first, each with the line that it awaits at."""
    waits_for: str
    """The kind of thing it waits for, as `Future`; empty if it does not."""
    awaited_by: tuple[int, ...]
    """Tasks that wait for it: by `await`, `gather`, `wait`, `shield`, or in a task group."""

    def __str__(self) -> str:
        """One line: name, coroutine, state and place."""
        text = f"{self.name}: {self.coroutine} {self.state}"
        if self.waits_for:
            text += f" for {self.waits_for}"
        if self.stack:
            # asyncio's own coroutines say little: the line that called them says more.
            own = [frame for frame in self.stack if os.path.dirname(frame.filename) != _ASYNCIO]
            place = (own or self.stack)[-1]
            text += f" at {os.path.basename(place.filename)}:{place.lineno}"
        return text


def tasks(loop: asyncio.AbstractEventLoop | None = None) -> list[TaskInfo]:
    """All tasks of `loop` that are not done, by default of the running loop.

    It works on any asyncio loop, and from any thread when `loop` is given. The edges are read from
    the tasks' callbacks, so what a library hides in callbacks of its own is not seen.

    Raises RuntimeError without a running loop.
    """
    if loop is None:
        loop = asyncio.get_running_loop()
    current = asyncio.current_task(loop)
    found = sorted(asyncio.all_tasks(loop), key=_age)
    return [_info(task, current) for task in found]


def format_tasks(loop: asyncio.AbstractEventLoop | None = None) -> str:
    """The tasks as a tree: each under those that wait for it, one a line."""
    known = {info.id: info for info in tasks(loop)}
    children: dict[int, list[int]] = {}
    for info in known.values():
        for parent in info.awaited_by:
            children.setdefault(parent, []).append(info.id)
    lines: list[str] = []
    shown: set[int] = set()

    def show(task: int, indent: str, branch: str, below: str) -> None:
        again = task in shown
        lines.append(f"{indent}{branch}{known[task]}{' (see above)' if again else ''}")
        if again:  # awaited by several, or, in a deadlock, by itself
            return
        shown.add(task)
        inner = children.get(task, [])
        for n, child in enumerate(inner):
            last = n == len(inner) - 1
            show(child, indent + below, "└─ " if last else "├─ ", "   " if last else "│  ")

    for info in known.values():
        if not any(parent in known for parent in info.awaited_by):
            show(info.id, "", "", "")
    for task in known:  # those that wait for each other have no root
        if task not in shown:
            show(task, "", "", "")
    return "\n".join(lines)


def _info(task: asyncio.Task[Any], current: asyncio.Task[Any] | None) -> TaskInfo:
    coroutine = task.get_coro()
    waiter = getattr(task, "_fut_waiter", None)
    state: Literal["running", "ready", "waiting"] = "waiting" if waiter is not None else "ready"
    return TaskInfo(
        id=id(task),
        name=task.get_name(),
        coroutine=getattr(coroutine, "__qualname__", type(coroutine).__qualname__),
        state="running" if task is current else state,
        stack=_stack(coroutine),
        waits_for=_kind(waiter),
        awaited_by=tuple(sorted(id(other) for other in awaiters(task) if not other.done())),
    )


def _kind(waiter: Any) -> str:
    if waiter is None:
        return ""
    if isinstance(waiter, asyncio.Task):
        return f"task {waiter.get_name()}"
    return type(waiter).__qualname__


def _stack(awaitable: Any) -> tuple[traceback.FrameSummary, ...]:
    stack: list[traceback.FrameSummary] = []
    while awaitable is not None and len(stack) < _DEPTH_MAX:
        for prefix, inner in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(awaitable, f"{prefix}_frame", None)
            if frame is not None:
                code = frame.f_code
                summary = traceback.FrameSummary(
                    code.co_filename, frame.f_lineno, code.co_qualname, lookup_line=False
                )
                stack.append(summary)
                awaitable = getattr(awaitable, inner)
                break
        else:
            break
    return tuple(stack)


def _age(task: asyncio.Task[Any]) -> tuple[int, str]:
    """Names that asyncio gives count up: older ones first, then those with names of their own."""
    name = task.get_name()
    number = name.removeprefix("Task-")
    return (int(number), name) if number.isdigit() else (1 << 62, name)
