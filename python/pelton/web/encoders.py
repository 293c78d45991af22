"""Turning any object into what JSON can hold."""

import dataclasses
import datetime
from collections import defaultdict, deque
from collections.abc import Callable
from decimal import Decimal
from enum import Enum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path, PurePath
from re import Pattern
from types import GeneratorType
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic.networks import AnyUrl, NameEmail
from pydantic.types import SecretBytes, SecretStr
from pydantic_core import PydanticUndefinedType, Url

from .annotations import is_v1_model_instance
from .exceptions import PydanticV1NotSupportedError
from .types import IncEx


def isoformat(o: datetime.date | datetime.time) -> str:
    """A date or time as ISO 8601 writes it."""
    return o.isoformat()


def decimal_encoder(dec_value: Decimal) -> int | float:
    """An integer where no digits follow the point, else a float.

    So that a `Decimal` of a database's ``NUMERIC(n, 0)`` comes back as the integer it was.
    """
    exponent = dec_value.as_tuple().exponent
    is_whole = isinstance(exponent, int) and exponent >= 0
    return int(dec_value) if is_whole else float(dec_value)


def _color_classes() -> list[type[Any]]:
    """The classes of colours, of which both homes are optional."""
    found: list[type[Any]] = []
    for module in ("pydantic.color", "pydantic_extra_types.color"):
        try:
            found.append(__import__(module, fromlist=["Color"]).Color)
        except ImportError:
            continue
    return found


ENCODERS_BY_TYPE: dict[type[Any], Callable[[Any], Any]] = {
    bytes: lambda o: o.decode(),
    **dict.fromkeys(_color_classes(), str),
    datetime.date: isoformat,
    datetime.datetime: isoformat,
    datetime.time: isoformat,
    datetime.timedelta: lambda td: td.total_seconds(),
    Decimal: decimal_encoder,
    Enum: lambda o: o.value,
    frozenset: list,
    deque: list,
    GeneratorType: list,
    IPv4Address: str,
    IPv4Interface: str,
    IPv4Network: str,
    IPv6Address: str,
    IPv6Interface: str,
    IPv6Network: str,
    NameEmail: str,
    Path: str,
    Pattern: lambda o: o.pattern,
    SecretBytes: str,
    SecretStr: str,
    set: list,
    UUID: str,
    Url: str,
    AnyUrl: str,
}
"""How values of each class are encoded; users may add to it."""


def generate_encoders_by_class_tuples(
    type_encoder_map: dict[Any, Callable[[Any], Any]],
) -> dict[Callable[[Any], Any], tuple[Any, ...]]:
    """The classes of each encoder, for `isinstance`."""
    result: dict[Callable[[Any], Any], tuple[Any, ...]] = defaultdict(tuple)
    for class_, encoder in type_encoder_map.items():
        result[encoder] += (class_,)
    return result


encoders_by_class_tuples = generate_encoders_by_class_tuples(ENCODERS_BY_TYPE)
"""`ENCODERS_BY_TYPE` the other way round, for subclasses."""


@dataclasses.dataclass(frozen=True)
class _Options:
    """What `jsonable_encoder` was asked for, on its way down."""

    by_alias: bool
    exclude_unset: bool
    exclude_defaults: bool
    exclude_none: bool
    custom_encoder: dict[Any, Callable[[Any], Any]]
    sqlalchemy_safe: bool


def jsonable_encoder(
    obj: Any,
    include: IncEx | None = None,
    exclude: IncEx | None = None,
    by_alias: bool = True,
    exclude_unset: bool = False,
    exclude_defaults: bool = False,
    exclude_none: bool = False,
    custom_encoder: dict[Any, Callable[[Any], Any]] | None = None,
    sqlalchemy_safe: bool = True,
) -> Any:
    """`obj` as dicts, lists, texts, numbers, booleans and `None`.

    Models are dumped, with `include`, `exclude`, `by_alias` and the other `exclude_…` as
    Pydantic means them; dates, decimals, paths, UUIDs and so on become texts or numbers; an
    object of another class becomes a dict of its attributes. `custom_encoder` maps classes to
    functions that go first. `sqlalchemy_safe` leaves out keys that start with ``_sa``.
    Raises `ValueError` for what cannot be encoded.
    """
    options = _Options(
        by_alias=by_alias,
        exclude_unset=exclude_unset,
        exclude_defaults=exclude_defaults,
        exclude_none=exclude_none,
        custom_encoder=custom_encoder or {},
        sqlalchemy_safe=sqlalchemy_safe,
    )
    return _encode(obj, _as_selection(include), _as_selection(exclude), options)


def _as_selection(names: Any) -> Any:
    return names if names is None or isinstance(names, (set, dict)) else set(names)


def _encode(obj: Any, include: Any, exclude: Any, options: _Options) -> Any:
    if options.custom_encoder:
        encoder = _custom(obj, options.custom_encoder)
        if encoder is not None:
            return encoder(obj)
    if isinstance(obj, BaseModel):
        return _encode_model(obj, include, exclude, options)
    if dataclasses.is_dataclass(obj) and not isinstance(obj, type):
        return _encode(dataclasses.asdict(obj), include, exclude, options)
    if isinstance(obj, Enum):
        return obj.value
    if isinstance(obj, PurePath):
        return str(obj)
    if isinstance(obj, (str, int, float, type(None))):
        return obj
    if isinstance(obj, PydanticUndefinedType):
        return None
    if isinstance(obj, dict):
        return _encode_dict(obj, include, exclude, options)
    if isinstance(obj, (list, set, frozenset, GeneratorType, tuple, deque)):
        return [_encode(item, include, exclude, options) for item in obj]
    return _encode_other(obj, include, exclude, options)


def _custom(obj: Any, encoders: dict[Any, Callable[[Any], Any]]) -> Callable[[Any], Any] | None:
    if type(obj) in encoders:
        return encoders[type(obj)]
    return next((encode for class_, encode in encoders.items() if isinstance(obj, class_)), None)


def _encode_model(obj: BaseModel, include: Any, exclude: Any, options: _Options) -> Any:
    data = obj.model_dump(
        mode="json",
        include=include,
        exclude=exclude,
        by_alias=options.by_alias,
        exclude_unset=options.exclude_unset,
        exclude_none=options.exclude_none,
        exclude_defaults=options.exclude_defaults,
    )
    # What a model's own serializers left in it: encoded with the aliases already decided.
    rest = dataclasses.replace(options, by_alias=True, exclude_unset=False, custom_encoder={})
    return _encode(data, None, None, rest)


def _encode_dict(obj: dict[Any, Any], include: Any, exclude: Any, options: _Options) -> Any:
    result = {}
    for key, value in obj.items():
        is_sqlalchemys = isinstance(key, str) and key.startswith("_sa")
        if (options.sqlalchemy_safe and is_sqlalchemys) or (value is None and options.exclude_none):
            continue
        if (include is None or key in include) and (exclude is None or key not in exclude):
            result[_encode(key, None, None, options)] = _encode(value, None, None, options)
    return result


def _encode_other(obj: Any, include: Any, exclude: Any, options: _Options) -> Any:
    encoder = ENCODERS_BY_TYPE.get(type(obj))
    if encoder is not None:
        return encoder(obj)
    for encoder, classes in encoders_by_class_tuples.items():
        if isinstance(obj, classes):
            return encoder(obj)
    if is_v1_model_instance(obj):
        raise PydanticV1NotSupportedError(
            "pydantic.v1 models are no longer supported by FastAPI. "
            f"Please update the model {obj!r}."
        )
    try:
        data = dict(obj)
    except Exception as not_a_mapping:
        try:
            data = vars(obj)
        except Exception as no_attributes:
            raise ValueError([not_a_mapping, no_attributes]) from no_attributes
    return _encode(data, include, exclude, options)
