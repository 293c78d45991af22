"""What a route needs, read once from its `Dependant`, in the form that the compiled plan takes."""

from collections.abc import Callable
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from pydantic import Json
from pydantic_core import SchemaValidator

from . import params
from .annotations import is_sequence, model_of
from .concurrency import (
    ConcurrencyLimit,
    contextmanager_in_threadpool,
    limited,
    run_in_threadpool,
)
from .dependencies.aliases import param_aliases
from .dependencies.callables import CallKind
from .dependencies.models import Dependant
from .fields import ModelField

# Defaults of these types are shared by all requests; others are copied, as FastAPI does.
_CONSTANTS = (type(None), bool, int, float, str, bytes)

# Keys that say nothing about which input is valid.
_HARMLESS = {"type", "metadata", "serialization"}


class Unplanned(Exception):
    """A route has no plan; the message says why."""


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One value to read from the request.

    `quick` names the type (``str``, ``int``, ``float``, ``bool``) whose usual texts need no
    validator, or is empty. `make_default` is there for defaults that requests must not share.
    """

    name: str
    aliases: tuple[str, ...]
    several: bool
    required: bool
    default: Any
    make_default: Callable[[], Any] | None
    validate_default: bool
    quick: str
    validate: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class GroupSpec:
    """The fields that one part of the request gives to one callable.

    `reference`: they are read by the reference path's function, from Starlette's mapping.
    """

    location: str
    fields: tuple[FieldSpec, ...]
    originals: tuple[ModelField, ...]
    reference: bool


@dataclass(slots=True)
class NodeSpec:
    """One call: a dependency, or last of all the endpoint.

    Its arguments are `names`, in order: first its dependencies' values, then those of `groups`,
    of the body, and the objects that the framework gives, whose places the ``*_slot`` say
    (-1: none). `first` is the number of the node at which the solving of this one begins.
    """

    call: Callable[..., Any]
    kind: str
    parent: int
    parent_slot: int
    use_cache: bool
    cache_slot: int
    function_scope: bool
    manager: Callable[..., Any] | None
    names: tuple[str, ...] = ()
    groups: tuple[GroupSpec, ...] = ()
    body: tuple[FieldSpec, ...] = ()
    body_originals: tuple[ModelField, ...] = ()
    dependant: Dependant | None = None
    first: int = -1
    request_slots: tuple[int, ...] = ()
    background_slot: int = -1
    response_slot: int = -1
    scopes_slot: int = -1
    scopes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Walk:
    """Nodes in the order in which they are solved, and the numbers of their cache keys."""

    nodes: list[NodeSpec] = field(default_factory=list)
    cache_slots: dict[Any, int] = field(default_factory=dict)


def nodes_of(dependant: Dependant) -> list[NodeSpec]:
    """All calls for an endpoint, in order; raises `Unplanned` where there is no plan."""
    walk = _Walk()
    _visit(dependant, walk, is_endpoint=True)
    return walk.nodes


def _visit(dependant: Dependant, walk: _Walk, *, is_endpoint: bool = False) -> int:
    """Adds a callable after all that it depends on; gives its number."""
    names: list[str] = []
    children: list[int] = []
    first = len(walk.nodes)
    for below in dependant.dependencies:
        number = _visit(below, walk)
        children.append(number)
        if below.name is not None:
            walk.nodes[number].parent_slot = len(names)
            names.append(below.name)
    node = _node(dependant, walk, is_endpoint)
    _add_fields(node, dependant, names)
    _add_given(node, dependant, names)
    if len(set(names)) != len(names):
        raise Unplanned(f"two values for one argument of {node.call!r}")
    node.names = tuple(names)
    node.dependant = dependant
    number = len(walk.nodes)
    node.first = first
    walk.nodes.append(node)
    for child in children:
        walk.nodes[child].parent = number
    return number


def _node(dependant: Dependant, walk: _Walk, is_endpoint: bool) -> NodeSpec:
    call = dependant.call
    if call is None:
        raise Unplanned("a dependency without a callable")
    kind, call, manager = _calling(dependant, call, is_endpoint)
    key = object() if is_endpoint else dependant.cache_key
    return NodeSpec(
        call=call,
        kind=kind,
        parent=-1,
        parent_slot=-1,
        use_cache=dependant.use_cache and not is_endpoint,
        cache_slot=walk.cache_slots.setdefault(key, len(walk.cache_slots)),
        function_scope=dependant.scope == "function",
        manager=manager,
    )


_Manager = Callable[..., AbstractAsyncContextManager[Any]]


def _calling(
    dependant: Dependant, call: Callable[..., Any], is_endpoint: bool
) -> tuple[str, Callable[..., Any], _Manager | None]:
    """How it is called, what is called, and what makes its context manager if it yields."""
    kind, limit = dependant.kind, dependant.concurrency
    if is_endpoint and dependant.is_generator:
        return "stream", call, None
    if not dependant.is_generator:
        if limit is None:
            return kind.value, call, None
        return "coroutine", _limited_call(call, kind, limit), None
    manager: _Manager
    if kind is CallKind.async_generator:
        manager = asynccontextmanager(call)
    else:
        blocking = contextmanager(call)
        manager = _in_threads(blocking)
    if limit is None:
        return kind.value, call, manager
    return (
        "managed" if kind is CallKind.async_generator else kind.value,
        call,
        _limited_manager(manager, limit),
    )


def _in_threads(blocking: Callable[..., AbstractContextManager[Any]]) -> _Manager:
    return lambda **values: contextmanager_in_threadpool(blocking(**values))


def _limited_manager(manager: _Manager, limit: ConcurrencyLimit) -> _Manager:
    # The loop's semaphore is looked up for each request: an app may run on several loops.
    return lambda **values: limited(manager(**values), limit.semaphore())


def _limited_call(
    call: Callable[..., Any], kind: CallKind, limit: ConcurrencyLimit
) -> Callable[..., Any]:
    async def within(**values: Any) -> Any:
        async with limit.semaphore():
            if kind is CallKind.coroutine:
                return await call(**values)
            return await run_in_threadpool(call, **values)

    return within


def _add_fields(node: NodeSpec, dependant: Dependant, names: list[str]) -> None:
    groups = []
    for location, fields in (
        ("path", dependant.path_params),
        ("query", dependant.query_params),
        ("header", dependant.header_params),
        ("cookie", dependant.cookie_params),
    ):
        if fields:
            groups.append(_group(location, fields))
            names.extend(item.name for item in fields)
    node.groups = tuple(groups)
    node.body = tuple(field_spec(item) for item in dependant.body_params)
    node.body_originals = tuple(dependant.body_params)
    names.extend(item.name for item in dependant.body_params)


def _add_given(node: NodeSpec, dependant: Dependant, names: list[str]) -> None:
    """The arguments that the framework itself gives."""

    def place(name: str | None) -> int:
        if name is None:
            return -1
        names.append(name)
        return len(names) - 1

    slots = (
        place(dependant.http_connection_param_name),
        place(dependant.request_param_name),
    )
    node.request_slots = tuple(slot for slot in slots if slot >= 0)
    if dependant.websocket_param_name is not None:
        raise Unplanned("an argument of type WebSocket in an HTTP route")
    node.background_slot = place(dependant.background_tasks_param_name)
    node.response_slot = place(dependant.response_param_name)
    node.scopes_slot = place(dependant.security_scopes_param_name)
    node.scopes = tuple(dependant.oauth_scopes)


def _group(location: str, fields: list[ModelField]) -> GroupSpec:
    reference = any(_needs_reference(item, location) for item in fields)
    specs = tuple(field_spec(item) for item in fields)
    return GroupSpec(location, specs, tuple(fields), reference)


def _needs_reference(item: ModelField, location: str) -> bool:
    info = item.field_info
    if model_of(info.annotation) is not None:
        return True
    if any(type(mark) is Json for mark in info.metadata):
        return True
    # Cookies and paths have one value a name, so a sequence is read in a way of its own.
    return location in ("path", "cookie") and is_sequence(info.annotation)


def field_spec(item: ModelField) -> FieldSpec:
    """How the value of one field is read and validated."""
    info = item.field_info
    required = info.is_required()
    constant = False
    default = None
    if not required and info.default_factory is None:
        default = info.default
        constant = type(default) in _CONSTANTS
    return FieldSpec(
        name=item.name,
        aliases=tuple(name for _, name in param_aliases(item)),
        several=is_sequence(info.annotation),
        required=required,
        default=default if constant else None,
        make_default=None if required or constant else lambda: deepcopy(item.default),
        validate_default=bool(info.validate_default),
        quick=_quick(item) if isinstance(info, params.Param) else "",
        validate=validator_of(item),
    )


def validator_of(item: ModelField) -> Callable[..., Any]:
    """Pydantic's ``validate_python`` of a field, without TypeAdapter's frame if that can be."""
    adapter = item.type_adapter
    validator = adapter.validator
    if type(validator) is SchemaValidator:
        return validator.validate_python
    return adapter.validate_python


def _quick(item: ModelField) -> str:
    """The type of a field that any valid text of that type satisfies."""
    schema: Any = item.type_adapter.core_schema
    while schema.get("type") in ("default", "nullable"):
        wrapper = _HARMLESS | {"schema", "default", "default_factory", "validate_default"}
        if not set(schema) <= wrapper | {"copy_default", "default_factory_takes_data"}:
            return ""
        schema = schema["schema"]
    kind = schema.get("type")
    if kind in ("str", "int", "float", "bool") and set(schema) <= _HARMLESS:
        return str(kind)
    return ""
