"""Parameters of a request's head: read, validated, and put by argument name."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from pydantic import BaseModel
from starlette.datastructures import Headers

from .. import params
from ..fields import ModelField, Undefined, get_cached_model_fields, get_missing_field_error
from .aliases import param_aliases
from .flat import param_model
from .multidict import extras, read


def validated(
    field: ModelField, value: Any, loc: tuple[int | str, ...]
) -> tuple[Any, list[dict[str, Any]]]:
    """`value` validated, or the default for `Undefined`; and the errors, placed at `loc`."""
    if value is Undefined:
        if field.field_info.is_required():
            return None, [get_missing_field_error(loc)]
        value = deepcopy(field.default)
        if not field.field_info.validate_default:
            return value, []
    return field.validate(value, loc=loc)


def request_params_to_args(
    fields: Sequence[ModelField], received_params: Mapping[str, Any]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The arguments read from one part of the head, and the errors of those that are wrong."""
    values: dict[str, Any] = {}
    errors: list[dict[str, Any]] = []
    for field in fields:
        model = param_model(field)
        if model is None:
            value, wrong = _single(field, received_params)
        else:
            value, wrong = _model(field, model, received_params)
        if wrong:
            errors.extend(wrong)
        else:
            values[field.name] = value
    return values, errors


def _place(field: ModelField) -> str:
    info = field.field_info
    assert isinstance(info, params.Param), "Params must be subclasses of Param"
    return info.in_.value


def _single(field: ModelField, received: Mapping[str, Any]) -> tuple[Any, list[dict[str, Any]]]:
    names = [name for _, name in param_aliases(field)]
    name = next((name for name in names if name in received), names[0])
    return validated(field, read(field, received, name), (_place(field), name))


def _model(
    model_field: ModelField, model: type[BaseModel], received: Mapping[str, Any]
) -> tuple[Any, list[dict[str, Any]]]:
    """A parameter model: each attribute from its own name, and what is left over as extra."""
    is_headers = isinstance(received, Headers)
    converts = getattr(model_field.field_info, "convert_underscores", True)
    data: dict[str, Any] = {}
    # Names that are no extras, names that belong to the model, and headers by attribute.
    used: set[str] = set()
    own_names: set[str] = set()
    header_of: dict[str, str] = {}
    for field in get_cached_model_fields(model):
        converts_field = is_headers and getattr(field.field_info, "convert_underscores", converts)
        names = param_aliases(field, convert_underscores=converts_field)
        own_names.update(name.lower() if is_headers else name for _, name in names)
        alias, name = next((pair for pair in names if pair[1] in received), names[0])
        value = read(field, received, name)
        if value is not Undefined:
            data[alias] = value
        used.add(name.lower() if is_headers else name)
        if is_headers:
            # The unconverted name of an attribute is no extra header either.
            used.update(inner.lower() for inner, outer in names if inner != outer)
            if alias != name:
                header_of[field.name] = name
    data.update(extras(received, used))
    value = data
    takes_extra = model.model_config.get("extra") in ("allow", "forbid")
    is_optional = model_field.field_info.annotation is not model
    if is_optional and not own_names.intersection(received) and not (takes_extra and data):
        value = Undefined
    result, errors = validated(model_field, value, (_place(model_field),))
    if header_of and model.model_config.get("loc_by_alias", True):
        errors = [_with_header_name(error, header_of) for error in errors]
    return result, errors


def _with_header_name(error: dict[str, Any], header_of: dict[str, str]) -> dict[str, Any]:
    loc = error["loc"]
    if len(loc) > 1 and loc[1] in header_of:
        return {**error, "loc": (loc[0], header_of[loc[1]], *loc[2:])}
    return error
