"""The body of a request: JSON or a form, taken apart and put by argument name."""

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel
from starlette.datastructures import FormData, UploadFile

from .. import params
from ..annotations import is_bytes, is_bytes_sequence, lenient_issubclass, value_is_sequence
from ..fields import (
    ModelField,
    Undefined,
    get_cached_model_fields,
    get_missing_field_error,
    serialize_sequence_value,
)
from .aliases import param_aliases
from .form_models import form_items, form_models
from .values import validated

_Errors = list[dict[str, Any]]


def should_embed_body_fields(fields: Sequence[ModelField]) -> bool:
    """Whether each field is a key of the body, rather than one field being all of it."""
    if not fields:
        return False
    # Two dependencies may declare the same field; that is still one.
    if len({field.name for field in fields}) > 1:
        return True
    first, *others = fields
    models = form_models(first)
    if models and any(
        not form_models(other) or other.field_info.annotation is not first.field_info.annotation
        for other in others
    ):
        return True
    if getattr(first.field_info, "embed", None):
        return True
    return (
        isinstance(first.field_info, params.Form)
        and not lenient_issubclass(first.field_info.annotation, BaseModel)
        and not models
    )


async def request_body_to_args(
    body_fields: list[ModelField], received_body: Any, embed_body_fields: bool
) -> tuple[dict[str, Any], _Errors]:
    """The arguments read from the body, and the errors of those that are wrong.

    `received_body` is what JSON gave, a form, bytes of some other type, or `Undefined`.
    """
    assert body_fields, "request_body_to_args() should be called with fields"
    first = body_fields[0]
    is_whole = (
        len(body_fields) == 1
        and not embed_body_fields
        and not should_embed_body_fields(body_fields)
        and not form_models(first)
    )
    if isinstance(received_body, FormData):
        return await _form_to_args(body_fields, received_body, is_whole)
    if is_whole:
        value, errors = validated(first, received_body, ("body",))
        return {first.name: value}, errors
    return _keys_to_args(body_fields, received_body)


def _keys_to_args(fields: list[ModelField], body: Any) -> tuple[dict[str, Any], _Errors]:
    values: dict[str, Any] = {}
    errors: _Errors = []
    has_keys = body is not Undefined and not isinstance(body, bytes)
    for field in fields:
        names = [name for name, _ in param_aliases(field)]
        name = names[0]
        value: Any = Undefined
        if has_keys:
            if not hasattr(body, "get"):
                # A list, a number, a text or null where an object must be.
                errors.append(get_missing_field_error(("body", name)))
                continue
            found = ((key, body.get(key, Undefined)) for key in names)
            name, value = next((pair for pair in found if pair[1] is not Undefined), (name, value))
        _settle(field, value, ("body", name), values, errors)
    return values, errors


async def _form_to_args(
    fields: list[ModelField], form: FormData, is_whole: bool
) -> tuple[dict[str, Any], _Errors]:
    values: dict[str, Any] = {}
    errors: _Errors = []
    plain = [field for field in fields if not form_models(field)]
    items = await _read_form(plain, form) if plain else []
    if is_whole:
        whole = {name: value for name, value, _ in items}
        value, errors = validated(fields[0], whole, ("body",))
        return {fields[0].name: value}, errors
    by_field = {field.name: (name, value) for name, value, field in items if field is not None}
    for field in fields:
        models = form_models(field)
        if models:
            value = await _form_model(field, models, form)
            _settle(field, value, ("body",), values, errors)
        else:
            first_name = param_aliases(field)[0][0]
            name, value = by_field.get(field.name, (first_name, Undefined))
            _settle(field, value, ("body", name), values, errors)
    return values, errors


def _settle(
    field: ModelField,
    value: Any,
    loc: tuple[int | str, ...],
    values: dict[str, Any],
    errors: _Errors,
) -> None:
    result, wrong = validated(field, value, loc)
    if wrong:
        errors.extend(wrong)
    else:
        values[field.name] = result


async def _read_form(
    fields: list[ModelField], form: FormData
) -> list[tuple[str, Any, ModelField | None]]:
    """What the form holds, with files read where a field wants their bytes."""
    return [
        (name, await _as_bytes(field, value), field)
        for name, value, field in form_items(fields, form)
    ]


async def _as_bytes(field: ModelField | None, value: Any) -> Any:
    if field is None or not isinstance(field.field_info, params.File):
        return value
    annotation = field.field_info.annotation
    if is_bytes(annotation) and isinstance(value, UploadFile):
        return await read_file_bytes(value)
    if is_bytes_sequence(annotation) and value_is_sequence(value):
        contents = [
            await read_file_bytes(item) if isinstance(item, UploadFile) else item for item in value
        ]
        return serialize_sequence_value(field=field, value=contents)
    return value


async def read_file_bytes(file: UploadFile) -> bytes:
    """All of `file` from its position, which stays: another argument may want it too."""
    position = file.file.tell()
    try:
        return await file.read()
    finally:
        await file.seek(position)


async def _form_model(field: ModelField, models: list[type[BaseModel]], form: FormData) -> Any:
    """What the form holds for a model; `Undefined` for an optional one it has nothing of."""
    is_optional = type(None) in get_args(field.field_info.annotation)
    if is_optional and not any(_is_supplied(model, form) for model in models):
        return Undefined
    # The members of a union read the form by themselves, each in its own way.
    fields = get_cached_model_fields(models[0]) if len(models) == 1 else []
    return {name: value for name, value, _ in await _read_form(fields, form)}


def _is_supplied(model: type[BaseModel], form: FormData) -> bool:
    if model.model_config.get("extra") in ("allow", "forbid") and len(form) > 0:
        return True
    return any(
        name in form for item in get_cached_model_fields(model) for name, _ in param_aliases(item)
    )
