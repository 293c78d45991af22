"""What kind of value an annotation asks for: a scalar, a sequence, a file, something richer.

A parameter with no marker of its own goes to the query or to the body by these answers.
"""

import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from typing import Annotated, Any, ForwardRef, TypeGuard, TypeVar, Union, get_args, get_origin
from typing import get_type_hints as _get_type_hints

from pydantic import BaseModel
from starlette.datastructures import UploadFile

_T = TypeVar("_T")

SEQUENCE_BUILDERS: dict[Any, Callable[[Iterable[Any]], Any]] = {
    Sequence: list,
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    deque: deque,
}
"""For each annotation that takes several values, what builds its value."""

sequence_types: tuple[Any, ...] = tuple(SEQUENCE_BUILDERS)
"""The annotations that take several values."""


def lenient_issubclass(
    candidate: Any, parents: type[_T] | tuple[type[_T], ...]
) -> TypeGuard[type[_T]]:
    """Whether `candidate` is a class derived from `parents`; false for what is no class."""
    try:
        return isinstance(candidate, type) and issubclass(candidate, parents)
    except TypeError:
        return False


def is_union(annotation: Any) -> bool:
    """Whether `annotation` is ``A | B``, ``Optional[A]`` or ``Union[A, B]``."""
    origin = get_origin(annotation)
    return origin is Union or origin is types.UnionType


def bare(annotation: Any) -> Any:
    """`annotation` without what ``Annotated`` adds to it."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def without_none(annotation: Any) -> Any:
    """``A`` of ``A | None``; any other annotation as it is."""
    if is_union(annotation):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1 and len(get_args(annotation)) == 2:
            return members[0]
    return annotation


def _is_sequence_class(annotation: Any) -> bool:
    return lenient_issubclass(annotation, sequence_types) and not lenient_issubclass(
        annotation, (str, bytes)
    )


def is_sequence(annotation: Any) -> bool:
    """Whether the annotation, or a member of its union, takes several values."""
    annotation = bare(annotation)
    if is_union(annotation):
        return any(is_sequence(member) for member in get_args(annotation))
    return _is_sequence_class(annotation) or _is_sequence_class(get_origin(annotation))


def is_complex(annotation: Any) -> bool:
    """Whether the annotation cannot be read from one piece of text."""
    annotation = bare(annotation)
    if is_union(annotation):
        return any(is_complex(member) for member in get_args(annotation))
    origin = get_origin(annotation)
    return any(
        lenient_issubclass(part, (BaseModel, Mapping, UploadFile))
        or _is_sequence_class(part)
        or is_dataclass(part)
        for part in (annotation, origin)
    ) or any(
        hasattr(origin, hook)
        for hook in ("__pydantic_core_schema__", "__get_pydantic_core_schema__")
    )


def is_scalar(annotation: Any) -> bool:
    """Whether the annotation can be read from one piece of text.

    ``...`` counts, so that ``tuple[int, ...]`` is a sequence of scalars.
    """
    return annotation is Ellipsis or not is_complex(annotation)


def is_scalar_sequence(annotation: Any) -> bool:
    """Whether the annotation takes several values, each readable from one piece of text."""
    annotation = bare(annotation)
    if is_union(annotation):
        members = get_args(annotation)
        sequences = [is_scalar_sequence(member) for member in members]
        return any(sequences) and all(
            fits or is_scalar(member) for fits, member in zip(sequences, members, strict=True)
        )
    return is_sequence(annotation) and all(is_scalar(item) for item in get_args(annotation))


def _is_class_or_union_with(annotation: Any, parent: type[Any]) -> bool:
    members = get_args(annotation) if is_union(annotation) else (annotation,)
    return any(lenient_issubclass(member, parent) for member in members)


def _is_sequence_of(annotation: Any, parent: type[Any]) -> bool:
    if is_union(annotation):
        return any(_is_sequence_of(member, parent) for member in get_args(annotation))
    return is_sequence(annotation) and all(
        _is_class_or_union_with(item, parent) for item in get_args(annotation)
    )


def is_bytes(annotation: Any) -> bool:
    """Whether the annotation is `bytes` or a union with it."""
    return _is_class_or_union_with(annotation, bytes)


def is_bytes_sequence(annotation: Any) -> bool:
    """Whether the annotation is a sequence of `bytes`, or a union with one."""
    return _is_sequence_of(annotation, bytes)


def is_upload(annotation: Any) -> bool:
    """Whether the annotation is an uploaded file or a union with one."""
    return _is_class_or_union_with(annotation, UploadFile)


def is_upload_sequence(annotation: Any) -> bool:
    """Whether the annotation is a sequence of uploaded files, or a union with one."""
    return _is_sequence_of(annotation, UploadFile)


def value_is_sequence(value: Any) -> bool:
    """Whether `value` holds several values (text and bytes do not)."""
    return isinstance(value, sequence_types) and not isinstance(value, (str, bytes))


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The Pydantic model of ``Model`` or ``Model | None``, if it is one of these."""
    candidate = without_none(annotation)
    return candidate if lenient_issubclass(candidate, BaseModel) else None


def _v1_model() -> type[Any] | None:
    # There is no model of a module that nobody has imported, and importing it takes long.
    module = sys.modules.get("pydantic.v1.main")
    return None if module is None else module.BaseModel


def is_v1_model_instance(value: Any) -> bool:
    """Whether `value` is an instance of a Pydantic 1 model, which nothing here can handle."""
    base = _v1_model() if isinstance(value, BaseModel) or hasattr(value, "__fields__") else None
    return base is not None and isinstance(value, base)


def has_v1_model(annotation: Any) -> bool:
    """Whether the annotation is, or contains, a Pydantic 1 model."""
    base = _v1_model()
    if base is None:
        return False
    if lenient_issubclass(annotation, base):
        return True
    if is_union(annotation) and any(
        lenient_issubclass(member, base) for member in get_args(annotation)
    ):
        return True
    return is_sequence(annotation) and any(has_v1_model(item) for item in get_args(annotation))


def evaluate(annotation: str, namespace: Mapping[str, Any]) -> Any:
    """The type that the text of an annotation names, looked up in `namespace`.

    Names that only type checkers see (under ``TYPE_CHECKING``) leave a `ForwardRef`.
    """

    def holder() -> None:
        """Carries the annotation to `typing.get_type_hints`."""

    reference = ForwardRef(annotation)
    holder.__annotations__ = {"value": reference}
    try:
        found = _get_type_hints(holder, dict(namespace), dict(namespace), include_extras=True)
    except NameError:
        return reference
    return None if found["value"] is type(None) else found["value"]
