"""JSON Schemas of fields, and the models that several of them share."""

from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, JsonSchemaValue
from pydantic_core import core_schema

from ..annotations import lenient_issubclass
from ..fields import Mode, ModelField, get_model_fields
from .constants import REF_TEMPLATE

FieldMapping = dict[tuple[ModelField, JsonSchemaMode], JsonSchemaValue]
"""The schema of each field, reading or writing."""


class _SchemaGenerator(GenerateJsonSchema):
    """Pydantic's, with bytes as OpenAPI 3.1 describes them."""

    def bytes_schema(self, schema: core_schema.BytesSchema) -> JsonSchemaValue:
        result = {"type": "string", "contentMediaType": "application/octet-stream"}
        is_output = self.mode == "serialization"
        mode = self._config.ser_json_bytes if is_output else self._config.val_json_bytes
        if mode == "base64":
            result["contentEncoding"] = "base64"
        self.update_with_validations(result, schema, self.ValidationsMapping.bytes)
        return result


def get_definitions(
    *, fields: Sequence[ModelField], separate_input_output_schemas: bool = True
) -> tuple[FieldMapping, dict[str, dict[str, Any]]]:
    """The schema of each of `fields`, and the definitions that these refer to.

    A model that reads and writes differently has two definitions, unless
    `separate_input_output_schemas` is false.
    """
    declared = {field.field_info.annotation for field in fields}
    # Models inside others come as fields of their own, so that names never depend on which
    # field mentions a model first.
    inner = [
        ModelField(field_info=FieldInfo(annotation=model), name=model.__name__, mode=mode)
        for mode in _MODES
        for model in _models_in([field for field in fields if field.mode == mode])
        if model not in declared
    ]
    inputs: list[Any] = [
        (
            field,
            field.mode if _differs(field, separate_input_output_schemas) else "validation",
            field.type_adapter.core_schema,
        )
        for field in [*fields, *inner]
    ]
    generator = _SchemaGenerator(ref_template=REF_TEMPLATE)
    mapping, definitions = generator.generate_definitions(inputs=inputs)
    result: dict[str, dict[str, Any]] = {}
    for name, definition in definitions.items():
        if "description" in definition:
            # What follows a form feed in a docstring is not documented.
            definition["description"] = definition["description"].split("\f")[0]
        result[str(name)] = definition
    return mapping, result


_MODES: tuple[Mode, ...] = ("validation", "serialization")


def _differs(field: ModelField, separate: bool) -> bool:
    return separate or _has_computed_fields(field)


def schema_of(
    field: ModelField,
    mapping: FieldMapping,
    *,
    separate_input_output_schemas: bool = True,
    name: str | None = None,
) -> dict[str, Any]:
    """The schema of one field, titled by `name` (its alias by default) if it has no title."""
    mode: Mode = field.mode
    if not _differs(field, separate_input_output_schemas):
        mode = "validation"
    if name is None:
        is_input = field.mode == "validation"
        name = (field.validation_alias if is_input else field.serialization_alias) or field.alias
    schema = dict(mapping[(field, mode)])
    if "$ref" not in schema:
        schema["title"] = field.field_info.title or name.title().replace("_", " ")
    return schema


def _has_computed_fields(field: ModelField) -> bool:
    core: Any = field.type_adapter.core_schema
    # A dataclass may have them too.
    if core.get("schema", {}).get("computed_fields", []):
        return True
    return _computes(field.field_info.annotation, set())


def _computes(annotation: Any, seen: set[Any]) -> bool:
    if not lenient_issubclass(annotation, BaseModel):
        return any(_computes(argument, seen) for argument in get_args(annotation))
    if annotation in seen:
        return False
    seen.add(annotation)
    return bool(annotation.model_computed_fields) or any(
        _computes(info.annotation, seen) for info in annotation.model_fields.values()
    )


def _models_in(fields: Sequence[ModelField]) -> list[Any]:
    """Every model and enumeration in the annotations of `fields`, however deep."""
    found: dict[Any, None] = {}

    def visit(annotation: Any) -> None:
        for part in _parts(annotation):
            if part in found:
                continue
            if lenient_issubclass(part, BaseModel):
                found[part] = None
                for field in get_model_fields(part):
                    visit(field.field_info.annotation)
            elif lenient_issubclass(part, Enum):
                found[part] = None

    for field in fields:
        visit(field.field_info.annotation)
    return list(found)


def _parts(annotation: Any) -> Iterator[Any]:
    """The classes in a type expression."""
    if get_origin(annotation) is None or lenient_issubclass(annotation, (BaseModel, Enum)):
        if isinstance(annotation, type):
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _parts(argument)
