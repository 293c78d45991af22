"""The one field that stands for a whole body in OpenAPI."""

from collections.abc import Sequence
from copy import copy, deepcopy
from functools import partial
from typing import Annotated, Any, cast, get_args

from pydantic import AliasChoices, BaseModel, ConfigDict, GetJsonSchemaHandler, GetPydanticSchema
from pydantic_core import CoreSchema

from .. import params
from ..fields import ModelField, create_body_model, create_model_field, get_cached_model_fields
from .aliases import get_validation_alias, param_aliases
from .form_models import form_model, form_models


def get_body_field(
    *, body_params: list[ModelField], name: str, embed_body_fields: bool
) -> ModelField | None:
    """A field that describes the body: the only one, or a model of all of them.

    It says whether the body is a form and what its schema is; validation is done by the fields
    of `body_params` themselves. `name` is the operation's unique id.
    """
    if not body_params:
        return None
    first = body_params[0]
    if not embed_body_fields and not any(_is_optional_form_model(field) for field in body_params):
        return first
    model = _combined_model(body_params, "Body_" + name)
    if embed_body_fields:
        return _embedding(body_params, model)
    info = copy(first.field_info)
    info.annotation = model
    # The parameter itself carries these.
    info.metadata = []
    info.discriminator = None
    return ModelField(name=first.name, field_info=info)


def _is_optional_form_model(field: ModelField) -> bool:
    return bool(form_models(field)) and type(None) in get_args(field.field_info.annotation)


def _embedding(body_params: list[ModelField], model: type[BaseModel]) -> ModelField:
    infos = [field.field_info for field in body_params]
    options: dict[str, Any] = {"annotation": model, "alias": "body"}
    if not any(info.is_required() for info in infos):
        options["default"] = None
    kind: type[params.Body] = params.Body
    if any(isinstance(info, params.File) for info in infos):
        kind = params.File
    else:
        if any(isinstance(info, params.Form) for info in infos):
            kind = params.Form
        types = [info.media_type for info in infos if isinstance(info, kind)]
        if kind is params.Form and "multipart/form-data" in types:
            options["media_type"] = "multipart/form-data"
        elif len(set(types)) == 1:
            options["media_type"] = types[0]
    return create_model_field(name="body", type_=model, alias="body", field_info=kind(**options))


def _combined_model(body_params: list[ModelField], model_name: str) -> type[BaseModel]:
    if not any(form_models(field) for field in body_params):
        return create_body_model(fields=body_params, model_name=model_name)
    # Forms are flat: the models' attributes stand beside the plain fields. The model is made
    # with placeholder names, and its schema rewritten to what the form really holds.
    stand_ins = [_stand_in(index, field) for index, field in enumerate(body_params)]
    config: ConfigDict = {"json_schema_extra": partial(_flatten_form_schema, body_params)}
    return create_body_model(fields=stand_ins, model_name=model_name, config=config)


def _stand_in(index: int, field: ModelField) -> ModelField:
    info = copy(field.field_info)
    model = form_model(field)
    if model is not None:
        renamed: Any = Annotated[
            model,
            GetPydanticSchema(get_pydantic_json_schema=partial(_schema_by_request_names, model)),
        ]
        info.annotation = cast(Any, renamed if info.annotation is model else renamed | None)
    info.alias = info.validation_alias = info.serialization_alias = f"field_{index}"
    info.title = info.title or field.name.replace("_", " ").title()
    return ModelField(name=f"field_{index}", field_info=info)


def _schema_by_request_names(
    model: type[BaseModel], core_schema: CoreSchema, handler: GetJsonSchemaHandler
) -> dict[str, Any]:
    """The model's schema with the names that its attributes have in a form."""
    schema = handler(core_schema)
    resolved = handler.resolve_ref_schema(schema)
    required = resolved.get("required", [])
    names = _names_in_request(model, resolved.get("properties", {}), required)
    if not names:
        return schema
    # A copy: the model's own schema may be used elsewhere.
    result = deepcopy(resolved)
    result["properties"] = {
        names.get(name, [name])[0]: value for name, value in result["properties"].items()
    }
    result["required"] = []
    for name in required:
        choices = names.get(name, [name])
        if len(choices) == 1:
            result["required"].append(choices[0])
        else:
            any_of = [{"required": [choice]} for choice in choices]
            result.setdefault("allOf", []).append({"anyOf": any_of})
    return result


def _names_in_request(
    model: type[BaseModel], properties: dict[str, Any], required: Sequence[str]
) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for field in get_cached_model_fields(model):
        alias = field.field_info.validation_alias
        name = alias.choices[0] if isinstance(alias, AliasChoices) else get_validation_alias(field)
        names = [name for name, _ in param_aliases(field)]
        differs = names[0] != name or (len(names) > 1 and name in required)
        if isinstance(name, str) and name in properties and differs:
            found[name] = names
    return found


def _flatten_form_schema(body_params: list[ModelField], schema: dict[str, Any]) -> None:
    """Rewrites the schema of placeholder names into that of one flat form."""
    by_index = schema.pop("properties")
    schema.pop("required", None)
    properties: dict[str, Any] = {}
    required: list[str] = []
    conditions: list[dict[str, Any]] = []
    for index, field in enumerate(body_params):
        part = by_index[f"field_{index}"]
        if form_models(field):
            conditions.extend(_model_conditions(field, part))
            continue
        name = param_aliases(field)[0][0]
        if name in properties:
            conditions.append({"properties": {name: part}})
        else:
            properties[name] = part
        if field.field_info.is_required() and name not in required:
            required.append(name)
    if properties:
        schema["properties"] = properties
    if required:
        schema["required"] = required
    schema["allOf"] = conditions


def _model_conditions(field: ModelField, part: dict[str, Any]) -> list[dict[str, Any]]:
    part.pop("default", None)
    if type(None) not in get_args(field.field_info.annotation):
        return [part]
    # A form cannot say null: an optional model is left out by leaving its fields out.
    part["anyOf"] = [choice for choice in part["anyOf"] if choice.get("type") != "null"]
    absent = _absence(form_models(field))
    if field.field_info.is_required():
        return [{"not": absent}, part]
    return [{"anyOf": [absent, part]}]


def _absence(models: list[type[BaseModel]]) -> dict[str, Any]:
    if any(model.model_config.get("extra") in ("allow", "forbid") for model in models):
        return {"maxProperties": 0}
    names = sorted(
        {
            name
            for model in models
            for item in get_cached_model_fields(model)
            for name, _ in param_aliases(item)
        }
    )
    return {"not": {"anyOf": [{"required": [name]} for name in names]}} if names else {}
