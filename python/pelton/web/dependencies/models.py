"""The dependency graph of an endpoint, as read from signatures at start-up."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from ..concurrency import ConcurrencyLimit
from ..fields import ModelField
from ..security.base import SecurityBase
from ..types import DependencyCacheKey
from .callables import CallKind, call_kind, unwrapped


@dataclass(eq=False)
class Dependant:
    """A callable and all it needs: an endpoint at the root, dependencies below it.

    The lists of fields say which part of the request each argument is read from; the
    ``*_param_name`` say which argument takes the request, the response and so on. The derived
    properties are computed when first asked for, after which the graph must not change.
    """

    path_params: list[ModelField] = field(default_factory=list)
    query_params: list[ModelField] = field(default_factory=list)
    header_params: list[ModelField] = field(default_factory=list)
    cookie_params: list[ModelField] = field(default_factory=list)
    body_params: list[ModelField] = field(default_factory=list)
    dependencies: list["Dependant"] = field(default_factory=list)
    name: str | None = None
    call: Callable[..., Any] | None = None
    request_param_name: str | None = None
    websocket_param_name: str | None = None
    http_connection_param_name: str | None = None
    response_param_name: str | None = None
    background_tasks_param_name: str | None = None
    security_scopes_param_name: str | None = None
    own_oauth_scopes: list[str] | None = None
    parent_oauth_scopes: list[str] | None = None
    use_cache: bool = True
    path: str | None = None
    scope: Literal["function", "request"] | None = None
    concurrency: ConcurrencyLimit | None = None
    _cache_key: DependencyCacheKey | None = field(default=None, init=False, repr=False)
    _uses_scopes: bool | None = field(default=None, init=False, repr=False)

    @property
    def kind(self) -> CallKind:
        """How `call` is called."""
        return CallKind.plain if self.call is None else call_kind(self.call)

    @property
    def is_generator(self) -> bool:
        """Whether `call` yields its value and cleans up afterwards."""
        return self.kind in (CallKind.generator, CallKind.async_generator)

    @property
    def computed_scope(self) -> str | None:
        """When it is cleaned up: as declared, else with the request; `None` if never."""
        return self.scope or ("request" if self.is_generator else None)

    @property
    def oauth_scopes(self) -> list[str]:
        """The OAuth2 scopes of its callers and its own, in order."""
        return list(dict.fromkeys((self.parent_oauth_scopes or []) + (self.own_oauth_scopes or [])))

    @property
    def security_scheme(self) -> SecurityBase | None:
        """The security scheme that it is, if it is one."""
        scheme = None if self.call is None else unwrapped(self.call)
        return scheme if isinstance(scheme, SecurityBase) else None

    @property
    def uses_scopes(self) -> bool:
        """Whether its value may depend on OAuth2 scopes."""
        if self._uses_scopes is None:
            self._uses_scopes = (
                bool(self.own_oauth_scopes)
                or self.security_scopes_param_name is not None
                or self.security_scheme is not None
                or any(below.uses_scopes for below in self.dependencies)
            )
        return self._uses_scopes

    @property
    def cache_key(self) -> DependencyCacheKey:
        """Equal for two uses that may share one value within a request."""
        if self._cache_key is None:
            scopes = tuple(sorted(set(self.oauth_scopes))) if self.uses_scopes else ()
            self._cache_key = (self.call, scopes, self.computed_scope or "")
        return self._cache_key
