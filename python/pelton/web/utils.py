"""Small functions that several modules share, under FastAPI's names."""

import re
import warnings
from typing import TYPE_CHECKING, Any

from .datastructures import first_set
from .dependencies.analysis import get_path_param_names as get_path_param_names
from .exceptions import FastAPIDeprecationWarning
from .fields import create_model_field as create_model_field

if TYPE_CHECKING:
    from .routing.route import APIRoute

_RANGES = {"default", "1XX", "2XX", "3XX", "4XX", "5XX"}


def is_body_allowed_for_status_code(status_code: int | str | None) -> bool:
    """Whether a response of this status may have a body (RFC 9110 section 15)."""
    if status_code is None or status_code in _RANGES:
        return True
    code = int(status_code)
    return code >= 200 and code not in (204, 205, 304)


def generate_unique_id(route: "APIRoute") -> str:
    """The default operation id: name, path and method, with underscores."""
    assert route.methods
    name = re.sub(r"\W", "_", f"{route.name}{route.path_format}")
    return f"{name}_{next(iter(route.methods)).lower()}"


def generate_operation_id_for_path(*, name: str, path: str, method: str) -> str:
    """Deprecated: the operation id of other times."""
    warnings.warn(
        "fastapi.utils.generate_operation_id_for_path() was deprecated, "
        "it is not used internally, and will be removed soon",
        category=FastAPIDeprecationWarning,
        stacklevel=2,
    )
    return re.sub(r"\W", "_", f"{name}{path}") + f"_{method.lower()}"


def deep_dict_update(main_dict: dict[Any, Any], update_dict: dict[Any, Any]) -> None:
    """Merges `update_dict` into `main_dict`: dicts key by key, lists one after the other."""
    for key, value in update_dict.items():
        present = main_dict.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            deep_dict_update(present, value)
        elif isinstance(present, list) and isinstance(value, list):
            main_dict[key] = present + value
        else:
            main_dict[key] = value


def get_value_or_default(first_item: Any, *extra_items: Any) -> Any:
    """The first item that is not a `DefaultPlaceholder`; the first of all if each is one."""
    return first_set(first_item, *extra_items)
