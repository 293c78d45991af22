"""How a dependency or endpoint is called: awaited, iterated, or run in a thread."""

import inspect
import sys
from collections.abc import Callable
from enum import Enum
from functools import lru_cache, partial
from types import FunctionType
from typing import Any

if sys.version_info >= (3, 13):
    from inspect import iscoroutinefunction
else:
    # Knows the mark that older libraries put on functions which return coroutines.
    from asyncio import iscoroutinefunction


class CallKind(Enum):
    """What calling gives."""

    plain = "plain"
    """A value; the call may block."""
    coroutine = "coroutine"
    """Something to await."""
    generator = "generator"
    """A generator: set up, yield a value, clean up; may block."""
    async_generator = "async_generator"
    """An asynchronous generator."""


def without_partial(call: Callable[..., Any]) -> Callable[..., Any]:
    """The function inside any number of `functools.partial`."""
    while isinstance(call, partial):
        call = call.func
    return call


def unwrapped(call: Callable[..., Any]) -> Callable[..., Any]:
    """The function inside partials and the wrappers made with `functools.wraps`."""
    innermost: Callable[..., Any] = inspect.unwrap(without_partial(call))
    return innermost


class _ById:
    """A callable as a cache key, without asking the callable for its hash or equality."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call

    def __hash__(self) -> int:
        return id(self.call)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _ById) and self.call is other.call


def _matches(call: Callable[..., Any], test: Callable[[Any], bool], routine_only: bool) -> bool:
    """Whether `call`, what it wraps, or (for an object) its ``__call__`` passes `test`."""
    forms = (without_partial(call), unwrapped(call))
    if any(test(form) and (not routine_only or inspect.isroutine(form)) for form in forms):
        return True
    if inspect.isclass(forms[1]):
        return False
    for form in forms:
        method = getattr(form, "__call__", None)  # noqa: B004 - the method itself is wanted
        if method is not None and (test(without_partial(method)) or test(unwrapped(method))):
            return True
    return False


def _kind_of_function(call: FunctionType) -> CallKind:
    """The kind of a function that nobody has marked or wrapped: its code says it."""
    flags = call.__code__.co_flags
    if flags & inspect.CO_ASYNC_GENERATOR:
        return CallKind.async_generator
    if flags & inspect.CO_GENERATOR:
        return CallKind.generator
    return CallKind.coroutine if flags & inspect.CO_COROUTINE else CallKind.plain


@lru_cache(maxsize=4096)
def _kind_of(key: _ById) -> CallKind:
    call = key.call
    if type(call) is FunctionType and not call.__dict__:
        return _kind_of_function(call)
    # A wrapper may be of another kind than what it wraps: the asynchronous kind decides.
    if _matches(call, inspect.isasyncgenfunction, routine_only=False):
        return CallKind.async_generator
    if _matches(call, inspect.isgeneratorfunction, routine_only=False):
        return CallKind.generator
    if _matches(call, iscoroutinefunction, routine_only=True):
        return CallKind.coroutine
    return CallKind.plain


def call_kind(call: Callable[..., Any]) -> CallKind:
    """How to call `call`: looks through partials, wrappers and ``__call__``."""
    return _kind_of(_ById(call))
