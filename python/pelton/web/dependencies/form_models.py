"""Forms that are declared as models: alone, optional, or one of several in a union."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Json, Tag
from starlette.datastructures import FormData

from .. import params
from ..annotations import bare, is_union, lenient_issubclass, model_of
from ..fields import ModelField, Undefined, get_cached_model_fields
from .aliases import param_aliases
from .multidict import extras, read


def is_json_field(field: ModelField) -> bool:
    """Whether the field's text is itself JSON (``Json[…]``)."""
    return any(type(item) is Json for item in field.field_info.metadata)


def union_models(annotation: Any) -> list[type[BaseModel]]:
    """The models of a union of two models or more; nothing for any other annotation."""
    if not is_union(annotation):
        return []
    members = [bare(member) for member in get_args(annotation) if member is not type(None)]
    models = [member for member in members if lenient_issubclass(member, BaseModel)]
    return models if len(models) == len(members) > 1 else []


def form_models(field: ModelField) -> list[type[BaseModel]]:
    """The models that a whole form is read into for `field`; empty for a plain form field."""
    info = field.field_info
    if not isinstance(info, params.Form) or info.embed or is_json_field(field):
        return []
    model = model_of(info.annotation)
    return union_models(info.annotation) if model is None else [model]


def form_model(field: ModelField) -> type[BaseModel] | None:
    """The one model that a whole form is read into for `field`."""
    models = form_models(field)
    return models[0] if len(models) == 1 else None


def form_items(
    fields: list[ModelField], form: FormData
) -> Iterator[tuple[str, Any, ModelField | None]]:
    """What `form` holds: ``(name, value, field)`` for each field it has, then all the rest."""
    known: set[str] = set()
    for field in fields:
        for alias, _ in param_aliases(field):
            known.add(alias)
            value = read(field, form, alias)
            if value is not Undefined:
                yield alias, value, field
                # The field's other names may belong to other fields.
                break
    for key, value in extras(form, known):
        yield key, value, None


def with_union_validators(annotation: Any) -> Any:
    """A union of form models in which each reads the form by its own shape.

    A name given twice is a list for the model that wants a list, and one value for the other.
    """
    choices: list[Any] = []
    for choice in get_args(annotation):
        if choice is type(None):
            choices.append(choice)
            continue
        model, metadata = choice, []
        if get_origin(choice) is Annotated:
            model, *metadata = get_args(choice)
        reshape = BeforeValidator(partial(_reshape, model=model))
        # Errors name the branch by this tag; a discriminator's own tag is kept.
        own_tags = [item for item in metadata if isinstance(item, Tag)]
        tag = own_tags[-1] if own_tags else Tag(model.__name__)
        choices.append(Annotated[choice, reshape, tag])
    return Union[tuple(choices)]  # noqa: UP007 - made of a list


def _reshape(value: Any, *, model: type[BaseModel]) -> Any:
    if not isinstance(value, dict):
        return value
    form = FormData([(key, item) for key, held in value.items() for item in _as_list(held)])
    shaped = {alias: item for alias, item, _ in form_items(get_cached_model_fields(model), form)}
    # A form cannot hold these; a validator that ran before may have put them here.
    shaped.update({key: item for key, item in value.items() if item is None or item == []})
    return shaped


def _as_list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
