"""A task's arguments and result as JSON, by the annotations of its function."""

from __future__ import annotations

import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Union

import pydantic_core
import typing_extensions
from pydantic import (
    ConfigDict,
    JsonValue,
    PydanticSchemaGenerationError,
    PydanticUserError,
    TypeAdapter,
    ValidationError,
)

from pelton.jobs.context import JobContext
from pelton.jobs.errors import InvalidArguments, InvalidResult, InvalidTask

# What a job's first argument is made of: the position of one of its inputs, or a list of such.
Shape = Union[int, list["Shape"]]  # noqa: UP007 - a recursive alias needs the string form

# Standard dataclasses and typed dictionaries inside arguments inherit it; Pydantic models, whose
# configuration is their own, do not.
_CONFIG = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")
_SHAPE = "*input"  # the payload's key for the Shape; no parameter can have this name
_ERRORS_SHOWN = 8
_VALUE_SHOWN = 60


class Arguments:
    """Turns calls of one function into payloads, and payloads into calls.

    A payload is the JSON object `{"args": {name: value, …}}`. Parameters annotated with types
    that Pydantic knows travel as those types; others must be JSON values. Arguments that the
    caller left out stay out, so that the worker's defaults count.
    """

    def __init__(self, fn: Callable[..., Any], task: str, hints: Mapping[str, Any]) -> None:
        parameters = list(inspect.signature(fn).parameters.values())
        first = hints.get(parameters[0].name) if parameters else None
        self.takes_context = isinstance(first, type) and issubclass(first, JobContext)
        if self.takes_context:
            parameters = parameters[1:]
        self._fn = fn
        self._task = task
        self._parameters = {parameter.name: parameter for parameter in parameters}
        self._positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, _EITHER)]
        self._keyword = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, _EITHER)}
        self._rest = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), None)
        self._extra = next((p.name for p in parameters if p.kind is p.VAR_KEYWORD), None)
        self._required = {
            p.name
            for p in parameters
            if p.default is p.empty and p.name not in (self._rest, self._extra)
        }
        # All names may be passed as keywords: then a call needs no rearranging.
        self._simple = self._keyword.issuperset(self._parameters)
        self._adapter = self._build(hints)

    def encode(
        self, args: Sequence[Any], kwargs: Mapping[str, Any], shape: Shape | None = None
    ) -> bytes:
        """The payload of a call; InvalidArguments where the call does not fit the signature.

        With a `shape`, the first argument is left out: it will be made of the job's inputs.
        """
        values = self._bind(args, kwargs, piped=shape is not None)
        if shape is not None:
            values[_SHAPE] = shape
        try:
            checked = self._adapter.validate_python({"args": values})
            return self._adapter.dump_json(checked, warnings=False)
        except ValidationError as error:
            raise InvalidArguments(self._explain(error)) from None
        except pydantic_core.PydanticSerializationError as error:
            hint = ""
            if "utf-8" in str(error):
                hint = '; a model that holds bytes needs ConfigDict(ser_json_bytes="base64", ' + (
                    'val_json_bytes="base64")'
                )
            raise InvalidArguments(f"{self._task} refused its arguments: {error}{hint}") from None

    def decode(self, payload: bytes, inputs: Sequence[bytes] = ()) -> dict[str, Any]:
        """The values of a payload by parameter, for `call`; InvalidArguments if they do not fit."""
        try:
            values = self._adapter.validate_json(payload)["args"]
            if _SHAPE in values:
                self._take_inputs(values, inputs)
        except ValidationError as error:
            raise InvalidArguments(self._explain(error)) from None
        except KeyError:
            raise InvalidArguments(f"{self._task}: the payload has no arguments") from None
        if not self._required <= values.keys():
            raise InvalidArguments(self._missing(values.keys()))
        return values

    def call(self, context: JobContext, values: Mapping[str, Any]) -> Any:
        """Calls the function with decoded values."""
        head = (context,) if self.takes_context else ()
        if self._simple:
            return self._fn(*head, **values)
        args: list[Any] = list(head)
        kwargs = {name: value for name, value in values.items() if name in self._keyword}
        for name in self._positional:
            if name in values:
                args.append(values[name])
                kwargs.pop(name, None)
            elif self._rest in values or self._parameters[name].kind is _POSITIONAL_ONLY:
                args.append(self._parameters[name].default)
        args.extend(values.get(self._rest or "", ()))
        kwargs.update(values.get(self._extra or "", {}))
        return self._fn(*args, **kwargs)

    def _bind(self, args: Sequence[Any], kwargs: Mapping[str, Any], piped: bool) -> dict[str, Any]:
        positional = self._positional
        if piped:
            if not positional and self._rest is None:
                raise InvalidArguments(
                    f"{self._task} takes no argument for the result of the step before it: "
                    "use .si(...) instead of .s(...)"
                )
            positional = positional[1:]
        values: dict[str, Any] = dict(zip(positional, args, strict=False))
        if len(args) > len(positional):
            if self._rest is None:
                raise InvalidArguments(
                    f"{self._task} takes at most {len(positional)} positional arguments"
                    f"{' after its input' if piped else ''}, but {len(args)} were given"
                )
            values[self._rest] = list(args[len(positional) :])
        extra: dict[str, Any] = {}
        for name, value in kwargs.items():
            if name in values and name in self._keyword:
                raise InvalidArguments(f"{self._task} got two values for argument {name!r}")
            if name in self._keyword:
                values[name] = value
            elif self._extra is not None:
                extra[name] = value
            else:
                raise InvalidArguments(f"{self._task} has no argument {name!r}")
        if extra:
            values[str(self._extra)] = extra
        given = values.keys() | set(self._positional[:1]) if piped else values.keys()
        if not self._required <= given:
            raise InvalidArguments(self._missing(given))
        return values

    def _take_inputs(self, values: dict[str, Any], inputs: Sequence[bytes]) -> None:
        """Replaces the shape by the first argument, validated like any other."""
        value = _assemble(values.pop(_SHAPE), inputs)
        name = self._positional[0] if self._positional else str(self._rest)
        if not self._positional:
            value = b"[" + value + b"]"
        piped = b'{"args":{' + json.dumps(name).encode() + b":" + value + b"}}"
        first = self._adapter.validate_json(piped)["args"][name]
        values[name] = first if self._positional else [*first, *values.get(name, ())]

    def _build(self, hints: Mapping[str, Any]) -> TypeAdapter[dict[str, dict[str, Any]]]:
        fields: dict[str, Any] = {_SHAPE: Any}
        for name in self._parameters:
            annotation = _as_json(hints.get(name, Any))
            if name == self._rest:
                annotation = types.GenericAlias(list, (annotation,))
            elif name == self._extra:
                annotation = types.GenericAlias(dict, (str, annotation))
            fields[name] = annotation
        try:
            return _adapter(fields)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            for name, annotation in fields.items():
                try:
                    _adapter({name: annotation})
                except (PydanticSchemaGenerationError, PydanticUserError):
                    raise InvalidTask(
                        f"task {self._task}: argument {name!r} cannot travel as JSON, since "
                        f"Pydantic knows no schema for {annotation!r}"
                    ) from error
            raise

    def _missing(self, given: typing.AbstractSet[str]) -> str:
        names = ", ".join(name for name in self._parameters if name in self._required - given)
        return f"{self._task} needs a value for: {names}"

    def _explain(self, error: ValidationError) -> str:
        lines = []
        details = error.errors(include_url=False, include_context=False)
        for detail in details[:_ERRORS_SHOWN]:
            where = ".".join(str(part) for part in detail["loc"][1:]) or "payload"
            value = repr(detail["input"])
            if len(value) > _VALUE_SHOWN:
                value = value[:_VALUE_SHOWN] + "…"
            line = f"{where}: {detail['msg']} (got {value})"
            if "JSON value" in detail["msg"]:
                line += "; annotate the parameter, so that its type can travel"
            lines.append(line)
        if len(details) > _ERRORS_SHOWN:
            lines.append(f"and {len(details) - _ERRORS_SHOWN} more")
        return f"{self._task} refused its arguments: " + "; ".join(lines)


class Result:
    """Turns what a task returns into JSON and back, by its return annotation.

    Without an annotation (or with `Any`) whatever Pydantic can write is accepted, and comes back
    as plain JSON values.
    """

    def __init__(self, annotation: Any, task: str) -> None:
        self._task = task
        self._adapter: TypeAdapter[Any] | None = None
        self._may_be_none = True
        if annotation is not Any:
            try:
                # A list of one: at the top, models and dataclasses refuse a configuration.
                one: Any = types.GenericAlias(list, (annotation,))
                self._adapter = TypeAdapter(one, config=_CONFIG)
            except (PydanticSchemaGenerationError, PydanticUserError) as error:
                raise InvalidTask(
                    f"task {task}: its result cannot travel as JSON, since Pydantic knows no "
                    f"schema for {annotation!r}"
                ) from error
            try:
                self._adapter.validate_python([None])
            except ValidationError:
                self._may_be_none = False

    def encode(self, value: Any) -> bytes:
        """InvalidResult where the value is not what the annotation says."""
        if value is None:
            # Pydantic's serializers let None pass for anything.
            if self._may_be_none:
                return b"null"
            raise InvalidResult(f"{self._task} returned None, which its annotation does not allow")
        try:
            if self._adapter is None:
                return pydantic_core.to_json(value, bytes_mode="base64", inf_nan_mode="constants")
            return self._adapter.dump_json([value], warnings="error")[1:-1]
        except (pydantic_core.PydanticSerializationError, ValueError, TypeError) as error:
            raise InvalidResult(
                f"{self._task} returned {type(value).__name__}, which is not what its annotation "
                f"says or not JSON: {error}"
            ) from None

    def decode(self, result: bytes) -> Any:
        """The typed value; pydantic.ValidationError if another version of the task wrote it."""
        if self._adapter is None:
            return pydantic_core.from_json(result)
        return self._adapter.validate_json(b"[" + result + b"]")[0]


def annotations_of(fn: Callable[..., Any], task: str, names: Mapping[str, Any]) -> dict[str, Any]:
    """The resolved annotations; `names` are those local to where the function was defined."""
    try:
        return typing.get_type_hints(fn, localns=dict(names), include_extras=True)
    except NameError as error:
        raise InvalidTask(
            f"task {task}: an annotation names {error.name!r}, which its module does not have at "
            "run time; import it there without `if TYPE_CHECKING`"
        ) from error


def _adapter(fields: dict[str, Any]) -> TypeAdapter[dict[str, dict[str, Any]]]:
    typed_dict: Any = typing_extensions.TypedDict
    arguments = typed_dict("Arguments", fields, total=False)
    arguments.__pydantic_config__ = {**_CONFIG, "extra": "forbid"}
    payload: Any = types.GenericAlias(dict, (str, arguments))
    return TypeAdapter(payload, config=_CONFIG)


def _as_json(annotation: Any) -> Any:
    """What says nothing about its type must be a JSON value: else it would change on the way."""
    if annotation in (Any, object):
        return JsonValue
    if annotation is list:
        return list[JsonValue]
    if annotation is dict:
        return dict[str, JsonValue]
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (list, dict):
        return origin[tuple(_as_json(arg) for arg in args)]
    if origin in (Union, types.UnionType):
        return functools.reduce(lambda a, b: Union[a, b], map(_as_json, args))  # noqa: UP007
    return annotation


def _assemble(shape: Shape, inputs: Sequence[bytes]) -> bytes:
    if isinstance(shape, list):
        return b"[" + b",".join(_assemble(part, inputs) for part in shape) + b"]"
    return inputs[shape]


_EITHER = inspect.Parameter.POSITIONAL_OR_KEYWORD
_POSITIONAL_ONLY = inspect.Parameter.POSITIONAL_ONLY
