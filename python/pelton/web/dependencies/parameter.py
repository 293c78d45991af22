"""One argument of an endpoint: what its annotation and default say it is."""

import dataclasses
import inspect
from copy import copy
from dataclasses import dataclass
from typing import Annotated, Any, TypeGuard, get_args, get_origin

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from starlette.background import BackgroundTasks
from starlette.requests import HTTPConnection
from starlette.responses import Response
from typing_inspection.typing_objects import is_typealiastype

from .. import params
from ..annotations import (
    is_scalar,
    is_scalar_sequence,
    is_upload,
    is_upload_sequence,
    lenient_issubclass,
    model_of,
)
from ..fields import (
    ModelField,
    RequiredParam,
    Undefined,
    copy_field_info,
    create_model_field,
)
from ..security.scopes import SecurityScopes
from .form_models import union_models, with_union_validators
from .multipart import ensure_multipart_is_installed

_MISSING = inspect.Signature.empty
# Given by the framework, not by the request. (Request and WebSocket derive from HTTPConnection.)
_PROVIDED = (HTTPConnection, Response, BackgroundTasks, SecurityScopes)


@dataclass
class ParamDetails:
    """What an argument is: a dependency, a field of the request, or (neither) an object of the
    framework's, told by its type."""

    type_annotation: Any
    depends: params.Depends | None
    field: ModelField | None


def analyze_param(
    *, param_name: str, annotation: Any, value: Any, path_param_names: set[str]
) -> ParamDetails:
    """Reads one argument, with its `annotation` and default `value` (or `Signature.empty`).

    Raises `AssertionError` where annotation and default contradict each other or the type does
    not fit the place it is read from.
    """
    is_path_param = param_name in path_param_names
    if is_typealiastype(annotation):
        annotation = annotation.__value__
    full: Any = Any if annotation is _MISSING else annotation
    plain = get_args(full)[0] if get_origin(full) is Annotated else full
    info, depends = _from_annotated(param_name, full, value, is_path_param)
    info, depends = _from_default(param_name, value, plain, info, depends)
    if depends is not None:
        if depends.dependency is None:
            depends = dataclasses.replace(depends, dependency=plain)
        return ParamDetails(type_annotation=plain, depends=depends, field=None)
    if lenient_issubclass(plain, _PROVIDED):
        assert info is None, f"Cannot specify FastAPI annotation for type {plain!r}"
        return ParamDetails(type_annotation=plain, depends=None, field=None)
    if info is None:
        info = _inferred(full, plain, value, is_path_param)
    field = _make_field(param_name, full, info, path_param_names)
    return ParamDetails(type_annotation=plain, depends=None, field=field)


def _from_annotated(
    name: str, full: Any, value: Any, is_path_param: bool
) -> tuple[FieldInfo | None, params.Depends | None]:
    """The last of our marks in an ``Annotated``, with `value` as its default."""
    if get_origin(full) is not Annotated:
        return None, None
    marks = [
        mark
        for mark in get_args(full)[1:]
        if isinstance(mark, (params.Param, params.Body, params.Depends))
    ]
    if not marks:
        return None, None
    if isinstance(marks[-1], params.Depends):
        return None, marks[-1]
    # A copy: the mark may be shared by arguments with different defaults.
    info = copy_field_info(field_info=marks[-1], annotation=full)
    assert info.default == Undefined or info.default == RequiredParam, (
        f"`{type(info).__name__}` default value cannot be set in"
        f" `Annotated` for {name!r}. Set the default value with `=` instead."
    )
    if value is _MISSING:
        info.default = RequiredParam
    else:
        assert not is_path_param, "Path parameters cannot have default values"
        info.default = value
    return info, None


def _from_default(
    name: str,
    value: Any,
    plain: Any,
    info: FieldInfo | None,
    depends: params.Depends | None,
) -> tuple[FieldInfo | None, params.Depends | None]:
    """The mark written as the default, refused where the annotation has one too."""
    if isinstance(value, params.Depends):
        assert depends is None, (
            f"Cannot specify `Depends` in `Annotated` and default value together for {name!r}"
        )
        assert info is None, (
            "Cannot specify a FastAPI annotation in `Annotated` and `Depends` as a"
            f" default value together for {name!r}"
        )
        return None, value
    if isinstance(value, FieldInfo):
        assert info is None, (
            "Cannot specify FastAPI annotations in `Annotated` and default value"
            f" together for {name!r}"
        )
        value.annotation = plain
        return value, depends
    return info, depends


def _inferred(full: Any, plain: Any, value: Any, is_path_param: bool) -> FieldInfo:
    """The mark of an argument that has none: path, file, body or query, by name and type."""
    default = RequiredParam if value is _MISSING else value
    info: FieldInfo
    if is_path_param:
        # A default is ignored: the same function may serve another path without this part.
        info = params.Path(annotation=full)
    elif is_upload(plain) or is_upload_sequence(plain):
        info = params.File(default, annotation=full)
    elif not is_scalar(plain):
        info = params.Body(default, annotation=full)
    else:
        info = params.Query(default, annotation=full)
    if get_origin(full) is not Annotated:
        return info
    merged = copy_field_info(field_info=info, annotation=full)
    merged.default = info.default
    if is_path_param:
        merged.default_factory = None
    return merged


def _make_field(
    name: str, annotation: Any, info: FieldInfo, path_param_names: set[str]
) -> ModelField:
    is_path_param = name in path_param_names
    if is_path_param:
        assert isinstance(info, params.Path), (
            f"Cannot use `{type(info).__name__}` for path param {name!r}"
        )
    elif isinstance(info, params.Param) and getattr(info, "in_", None) is None:
        info.in_ = params.ParamTypes.query
    if isinstance(info, params.Form):
        ensure_multipart_is_installed()
        if union_models(info.annotation):
            info.annotation = with_union_validators(info.annotation)
    info = _resolve_path_choice(info, path_param_names)
    if not info.alias:
        converts = getattr(info, "convert_underscores", None)
        info.alias = name.replace("_", "-") if converts else name
    field = create_model_field(
        name=name, type_=annotation, default=info.default, alias=info.alias, field_info=info
    )
    if is_path_param:
        assert is_scalar_field(field), "Path params must be of one of the supported types"
    elif isinstance(info, params.Query):
        assert (
            is_scalar_field(field)
            or is_scalar_sequence(info.annotation)
            or model_of(info.annotation) is not None
        ), f"Query parameter {name!r} must be one of the supported types"
    return field


def _resolve_path_choice(info: FieldInfo, path_param_names: set[str]) -> FieldInfo:
    """Of several possible names of a path parameter, the one that the path has."""
    choices = info.validation_alias
    if isinstance(info, params.Path) and _all_text(choices):
        for choice in choices.choices:
            if choice in path_param_names:
                # A copy: another route may resolve the same mark to another name.
                info = copy(info)
                info.validation_alias = str(choice)
                break
    return info


def _all_text(choices: Any) -> TypeGuard[AliasChoices]:
    return isinstance(choices, AliasChoices) and all(
        isinstance(choice, str) for choice in choices.choices
    )


def is_scalar_field(field: ModelField) -> bool:
    """Whether the field can be read from one piece of text outside the body."""
    info = field.field_info
    return is_scalar(info.annotation) and not isinstance(info, params.Body)
