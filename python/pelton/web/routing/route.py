"""A path operation: an endpoint with everything about it worked out at start-up."""

import inspect
from collections.abc import Callable, Coroutine, Sequence
from contextvars import ContextVar
from dataclasses import replace
from enum import Enum, IntEnum
from typing import Any

from starlette import routing
from starlette.convertors import CONVERTOR_TYPES
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import PARAM_REGEX, BaseRoute, Match, compile_path, get_name
from starlette.types import ASGIApp, Receive, Scope, Send
from typing_extensions import Unpack

# `routing_names`: looked up where instrumentation replaces it.
from .. import _plan, params
from .. import routing as routing_names
from ..annotations import lenient_issubclass
from ..datastructures import Default, DefaultPlaceholder
from ..dependencies.analysis import (
    get_dependant,
    get_parameterless_sub_dependant,
    get_path_param_names,
    get_stream_item_type,
    get_typed_return_annotation,
)
from ..dependencies.body import should_embed_body_fields
from ..dependencies.body_field import get_body_field
from ..dependencies.flat import flat_body_params
from ..dependencies.models import Dependant
from ..fields import ModelField, create_model_field
from ..guard.app import DeadlineOption, Guard, GuardedApp
from ..guard.limits import Limit
from ..sse import EventSourceResponse, ServerSentEvent
from ..types import IncEx
from ..utils import is_body_allowed_for_status_code
from .handler import request_response
from .options import OperationOptions, show_options, with_defaults

# The route as an inclusion sees it, while its own `get_route_handler` builds the handler.
_being_included: ContextVar["APIRoute | None"] = ContextVar("being_included", default=None)

# The convertors that are Starlette's own, and of which all is known beforehand.
_CONVERTORS = frozenset(("str", "path", "int", "float", "uuid"))

EFFECTIVE_ROUTE = "effective_route_context"
"""Key in the scope's ``fastapi`` dict: the matched route with its full path and options."""


def effective_route(scope: Scope) -> Any:
    """The route that was matched, as the inclusion that it was reached through sees it."""
    return scope.get("fastapi", {}).get(EFFECTIVE_ROUTE)


def dependant_with(
    *, path: str, call: Callable[..., Any], dependencies: Sequence[params.Depends]
) -> Dependant:
    """The graph of an endpoint, with `dependencies` called before its own."""
    dependant = get_dependant(path=path, call=call, scope="function")
    dependant.dependencies[:0] = [
        get_parameterless_sub_dependant(depends=depends, path=path) for depends in dependencies
    ]
    return dependant


class APIRoute(routing.Route):
    """One path operation.

    `dependant` is the endpoint's graph, `body_field` its whole body, `response_field` what the
    response is validated and serialized by. Derive from it and override `get_route_handler` to
    wrap the handling of requests; pass the class as a router's `route_class`.
    """

    original_route: "APIRoute"
    """The route as it was declared: itself, or what an inclusion was made from."""

    stream_item_type: Any | None
    response_model: Any
    summary: str | None
    response_description: str
    deprecated: bool | None
    operation_id: str | None
    response_model_include: IncEx | None
    response_model_exclude: IncEx | None
    response_model_by_alias: bool
    response_model_exclude_unset: bool
    response_model_exclude_defaults: bool
    response_model_exclude_none: bool
    include_in_schema: bool
    response_class: type[Response] | DefaultPlaceholder
    dependency_overrides_provider: Any | None
    callbacks: list[BaseRoute] | None
    openapi_extra: dict[str, Any] | None
    generate_unique_id_function: "Callable[[APIRoute], str] | DefaultPlaceholder"
    limits: list[Limit]
    deadline: DeadlineOption
    cancel_on_disconnect: bool | None
    guard: Guard | None
    strict_content_type: bool | DefaultPlaceholder
    tags: list[str | Enum]
    responses: dict[int | str, dict[str, Any]]
    unique_id: str
    status_code: int | None
    response_field: ModelField | None
    stream_item_field: ModelField | None
    dependencies: list[params.Depends]
    description: str
    response_fields: dict[int | str, ModelField]
    dependant: Dependant
    embed_body_fields: bool
    body_field: ModelField | None
    is_sse_stream: bool
    is_json_stream: bool

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: set[str] | list[str] | None = None,
        dependency_overrides_provider: Any | None = None,
        strict_content_type: bool | DefaultPlaceholder = Default(True),
        **options: Unpack[OperationOptions],
    ) -> None:
        self.original_route = self
        self.stream_item_type = None
        self.declare(
            path,
            endpoint,
            methods=methods,
            dependency_overrides_provider=dependency_overrides_provider,
            strict_content_type=strict_content_type,
            **options,
        )
        if not self._is_usual:
            self.app = self._build_app()

    @property
    def _is_usual(self) -> bool:
        """Whether nobody can tell when its handler is built."""
        return type(self).get_route_handler is APIRoute.get_route_handler

    def __getattr__(self, name: str) -> Any:
        # What takes long and is not asked for before the first request, if ever.
        if name == "app":
            self.app = self._build_app()
            return self.app
        if name == "path_regex":
            self.path_regex = compile_path(self.path)[0]
            return self.path_regex
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _read_path(self, path: str) -> None:
        matches = list(PARAM_REGEX.finditer(path))
        names = [match[1] for match in matches]
        kinds = [(match[2] or ":str")[1:] for match in matches]
        if not path.startswith("/") or len(set(names)) < len(names) or set(kinds) - _CONVERTORS:
            # Refuses what is wrong, and reads the user's convertors as they are now.
            self.path_regex, self.path_format, self.param_convertors = compile_path(path)
            return
        self.__dict__.pop("path_regex", None)
        self.path_format = PARAM_REGEX.sub(r"{\1}", path)
        self.param_convertors = dict(
            zip(names, map(CONVERTOR_TYPES.__getitem__, kinds), strict=True)
        )

    def declare(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        methods: set[str] | list[str] | None,
        dependency_overrides_provider: Any | None,
        strict_content_type: bool | DefaultPlaceholder,
        **options: Unpack[OperationOptions],
    ) -> None:
        """Sets all attributes from the declaration. Called by `__init__` and by inclusions."""
        declared = with_defaults(options, type(self).__name__)
        self.path = path
        self.endpoint = endpoint
        self.dependency_overrides_provider = dependency_overrides_provider
        self.strict_content_type = strict_content_type
        for name in _PLAIN_OPTIONS:
            setattr(self, name, declared[name])
        self.tags = declared["tags"] or []
        self.responses = declared["responses"] or {}
        self.dependencies = list(declared["dependencies"] or [])
        self.limits = list(declared["limits"] or [])
        self.guard = Guard.of(self.limits, declared["deadline"], declared["cancel_on_disconnect"])
        self.name = get_name(endpoint) if declared["name"] is None else declared["name"]
        self._read_path(path)
        self.methods = {method.upper() for method in methods or ["GET"]}
        status = declared["status_code"]
        self.status_code = int(status) if isinstance(status, IntEnum) else status
        text = declared["description"] or inspect.cleandoc(endpoint.__doc__ or "")
        # A form feed in the docstring ends what is documented.
        self.description = text.split("\f")[0].strip()
        self.unique_id = self.operation_id or self._generate_unique_id()
        assert callable(endpoint), "An endpoint must be a callable"
        self._analyze_request()
        self._analyze_response(declared["response_model"])

    def _generate_unique_id(self) -> str:
        generate = self.generate_unique_id_function
        if isinstance(generate, DefaultPlaceholder):
            generate = generate.value
        return str(generate(self))

    def _analyze_request(self) -> None:
        self.dependant = self._included_dependant() or dependant_with(
            path=self.path_format, call=self.endpoint, dependencies=self.dependencies
        )
        body_params = flat_body_params(self.dependant)
        self.embed_body_fields = should_embed_body_fields(body_params)
        self.body_field = get_body_field(
            body_params=body_params,
            name=self.unique_id,
            embed_body_fields=self.embed_body_fields,
        )

    def _included_dependant(self) -> Dependant | None:
        """The original's graph with the inclusion's dependencies, if its path changes nothing."""
        original = self.original_route
        if original is self:
            return None
        own, declared = original.dependant, original.dependencies
        added = len(self.dependencies) - len(declared)
        # Somebody may have changed what was declared since.
        is_as_declared = own.call is self.endpoint and [
            id(below.call) for below in own.dependencies[: len(declared)]
        ] == [id(depends.dependency) for depends in declared]
        names, original_names = map(get_path_param_names, (self.path_format, original.path_format))
        if added < 0 or not is_as_declared or names != original_names:
            return None
        before = [
            get_parameterless_sub_dependant(depends=depends, path=self.path_format)
            for depends in self.dependencies[:added]
        ]
        return replace(own, path=self.path_format, dependencies=before + own.dependencies)

    def _analyze_response(self, response_model: Any) -> None:
        self.response_fields = {
            status: field
            for status, response in self.responses.items()
            if (field := self._additional_field(status, response)) is not None
        }
        yields = self.dependant.is_generator
        is_default = isinstance(self.response_class, DefaultPlaceholder)
        is_events = lenient_issubclass(self.response_class, EventSourceResponse)
        self.is_sse_stream = yields and is_events
        self.is_json_stream = yields and is_default
        if isinstance(response_model, DefaultPlaceholder):
            annotation = get_typed_return_annotation(self.endpoint)
            item = get_stream_item_type(annotation) if yields else None
            if lenient_issubclass(annotation, Response):
                response_model = None
            elif item is not None:
                response_model = None
                if (is_default or is_events) and not lenient_issubclass(item, ServerSentEvent):
                    self.stream_item_type = item
            else:
                response_model = annotation
        self.response_model = response_model
        if response_model:
            assert is_body_allowed_for_status_code(self.status_code), (
                f"Status code {self.status_code} must not have a response body"
            )
        self.response_field = self._output_field("Response_", response_model)
        self.stream_item_field = self._output_field("StreamItem_", self.stream_item_type)

    def _additional_field(self, status: int | str, response: Any) -> ModelField | None:
        assert isinstance(response, dict), "An additional response must be a dict"
        model = response.get("model")
        if model:
            assert is_body_allowed_for_status_code(status), (
                f"Status code {status} must not have a response body"
            )
        return self._output_field(f"Response_{status}_", model)

    def _output_field(self, prefix: str, type_: Any) -> ModelField | None:
        if not type_:
            return None
        return create_model_field(name=prefix + self.unique_id, type_=type_, mode="serialization")

    def _build_app(self) -> ASGIApp:
        """The ASGI app of this route, behind its guard if it has one."""
        app = self._own_app()
        return app if self.guard is None else GuardedApp(app, self.guard)

    def _own_app(self) -> ASGIApp:
        """The compiled plan if there is one, else the handler's.

        An inclusion's handler comes from the original's own `get_route_handler`.
        """
        token = _being_included.set(self)
        try:
            if self._is_usual:
                compiled = _plan.compile_route(self)
                if compiled is not None:
                    return compiled
            return request_response(self.original_route.get_route_handler())
        finally:
            _being_included.reset(token)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The function from request to response: the reference path, which plans shorten.

        An override is called once for the route and once for each inclusion of its router;
        what it gives is used as it is.
        """
        route = _being_included.get()
        if route is None or route.original_route is not self:
            route = self
        return routing_names.get_request_handler(
            dependant=route.dependant,
            body_field=route.body_field,
            status_code=route.status_code,
            response_class=route.response_class,
            response_field=route.response_field,
            response_model_include=route.response_model_include,
            response_model_exclude=route.response_model_exclude,
            response_model_by_alias=route.response_model_by_alias,
            response_model_exclude_unset=route.response_model_exclude_unset,
            response_model_exclude_defaults=route.response_model_exclude_defaults,
            response_model_exclude_none=route.response_model_exclude_none,
            dependency_overrides_provider=route.dependency_overrides_provider,
            embed_body_fields=route.embed_body_fields,
            strict_content_type=route.strict_content_type,
            stream_item_field=route.stream_item_field,
            is_json_stream=route.is_json_stream,
        )

    def build_included_app(self) -> None:
        """Builds the app of an inclusion, at once if its class may notice when."""
        self.__dict__.pop("app", None)
        if not self._is_usual:
            self.app = self._build_app()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Whether the request is for this route; as seen by the inclusion being tried."""
        seen = effective_route(scope)
        route = seen if seen is not None and seen.original_route is self else self
        match, child_scope = routing.Route.matches(route, scope)
        if match != Match.NONE:
            child_scope["route"] = self.original_route
        return match, child_scope

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the request: 405 for another method, else what the endpoint gives."""
        seen = effective_route(scope)
        route = seen if seen is not None and seen.original_route is self else self
        await routing.Route.handle(route, scope, receive, send)


# Options that are attributes as they come.
_PLAIN_OPTIONS = (
    "summary",
    "response_description",
    "deprecated",
    "operation_id",
    "response_model_include",
    "response_model_exclude",
    "response_model_by_alias",
    "response_model_exclude_unset",
    "response_model_exclude_defaults",
    "response_model_exclude_none",
    "include_in_schema",
    "response_class",
    "callbacks",
    "openapi_extra",
    "generate_unique_id_function",
    "deadline",
    "cancel_on_disconnect",
)


show_options(APIRoute.__init__)
