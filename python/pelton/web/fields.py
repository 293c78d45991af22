"""A declared value as Pydantic sees it: its annotation, its constraints and their validator."""

import inspect
import warnings
from collections.abc import Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, is_dataclass
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Literal, cast, get_args, get_origin
from weakref import WeakValueDictionary

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PydanticSchemaGenerationError,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic import warnings as pydantic_warnings
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from .annotations import (
    SEQUENCE_BUILDERS,
    has_v1_model,
    is_union,
    lenient_issubclass,
)
from .exceptions import FastAPIError, PydanticV1NotSupportedError
from .types import IncEx

Undefined: Any = PydanticUndefined
"""No value was given."""

RequiredParam: Any = PydanticUndefined
"""The default of what must be given."""

Mode = Literal["validation", "serialization"]
"""Whether a field reads values or writes them."""

# Pydantic keeps a field's description in these attributes; constraints are in its metadata.
_ATTRIBUTES = tuple(
    name for name in inspect.signature(Field).parameters if name in FieldInfo.__slots__
)
_values_of = attrgetter(*_ATTRIBUTES)
_UNUSED_ATTRIBUTE_WARNING: type[Warning] | None = getattr(
    pydantic_warnings, "UnsupportedFieldAttributeWarning", None
)


@dataclass(eq=False)
class ModelField:
    """One declared value: a parameter, a body, or a response.

    `field_info` holds the annotation, alias, default and constraints. Two fields are equal only
    if they are the same object: schemas are kept by field.
    """

    field_info: FieldInfo
    name: str
    mode: Mode = "validation"
    config: ConfigDict | None = None

    def __post_init__(self) -> None:
        key = _adapter_key(self)
        adapter = None if key is None else _adapters.get(key)
        if adapter is None:
            adapter = self._new_adapter()
            if key is not None:
                _adapters[key] = adapter
        self._type_adapter: TypeAdapter[Any] = adapter

    def _new_adapter(self) -> TypeAdapter[Any]:
        info = self.field_info
        with warnings.catch_warnings():
            # An alias means nothing to a lone TypeAdapter; it does to those who fill the field.
            if _UNUSED_ATTRIBUTE_WARNING is not None:
                warnings.simplefilter("ignore", category=_UNUSED_ATTRIBUTE_WARNING)
            arguments = (info.annotation, *info.metadata, Field(**attributes_of(info)))
            return TypeAdapter(cast(Any, Annotated[arguments]), config=self.config)

    @property
    def type_adapter(self) -> TypeAdapter[Any]:
        """Pydantic's validator and serializer of this field."""
        return self._type_adapter

    @property
    def alias(self) -> str:
        """The name from outside."""
        return self.name if self.field_info.alias is None else self.field_info.alias

    @property
    def validation_alias(self) -> str | None:
        """The name in input, if it has one of its own."""
        alias = self.field_info.validation_alias
        return alias if isinstance(alias, str) and alias else None

    @property
    def serialization_alias(self) -> str | None:
        """The name in output, if it has one of its own."""
        return self.field_info.serialization_alias or None

    @property
    def default(self) -> Any:
        """The value when none is given; `Undefined` if one must be."""
        return self.get_default()

    def get_default(self) -> Any:
        """The value when none is given, from the factory if there is one."""
        if self.field_info.is_required():
            return Undefined
        return self.field_info.get_default(call_default_factory=True)

    def validate(
        self,
        value: Any,
        values: Mapping[str, Any] | None = None,
        *,
        loc: tuple[int | str, ...] = (),
    ) -> tuple[Any, list[dict[str, Any]]]:
        """The validated value and no errors, or `None` and the errors, placed under `loc`.

        `values` is not used; it is there for callers of FastAPI's method.
        """
        try:
            return self._type_adapter.validate_python(value, from_attributes=True), []
        except ValidationError as error:
            return None, [
                {**detail, "loc": loc + detail["loc"]} for detail in error.errors(include_url=False)
            ]

    def serialize(
        self,
        value: Any,
        *,
        mode: Literal["json", "python"] = "json",
        include: IncEx | None = None,
        exclude: IncEx | None = None,
        by_alias: bool = True,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        exclude_none: bool = False,
    ) -> Any:
        """A validated value as plain objects (those of JSON, unless `mode` says Python)."""
        return self._type_adapter.dump_python(
            value,
            mode=mode,
            include=include,
            exclude=exclude,
            by_alias=by_alias,
            exclude_unset=exclude_unset,
            exclude_defaults=exclude_defaults,
            exclude_none=exclude_none,
        )

    def serialize_json(
        self,
        value: Any,
        *,
        include: IncEx | None = None,
        exclude: IncEx | None = None,
        by_alias: bool = True,
        exclude_unset: bool = False,
        exclude_defaults: bool = False,
        exclude_none: bool = False,
    ) -> bytes:
        """A validated value as JSON text, made in one pass."""
        return self._type_adapter.dump_json(
            value,
            include=include,
            exclude=exclude,
            by_alias=by_alias,
            exclude_unset=exclude_unset,
            exclude_defaults=exclude_defaults,
            exclude_none=exclude_none,
        )


# Fields that say the same share what Pydantic made of it, which takes long, for as long as one of
# them lives.
_adapters: WeakValueDictionary[Hashable, TypeAdapter[Any]] = WeakValueDictionary()

_SHARED_DEFAULTS = (type(None), bool, int, float, str, bytes, type(PydanticUndefined), type(...))


def _adapter_key(field: ModelField) -> Hashable | None:
    """Equal for fields with equal adapters; `None` for one that is not to be shared."""
    info = field.field_info
    if field.config is not None or type(info.default) not in _SHARED_DEFAULTS:
        return None
    try:
        attributes = _values_of(info)
    except AttributeError:
        # Not all of them were given a value.
        return None
    # Types that compare equal may differ in their order, and numbers in their kind.
    spelling = repr((info.annotation, info.metadata, info.default))
    key = (info.annotation, tuple(info.metadata), attributes, spelling)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def attributes_of(info: FieldInfo) -> dict[str, Any]:
    """Everything that describes a field, without its annotation and its constraints."""
    found = {name: getattr(info, name, Undefined) for name in _ATTRIBUTES}
    return {name: value for name, value in found.items() if value is not Undefined}


def copy_field_info(*, field_info: FieldInfo, annotation: Any) -> FieldInfo:
    """`field_info` together with whatever else `annotation` (an ``Annotated``) says.

    The class of `field_info` and what only it knows (``media_type``, ``embed``…) stay.
    """
    merged = type(field_info).from_annotation(annotation)
    result = copy(field_info)
    for name, value in attributes_of(merged).items():
        setattr(result, name, value)
    result._attributes_set = merged._attributes_set.copy()
    result.metadata = merged.metadata
    result.annotation = merged.annotation
    return result


def create_model_field(
    name: str,
    type_: Any,
    default: Any | None = Undefined,
    field_info: FieldInfo | None = None,
    alias: str | None = None,
    mode: Mode = "validation",
) -> ModelField:
    """A field of type `type_`; refuses types that Pydantic has no schema for.

    Raises `FastAPIError`, or `PydanticV1NotSupportedError` for a model of Pydantic 1.
    """
    if has_v1_model(type_):
        raise PydanticV1NotSupportedError(
            "pydantic.v1 models are no longer supported by FastAPI."
            f" Please update the response model {type_!r}."
        )
    info = field_info or FieldInfo(annotation=type_, default=default, alias=alias)
    try:
        return ModelField(mode=mode, name=name, field_info=info)
    except PydanticSchemaGenerationError:
        raise FastAPIError(
            "Invalid args for response field! Hint: "
            f"check that {type_} is a valid Pydantic field type. "
            "If you are using a return type annotation that is not a valid Pydantic "
            "field (e.g. Union[Response, dict, None]) you can disable generating the "
            "response model from the type annotation with the path operation decorator "
            "parameter response_model=None. Read more: "
            "https://fastapi.tiangolo.com/tutorial/response-model/"
        ) from None


def create_body_model(
    *, fields: Sequence[ModelField], model_name: str, config: ConfigDict | None = None
) -> type[BaseModel]:
    """A model with one attribute for each of `fields`."""
    attributes: dict[str, Any] = {
        field.name: (field.field_info.annotation, field.field_info) for field in fields
    }
    model: type[BaseModel] = create_model(model_name, __config__=config, **attributes)
    return model


def get_model_fields(model: type[BaseModel]) -> list[ModelField]:
    """A field for each attribute of `model`, with the model's configuration where it matters."""
    fields = []
    for name, info in model.model_fields.items():
        annotation = info.annotation
        # These bring a configuration of their own, and Pydantic refuses a second one.
        own = lenient_issubclass(annotation, (BaseModel, dict)) or is_dataclass(annotation)
        config = None if own else model.model_config
        fields.append(ModelField(field_info=info, name=name, config=config))
    return fields


@lru_cache
def get_cached_model_fields(model: type[BaseModel]) -> list[ModelField]:
    """`get_model_fields`, remembered: parameter models ask on every request."""
    return get_model_fields(model)


def get_missing_field_error(loc: tuple[int | str, ...]) -> dict[str, Any]:
    """The error of a required value that was not given, in Pydantic's words."""
    error = ValidationError.from_exception_data(
        "Field required", [{"type": "missing", "loc": loc, "input": {}}]
    ).errors(include_url=False)[0]
    return {**error, "input": None}


def serialize_sequence_value(*, field: ModelField, value: Any) -> Sequence[Any]:
    """`value` as the kind of sequence that the field's annotation names."""
    annotation: Any = field.field_info.annotation
    if is_union(annotation):
        annotation = next(part for part in get_args(annotation) if part is not type(None))
    return cast(Sequence[Any], SEQUENCE_BUILDERS[get_origin(annotation) or annotation](value))
