"""FastAPI's private names that its tests of behaviour reach through, over ours that do the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def add_to_routing() -> None:
    """Names of ``fastapi.routing``."""
    from pelton.web import routing
    from pelton.web.routing.included import IncludedRouter, iter_route_contexts

    def candidates(routes: Any) -> Iterator[Any]:
        for context in iter_route_contexts(routes):
            yield context.effective or context.route

    def restore(scope: Any, key: str, previous: Any) -> None:
        state = scope.get("fastapi")
        if isinstance(state, dict):
            state[key] = previous

    ours: dict[str, Any] = {
        "_IncludedRouter": IncludedRouter,
        "_iter_included_route_candidates": candidates,
        "_restore_fastapi_scope_key": restore,
    }
    for name, value in ours.items():
        setattr(routing, name, value)


def add_to_models() -> None:
    """Names of ``fastapi.dependencies.models``: functions of a callable, and of a dependant."""
    from pelton.web.dependencies import callables, models

    def is_kind(*names: str) -> Callable[[Any], bool]:
        return lambda call: callables.call_kind(call).value in names

    def of_dependant(name: str) -> Callable[..., Any]:
        return lambda *, dependant, cache=None: getattr(dependant, name)

    ours: dict[str, Any] = {
        "_is_gen_callable": is_kind("generator"),
        "_is_async_gen_callable": is_kind("async_generator"),
        "_is_coroutine_callable": is_kind("coroutine"),
        "_get_cache_key": of_dependant("cache_key"),
        "_get_computed_scope": of_dependant("computed_scope"),
        "_get_oauth_scopes": of_dependant("oauth_scopes"),
        "_get_security_scheme": of_dependant("security_scheme"),
        "_is_security_scheme": lambda *, dependant: dependant.security_scheme is not None,
        "_uses_scopes": of_dependant("uses_scopes"),
    }
    for kind in ("gen", "async_gen", "coroutine"):
        ours[f"_is_{kind}_callable_cached"] = callables._kind_of
    for name, value in ours.items():
        setattr(models, name, value)
