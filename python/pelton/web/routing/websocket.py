"""A WebSocket endpoint with dependencies."""

from collections.abc import Callable, Sequence
from typing import Any

from starlette import routing
from starlette.routing import Match, compile_path, get_name
from starlette.types import Scope

from .. import params
from ..dependencies.body import should_embed_body_fields
from ..dependencies.flat import flat_body_params
from .handler import get_websocket_app, websocket_session
from .route import dependant_with


class APIWebSocketRoute(routing.WebSocketRoute):
    """One WebSocket endpoint; `dependant` is its graph."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        name: str | None = None,
        dependencies: Sequence[params.Depends] | None = None,
        dependency_overrides_provider: Any | None = None,
    ) -> None:
        self.path = path
        self.endpoint = endpoint
        self.name = get_name(endpoint) if name is None else name
        self.dependencies = list(dependencies or [])
        self.path_regex, self.path_format, self.param_convertors = compile_path(path)
        self.dependant = dependant_with(
            path=self.path_format, call=endpoint, dependencies=self.dependencies
        )
        self.embed_body_fields = should_embed_body_fields(flat_body_params(self.dependant))
        self.app = websocket_session(
            get_websocket_app(
                dependant=self.dependant,
                dependency_overrides_provider=dependency_overrides_provider,
                embed_body_fields=self.embed_body_fields,
            )
        )

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the handshake is for this route."""
        match, child_scope = super().matches(scope)
        if match != Match.NONE:
            child_scope["route"] = self
        return match, child_scope
