"""From the signature of an endpoint to its dependency graph."""

import inspect
import re
import sys
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from types import FunctionType
from typing import Any, Literal, get_args, get_origin

from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.websockets import WebSocket

from .. import params
from ..annotations import evaluate, lenient_issubclass
from ..concurrency import ConcurrencyLimit
from ..exceptions import DependencyScopeError
from ..fields import ModelField
from ..security.scopes import SecurityScopes
from .models import Dependant
from .parameter import analyze_param

_STREAMS = (AsyncIterable, AsyncIterator, AsyncGenerator, Iterable, Iterator, Generator)
# What an argument of each type receives; Request and WebSocket before their base.
_PROVIDED = (
    (Request, "request_param_name"),
    (WebSocket, "websocket_param_name"),
    (HTTPConnection, "http_connection_param_name"),
    (Response, "response_param_name"),
    (BackgroundTasks, "background_tasks_param_name"),
    (SecurityScopes, "security_scopes_param_name"),
)
_LISTS = {
    params.ParamTypes.path: "path_params",
    params.ParamTypes.query: "query_params",
    params.ParamTypes.header: "header_params",
    params.ParamTypes.cookie: "cookie_params",
}


def get_dependant(
    *,
    path: str,
    call: Callable[..., Any],
    name: str | None = None,
    own_oauth_scopes: list[str] | None = None,
    parent_oauth_scopes: list[str] | None = None,
    use_cache: bool = True,
    scope: Literal["function", "request"] | None = None,
    concurrency: ConcurrencyLimit | None = None,
) -> Dependant:
    """The graph of `call`, an endpoint at `path` or a dependency of one.

    Raises `AssertionError` for arguments that contradict themselves, `DependencyScopeError`
    where a dependency would outlive one that it needs, `FastAPIError` for impossible types.
    """
    dependant = Dependant(
        call=call,
        name=name,
        path=path,
        use_cache=use_cache,
        scope=scope,
        concurrency=concurrency,
        own_oauth_scopes=own_oauth_scopes,
        parent_oauth_scopes=parent_oauth_scopes,
    )
    path_param_names = get_path_param_names(path)
    for param_name, param in get_typed_signature(call).parameters.items():
        details = analyze_param(
            param_name=param_name,
            annotation=param.annotation,
            value=param.default,
            path_param_names=path_param_names,
        )
        if details.depends is not None:
            dependant.dependencies.append(_below(dependant, param_name, details.depends))
        elif details.field is not None:
            _add_field(dependant, details.field)
        else:
            _add_provided(dependant, param_name, details.type_annotation)
    return dependant


def _below(dependant: Dependant, name: str, depends: params.Depends) -> Dependant:
    if (
        dependant.is_generator
        and dependant.computed_scope == "request"
        and depends.scope == "function"
    ):
        caller = getattr(dependant.call, "__name__", "<unnamed_callable>")
        raise DependencyScopeError(
            f'The dependency "{caller}" has a scope of '
            '"request", it cannot depend on dependencies with scope "function".'
        )
    assert depends.dependency is not None
    assert dependant.path is not None
    return get_dependant(
        path=dependant.path,
        call=depends.dependency,
        name=name,
        own_oauth_scopes=_scopes_of(depends),
        parent_oauth_scopes=(dependant.parent_oauth_scopes or [])
        + (dependant.own_oauth_scopes or []),
        use_cache=depends.use_cache,
        scope=depends.scope,
        concurrency=depends.limit,
    )


def _scopes_of(depends: params.Depends) -> list[str]:
    return list(depends.scopes or []) if isinstance(depends, params.Security) else []


def _add_field(dependant: Dependant, field: ModelField) -> None:
    info = field.field_info
    if isinstance(info, params.Body):
        dependant.body_params.append(field)
        return
    assert isinstance(info, params.Param), (
        f"non-body parameters must be in path, query, header or cookie: {field.name}"
    )
    getattr(dependant, _LISTS[info.in_]).append(field)


def _add_provided(dependant: Dependant, name: str, annotation: Any) -> None:
    for provided, attribute in _PROVIDED:
        if lenient_issubclass(annotation, provided):
            setattr(dependant, attribute, name)
            return


def get_parameterless_sub_dependant(*, depends: params.Depends, path: str) -> Dependant:
    """The graph of a dependency whose value nobody takes (``dependencies=[…]``)."""
    assert callable(depends.dependency), (
        "A parameter-less dependency must have a callable dependency"
    )
    return get_dependant(
        path=path,
        call=depends.dependency,
        scope=depends.scope,
        concurrency=depends.limit,
        own_oauth_scopes=_scopes_of(depends),
    )


def get_path_param_names(path: str) -> set[str]:
    """The names between braces in `path`."""
    return set(re.findall("{(.*?)}", path))


def _signature(call: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(call, eval_str=True)
    except NameError:
        # A name that only type checkers see; the annotations are evaluated one by one later.
        if sys.version_info >= (3, 14):
            from annotationlib import Format

            return inspect.signature(call, annotation_format=Format.FORWARDREF)
        return inspect.signature(call)


def _namespace(call: Callable[..., Any]) -> dict[str, Any]:
    found: dict[str, Any] = getattr(inspect.unwrap(call), "__globals__", {})
    return found


def get_typed_signature(call: Callable[..., Any]) -> inspect.Signature:
    """The signature of `call`, its annotations evaluated as far as they can be."""
    signature = _signature(call)
    if not any(isinstance(param.annotation, str) for param in signature.parameters.values()):
        return signature
    namespace = _namespace(call)
    return inspect.Signature(
        [
            param.replace(annotation=get_typed_annotation(param.annotation, namespace))
            for param in signature.parameters.values()
        ]
    )


def get_typed_annotation(annotation: Any, globalns: dict[str, Any]) -> Any:
    """`annotation`, evaluated if it is text."""
    return evaluate(annotation, globalns) if isinstance(annotation, str) else annotation


def get_typed_return_annotation(call: Callable[..., Any]) -> Any:
    """What `call` is annotated to return; `None` if it does not say."""
    if type(call) is FunctionType and not call.__dict__:
        # Without a signature, which takes ten times as long.
        annotation = call.__annotations__.get("return", inspect.Signature.empty)
        if isinstance(annotation, str):
            annotation = _signature(call).return_annotation
    else:
        annotation = _signature(call).return_annotation
    if annotation is inspect.Signature.empty:
        return None
    return get_typed_annotation(annotation, _namespace(call))


def get_stream_item_type(annotation: Any) -> Any | None:
    """The type of the items of an iterator or generator annotation; `None` for no stream."""
    if get_origin(annotation) not in _STREAMS:
        return None
    arguments = get_args(annotation)
    return arguments[0] if arguments else Any
