"""Which of a router's routes to try for a path, without trying all."""

from collections.abc import Iterator
from typing import Any

from starlette.routing import BaseRoute, Match
from starlette.types import Scope

from ... import _core
from .included import MATCHED, IncludedRouter, RouteContext, match_context

# Fewer routes than this are tried one by one: that is quicker than to ask.
_MANY = 8


class RouteSearch:
    """The routes of a router at one time, those of included routers in their places.

    The index gives a few that may match, in order; they are asked as all of them would be, so
    the outcome is that of trying one after the other.
    """

    def __init__(self, routes: list[BaseRoute]) -> None:
        from .._plan_routes import pattern_of

        entries: list[tuple[BaseRoute, RouteContext | None]] = []
        for route in routes:
            if type(route) is not IncludedRouter or route.router.decides:
                entries.append((route, None))
                continue
            for found in route.candidates:
                if isinstance(found, RouteContext):
                    entries.append((route, found))
                else:
                    entries.append((found, None))
        self._entries = entries
        self._index: _core.RouteIndex | None = None
        if len(entries) >= _MANY:
            patterns = [
                pattern_of(route)
                if context is None
                else pattern_of(context.route, context.effective)
                for route, context in entries
            ]
            self._index = _core.RouteIndex(patterns)

    def matches(self, scope: Scope, path: str) -> Iterator[tuple[Match, BaseRoute, Scope]]:
        """Every route that matches the request, in order, with what it adds to the scope."""
        entries: Any = self._entries
        # Regular expressions treat line breaks in their own way.
        if self._index is not None and "\n" not in path:
            entries = map(self._entries.__getitem__, self._index.candidates(path))
        for route, context in entries:
            if context is None:
                match, found = route.matches(scope)
            else:
                match, found = match_context(context, scope)
                found = {**found, MATCHED: context}
            if match != Match.NONE:
                yield match, route, found
