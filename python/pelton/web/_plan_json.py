"""What of a model's schema the compiled core may do by itself: reading and writing JSON text.

Both answer from Pydantic's core schema, and only for what is known to come out the same.
"""

from __future__ import annotations

from types import GetSetDescriptorType
from typing import Any

from .fields import ModelField

Writer = tuple[Any, ...]
"""How a type is written: its kind and what belongs to it (see ``web/writer.rs``)."""

# Keys of a schema that say nothing about how its values are read or written.
_SILENT = {"type", "metadata", "ref", "strict", "cls", "model_name", "title"}
# Settings of a model that do not change how it is read or written.
_HARMLESS_CONFIG = {
    "title",
    "extra_fields_behavior",
    "from_attributes",
    "validate_by_alias",
    "validate_by_name",
    "populate_by_name",
    "loc_by_alias",
    "frozen",
    "regex_engine",
    "hide_input_in_errors",
    "validation_error_cause",
    "cache_strings",
    "arbitrary_types_allowed",
    "validate_default",
    "validate_assignment",
    "str_strip_whitespace",
    "str_to_lower",
    "str_to_upper",
    "str_min_length",
    "str_max_length",
}
_SCALARS = {"str", "int", "float", "bool", "none"}
_FUNCTIONS = {"function-before", "function-after", "function-wrap"}


class _Unlike(Exception):
    """Pydantic must do it."""


class _Schemas:
    """The named schemas that references lead to."""

    def __init__(self, schema: Any) -> None:
        self._named: dict[str, Any] = {}
        self._open: set[str] = set()
        self.root = schema
        if schema["type"] == "definitions":
            self._named = {item["ref"]: item for item in schema["definitions"]}
            self.root = schema["schema"]

    def enter(self, schema: Any) -> tuple[Any, str]:
        """What a reference leads to, and its name to `leave`; schemas that hold themselves are
        refused."""
        name = schema.get("schema_ref") or schema.get("ref") or ""
        if schema["type"] == "definition-ref":
            schema = self._named.get(name)
        if schema is None or (name and name in self._open):
            raise _Unlike
        self._open.add(name)
        return schema, name

    def leave(self, name: str) -> None:
        """Ends what `enter` began."""
        self._open.discard(name)


def writer_of(field: ModelField, *, by_alias: bool) -> Writer | None:
    """How results of a response field are written; `None` where Pydantic must."""
    try:
        schemas = _Schemas(field.type_adapter.core_schema)
        return _writer(schemas.root, schemas, by_alias, is_inside=False)
    except _Unlike:
        return None


def _writer(schema: Any, schemas: _Schemas, by_alias: bool, *, is_inside: bool) -> Writer:
    """`is_inside`: of a model's instance, which is not validated again, so that neither
    constraints nor validators matter."""
    # Before a reference is followed, and after: each may have a serializer of its own.
    if "serialization" in schema:
        raise _Unlike
    schema, name = schemas.enter(schema)
    kind = schema["type"]
    if "serialization" in schema:
        raise _Unlike
    if kind == "model":
        found = _model_writer(schema, schemas, by_alias)
    elif kind in ("nullable", "default") or (kind in _FUNCTIONS and is_inside):
        inner = _writer(schema["schema"], schemas, by_alias, is_inside=is_inside)
        found = ("nullable", inner) if kind == "nullable" else inner
        if not is_inside:
            _allow(schema, {"schema", "default", "default_factory"})
    elif kind in _SCALARS or kind == "any":
        found = (kind,)
        if not is_inside:
            _allow(schema, set())
    elif kind == "union":
        found = ("union", _choices(schema, schemas, by_alias, is_inside))
    elif kind == "list":
        items = schema.get("items_schema", {"type": "any"})
        found = ("list", _writer(items, schemas, by_alias, is_inside=is_inside))
        if not is_inside:
            _allow(schema, {"items_schema"})
    elif kind == "dict":
        keys = schema.get("keys_schema", {"type": "any"})
        if _writer(keys, schemas, by_alias, is_inside=is_inside) != ("str",):
            raise _Unlike
        values = schema.get("values_schema", {"type": "any"})
        found = ("dict", _writer(values, schemas, by_alias, is_inside=is_inside))
        if not is_inside:
            _allow(schema, {"keys_schema", "values_schema"})
    else:
        raise _Unlike
    schemas.leave(name)
    return found


def _choices(schema: Any, schemas: _Schemas, by_alias: bool, is_inside: bool) -> list[Writer]:
    """The members of a union that a value's own type tells apart."""
    if not is_inside:
        _allow(schema, {"choices"})
    choices = []
    for choice in schema["choices"]:
        # A member may come with a label.
        member = choice[0] if isinstance(choice, tuple) else choice
        choices.append(_writer(member, schemas, by_alias, is_inside=is_inside))
    if any(kind not in _SCALARS | {"model"} for kind, *_ in choices):
        raise _Unlike
    return choices


def _allow(schema: Any, keys: set[str]) -> None:
    if not set(schema) <= _SILENT | keys:
        raise _Unlike


def _model_writer(schema: Any, schemas: _Schemas, by_alias: bool) -> Writer:
    _allow(schema, {"schema", "config", "custom_init", "root_model", "post_init"})
    fields = _fields_of(schema)
    if not _has_usual_attributes(schema["cls"]):
        raise _Unlike
    if schema.get("root_model") or not set(schema.get("config", {})) <= _HARMLESS_CONFIG:
        raise _Unlike
    written = []
    for name, item in fields["fields"].items():
        if item.get("serialization_exclude") or "serialization_exclude_if" in item:
            raise _Unlike
        key = item.get("serialization_alias", name) if by_alias else name
        written.append((name, key, _writer(item["schema"], schemas, by_alias, is_inside=True)))
    return ("model", schema["cls"], written)


def _has_usual_attributes(cls: type) -> bool:
    """Whether an instance's ``__dict__`` is what its slot holds."""
    found = next(vars(base)["__dict__"] for base in cls.__mro__ if "__dict__" in vars(base))
    usual: Any = object.__getattribute__
    return type(found) is GetSetDescriptorType and cls.__getattribute__ is usual


def _fields_of(schema: Any) -> Any:
    """The fields of a model that has nothing but fields."""
    fields = schema["schema"]
    while fields["type"] in _FUNCTIONS and "serialization" not in fields:
        fields = fields["schema"]
    allowed = {"type", "fields", "model_name", "computed_fields", "metadata", "extra_behavior"}
    if fields["type"] != "model-fields" or not set(fields) <= allowed:
        raise _Unlike
    behaviors = (fields.get("extra_behavior"), _config(schema).get("extra_fields_behavior"))
    if fields.get("computed_fields") or "allow" in behaviors:
        raise _Unlike
    return fields


def _config(schema: Any) -> dict[str, Any]:
    found: dict[str, Any] = schema.get("config", {})
    return found


def reads_json_alike(field: ModelField) -> bool:
    """Whether JSON text that `validate_json` takes is what `validate_python` makes of the same
    text parsed first. (Errors are always those of the latter.)

    Pydantic is stricter, or more lenient, with text than with objects where a type is strict,
    has a text form of its own in a union, or is the user's.
    """
    try:
        schemas = _Schemas(field.type_adapter.core_schema)
        _reads_alike(schemas.root, schemas)
    except _Unlike:
        return False
    return True


# Text is read as these types in the same way wherever it comes from, but for unions, which ask
# how well each member fits.
_TEXTS = {"date", "datetime", "time", "timedelta", "uuid"}

_LIMITS = {
    *("precision", "microseconds_precision", "version"),
    *("min_length", "max_length", "pattern", "strip_whitespace", "to_lower", "to_upper"),
    *("regex_engine", "ge", "gt", "le", "lt", "multiple_of", "allow_inf_nan"),
}


def _reads_alike(schema: Any, schemas: _Schemas) -> None:
    schema, name = schemas.enter(schema)
    kind = schema["type"]
    # Of what is strict, text and objects differ; of default factories, the times they are called.
    if schema.get("strict") or "default_factory" in schema:
        raise _Unlike
    if kind in _SCALARS | _TEXTS or kind == "any":
        _allow(schema, _LIMITS | {"serialization"})
    elif kind == "literal":
        if not all(type(value) is str for value in schema["expected"]):
            raise _Unlike
    elif kind == "enum":
        _allow(schema, {"members", "sub_type"})
    elif kind == "union":
        _allow(schema, {"choices"})
        if not all(
            isinstance(item, dict) and item["type"] in _SCALARS for item in schema["choices"]
        ):
            raise _Unlike
        for item in schema["choices"]:
            _reads_alike(item, schemas)
    elif kind == "tagged-union":
        _allow(schema, {"choices", "discriminator", "from_attributes"})
        if not isinstance(schema["discriminator"], str):
            raise _Unlike
        for item in schema["choices"].values():
            _reads_alike(item, schemas)
    elif kind in ("nullable", "default"):
        _allow(schema, {"schema", "default", "validate_default", "serialization"})
        _reads_alike(schema["schema"], schemas)
    elif kind == "list":
        _allow(schema, {"items_schema", "min_length", "max_length", "serialization"})
        _reads_alike(schema.get("items_schema", {"type": "any"}), schemas)
    elif kind == "dict":
        _allow(schema, {"keys_schema", "values_schema", "min_length", "max_length"})
        if schema.get("keys_schema", {"type": "str"}) != {"type": "str"}:
            raise _Unlike
        _reads_alike(schema.get("values_schema", {"type": "any"}), schemas)
    elif kind == "model":
        _allow(schema, {"schema", "config", "custom_init", "root_model", "serialization"})
        if (
            schema.get("custom_init")
            or schema.get("root_model")
            or not set(_config(schema)) <= _HARMLESS_CONFIG
        ):
            raise _Unlike
        fields = schema["schema"]
        _allow(fields, {"fields", "computed_fields", "extra_behavior", "serialization"})
        if fields["type"] != "model-fields":
            raise _Unlike
        for item in fields["fields"].values():
            _reads_alike(item["schema"], schemas)
    else:
        raise _Unlike
    schemas.leave(name)
