"""Marks that say where an endpoint's argument comes from, and what it must satisfy.

Users write the functions of `pelton.web.param_functions`, which return these objects.
"""

import inspect
import re
import typing
import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Any, ClassVar, Literal, TypedDict, cast

from pydantic import AliasChoices, AliasPath, Discriminator
from pydantic.fields import FieldInfo
from typing_extensions import Unpack, deprecated

from .concurrency import ConcurrencyLimit
from .datastructures import Default
from .exceptions import FastAPIDeprecationWarning
from .fields import Undefined

UNSET: Any = Default(None)
"""An option that was not given."""


class ParamTypes(Enum):
    """The part of a request's head that a parameter is read from."""

    query = "query"
    header = "header"
    path = "path"
    cookie = "cookie"


class FieldOptions(TypedDict, total=False):
    """What every parameter and body may declare about itself.

    Numbers: `gt`, `ge`, `lt`, `le`, `multiple_of`, `allow_inf_nan`, `max_digits`,
    `decimal_places`. Text and sequences: `min_length`, `max_length`, `pattern` (`regex` and
    `example` are deprecated). The rest names the value, describes it in OpenAPI, or tunes
    Pydantic.
    """

    default_factory: Callable[[], Any] | None
    annotation: Any | None
    alias: str | None
    alias_priority: int | None
    validation_alias: str | AliasPath | AliasChoices | None
    serialization_alias: str | None
    title: str | None
    description: str | None
    gt: float | None
    ge: float | None
    lt: float | None
    le: float | None
    min_length: int | None
    max_length: int | None
    pattern: str | re.Pattern[str] | None
    regex: str | None
    discriminator: str | Discriminator | None
    strict: bool | None
    validate_default: bool | None
    union_mode: Literal["smart", "left_to_right"] | None
    fail_fast: bool | None
    multiple_of: float | None
    allow_inf_nan: bool | None
    max_digits: int | None
    decimal_places: int | None
    examples: list[Any] | None
    example: Any | None
    openapi_examples: dict[str, Any] | None
    deprecated: deprecated | str | bool | None
    include_in_schema: bool
    json_schema_extra: dict[str, Any] | Callable[[dict[str, Any]], None] | None


class HeaderOptions(FieldOptions, total=False):
    """`FieldOptions`, and whether ``user_agent`` reads ``user-agent`` (it does by default)."""

    convert_underscores: bool


class FormOptions(FieldOptions, total=False):
    """`FieldOptions`, and the content type of the body."""

    media_type: str


class BodyOptions(FormOptions, total=False):
    """`FormOptions`, and whether a lone body is a key of an object (`embed`)."""

    embed: bool | None


# Options of ours that are no attributes of a Pydantic field.
_OWN_OPTIONS = ("regex", "example", "openapi_examples", "include_in_schema")


@lru_cache
def _known_options(options: Hashable) -> frozenset[str]:
    return frozenset(typing.get_type_hints(cast(Any, options)))


class _RequestField(FieldInfo):  # type: ignore[misc]  # final, yet FastAPI's classes derive from it
    """A Pydantic field that a request fills."""

    options_type: ClassVar[type[Any]] = FieldOptions

    def __init__(self, default: Any, options: Mapping[str, Any]) -> None:
        self._refuse_unknown(options)
        given = {name: value for name, value in options.items() if value is not UNSET}
        self.example = given.get("example", UNSET)
        self.openapi_examples = given.get("openapi_examples")
        self.include_in_schema = given.get("include_in_schema", True)
        if "example" in given:
            self._warn_deprecated("example", "examples")
        if given.get("regex") is not None:
            self._warn_deprecated("regex", "pattern")
        if given.get("validation_alias") is None:
            given.pop("validation_alias", None)
            # An alias of None takes back one that an inner mark gave.
            if "alias" in given:
                given["validation_alias"] = given["alias"]
        if given.get("serialization_alias") is None and isinstance(given.get("alias"), str):
            given["serialization_alias"] = given["alias"]
        given["pattern"] = given.get("pattern") or given.get("regex")
        for name in _OWN_OPTIONS:
            given.pop(name, None)
        super().__init__(default=default, **given)

    def _refuse_unknown(self, options: Mapping[str, Any]) -> None:
        unknown = options.keys() - _known_options(cast("Hashable", self.options_type))
        if unknown:
            raise TypeError(
                f"{type(self).__name__}() got an unexpected keyword argument {sorted(unknown)[0]!r}"
            )

    def _warn_deprecated(self, name: str, replacement: str) -> None:
        warnings.warn(
            f"`{name}` has been deprecated, please use `{replacement}` instead",
            category=FastAPIDeprecationWarning,
            stacklevel=5,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.default})"


class Param(_RequestField):  # type: ignore[misc]
    """A value from the head of a request: path, query, header or cookie."""

    in_: ParamTypes

    def __init__(self, default: Any = Undefined, **options: Unpack[FieldOptions]) -> None:
        super().__init__(default, options)


class Path(Param):  # type: ignore[misc]
    """A value from the path. It has no default: without it the path does not match."""

    in_ = ParamTypes.path

    def __init__(self, default: Any = ..., **options: Unpack[FieldOptions]) -> None:
        assert default is ..., "Path parameters cannot have a default value"
        super().__init__(default, **options)


class Query(Param):  # type: ignore[misc]
    """A value, or several of one name, from what follows ``?``."""

    in_ = ParamTypes.query


class Cookie(Param):  # type: ignore[misc]
    """A value from the ``Cookie`` header."""

    in_ = ParamTypes.cookie


class Header(Param):  # type: ignore[misc]
    """A header's value. Underscores in the argument's name stand for hyphens."""

    in_ = ParamTypes.header
    options_type: ClassVar[type[Any]] = HeaderOptions

    def __init__(
        self,
        default: Any = Undefined,
        *,
        convert_underscores: bool = True,
        **options: Unpack[FieldOptions],
    ) -> None:
        self.convert_underscores = convert_underscores
        super().__init__(default, **options)


class Body(_RequestField):  # type: ignore[misc]
    """The body, or a key of it when there are several or `embed` is set."""

    options_type: ClassVar[type[Any]] = BodyOptions

    def __init__(
        self,
        default: Any = Undefined,
        *,
        embed: bool | None = None,
        media_type: str = "application/json",
        **options: Unpack[FieldOptions],
    ) -> None:
        self.embed = embed
        self.media_type = media_type
        super().__init__(default, options)


class Form(Body):  # type: ignore[misc]
    """A field of a form."""

    options_type: ClassVar[type[Any]] = FormOptions

    def __init__(
        self,
        default: Any = Undefined,
        *,
        media_type: str = "application/x-www-form-urlencoded",
        **options: Unpack[FieldOptions],
    ) -> None:
        super().__init__(default, media_type=media_type, **options)


class File(Form):  # type: ignore[misc]
    """A file of a multipart form."""

    def __init__(
        self,
        default: Any = Undefined,
        *,
        media_type: str = "multipart/form-data",
        **options: Unpack[FieldOptions],
    ) -> None:
        super().__init__(default, media_type=media_type, **options)


@dataclass(frozen=True)
class Depends:
    """The argument is what `dependency` returns or yields.

    With `use_cache`, one request calls it once however often it is needed. `scope` says when
    code after ``yield`` runs: before the response is sent (``"function"``) or after
    (``"request"``, the default). `max_concurrency` bounds the uses at a time, per event loop.
    """

    dependency: Callable[..., Any] | None = None
    use_cache: bool = True
    scope: Literal["function", "request"] | None = None
    max_concurrency: int | None = field(default=None, kw_only=True)
    # Compared by identity, so that ``Annotated`` keeps two limits apart that look alike. It is
    # an argument so that `dataclasses.replace` carries it over.
    limit: ConcurrencyLimit | None = field(default=None, repr=False, kw_only=True)

    def __post_init__(self) -> None:
        maximum = self.max_concurrency
        if maximum is None:
            object.__setattr__(self, "limit", None)
            return
        if type(maximum) is not int or maximum < 1:
            raise ValueError("max_concurrency must be a positive integer or None")
        if self.limit is None or self.limit.max_concurrency != maximum:
            object.__setattr__(self, "limit", ConcurrencyLimit(maximum))


@dataclass(frozen=True)
class Security(Depends):
    """`Depends`, for a security scheme, which needs these OAuth2 `scopes`."""

    scopes: Sequence[str] | None = None


def spell_out(function: Callable[..., Any], options_type: type[Any]) -> inspect.Signature:
    """The signature of `function` with each option of `options_type` as an argument of its own.

    Type checkers know the options from the annotation; this shows them to `help` and to tools
    that read signatures while the program runs.
    """
    signature = inspect.signature(function)
    named = [
        parameter
        for parameter in signature.parameters.values()
        if parameter.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    known = {parameter.name for parameter in named}
    named += [
        inspect.Parameter(
            name, inspect.Parameter.KEYWORD_ONLY, default=UNSET, annotation=annotation
        )
        for name, annotation in typing.get_type_hints(options_type).items()
        if name not in known
    ]
    return signature.replace(parameters=named)


for _class in (Param, Path, Query, Header, Cookie, Body, Form, File):
    _initial: Any = _class.__init__
    _initial.__signature__ = spell_out(_initial, _class.options_type)
