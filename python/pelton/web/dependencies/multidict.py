"""Reading declared values from the multi-valued mappings of a request."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Json
from starlette.datastructures import FormData, Headers, ImmutableMultiDict, UploadFile

from ..annotations import is_sequence
from ..fields import ModelField, Undefined


def read(field: ModelField, values: Mapping[str, Any], alias: str) -> Any:
    """The value under `alias`: a list if the field takes several; `Undefined` if none is there.

    An empty form input, text or file, counts as none: browsers send those for what was not
    filled in.
    """
    in_form = isinstance(values, FormData)
    takes_several = is_sequence(field.field_info.annotation)
    is_json = any(type(item) is Json for item in field.field_info.metadata)
    if takes_several and not is_json and isinstance(values, (ImmutableMultiDict, Headers)):
        value: Any = values.getlist(alias)
        if in_form:
            value = [item for item in value if not _is_empty_file(item)]
    else:
        value = values.get(alias)
    if value is None or (takes_several and len(value) == 0):
        return Undefined
    if in_form and ((isinstance(value, str) and value == "") or _is_empty_file(value)):
        return Undefined
    return value


def _is_empty_file(value: Any) -> bool:
    return isinstance(value, UploadFile) and value.filename == "" and value.size == 0


def extras(values: Mapping[str, Any], known: set[str]) -> Iterator[tuple[str, Any]]:
    """What `values` has under other names than `known`; a list where a name comes twice."""
    if isinstance(values, ImmutableMultiDict):
        items: Any = values.multi_items()
    else:
        # A mapping of single values, or headers, whose items repeat the names.
        items = values.items()
    grouped: dict[str, list[Any]] = {}
    for key, value in items:
        if key not in known:
            grouped.setdefault(key, []).append(value)
    for key, found in grouped.items():
        yield key, found[0] if len(found) == 1 else found
