"""`awaiters`: which tasks wait for a future, read from its callbacks."""

from __future__ import annotations

import asyncio
import functools
import gc
from collections.abc import Iterator
from typing import Any

# Futures and callbacks between a task and the one that waits for it: a gather of shields has three.
_DEPTH_MAX = 12
_COMPILED = "pelton._core"
# Where task groups (asyncio's, AnyIO's, our own) keep the task that they belong to.
_HOSTS = ("_parent_task", "_host_task", "cancel_scope")


def awaiters(future: asyncio.Future[Any]) -> set[asyncio.Task[Any]]:
    """The tasks that go on, or fail, when `future` is done."""
    found: set[asyncio.Task[Any]] = set()
    nursery = getattr(getattr(future, "_pelton_scopes", None), "nursery", None)
    if nursery is not None:
        found.add(nursery.parent_task)
    seen: set[int] = {id(future)}
    level: list[Any] = list(_callbacks(future))
    for _ in range(_DEPTH_MAX):
        below: list[Any] = []
        for item in level:
            if id(item) in seen:
                continue
            seen.add(id(item))
            if isinstance(item, asyncio.Task):
                found.add(item)
            else:
                below.extend(_leads(item))
        if not below:
            break
        level = below
    return found


def _callbacks(future: asyncio.Future[Any]) -> Iterator[Any]:
    for callback, *_ in getattr(future, "_callbacks", None) or ():
        yield callback


def _leads(item: Any) -> Iterator[Any]:
    """What may lead from `item`, a callback or something it knows, to a task."""
    if asyncio.isfuture(item):
        yield from _callbacks(item)
        return
    if isinstance(item, functools.partial):
        yield item.func
        yield from filter(asyncio.isfuture, item.args)
        return
    if type(item).__module__ == _COMPILED:
        yield from _compiled_leads(item)
        return
    owner = getattr(item, "__self__", None)
    if owner is not None:
        yield owner
    for cell in getattr(item, "__closure__", None) or ():
        try:
            content = cell.cell_contents
        except ValueError:  # not yet filled
            continue
        # Other things that a closure knows would lead anywhere.
        if asyncio.isfuture(content) or hasattr(content, "_getters") or _host(content) is not None:
            yield content
    host = _host(item)
    if host is not None:
        yield host
    # The queue that as_completed waits on, or, from 3.13 on, the iterator that has it.
    yield from getattr(getattr(item, "_done", item), "_getters", ())


def _compiled_leads(item: Any) -> Iterator[Any]:
    """The same for what `pelton.aio` makes, which shows what it knows to the collector alone."""
    host = _host(item)
    if host is not None:
        yield host
        return
    for known in gc.get_referents(item):
        # A task here is one that is waited for: those that wait are woken through a future.
        if type(known).__module__ == _COMPILED or (
            asyncio.isfuture(known) and not isinstance(known, asyncio.Task)
        ):
            yield known


def _host(item: Any) -> Any:
    """The task of a task group, or of a cancel scope within it."""
    if isinstance(item, type):
        return None
    for name in _HOSTS:
        host = getattr(item, name, None)
        if host is not None:
            return host
    return None
