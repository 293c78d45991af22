"""What must not be printed."""

from __future__ import annotations

import re
import typing
from typing import Any

from pydantic import BaseModel, Secret, SecretBytes, SecretStr

STARS = "**********"
"""Stands for a secret."""

_NAMES = re.compile(
    r"(^|_)(pass(word|wd|phrase)?|pwd|secret|token|(api|access|secret)?key|private|credential"
    r"|cookie|salt)s?(_|\d*$)",
    re.IGNORECASE,
)
# The password in a URL, and the query's parameters that are named like secrets.
_URL_PASSWORD = re.compile(r"(?<=://)([^/\s:@]*):([^/\s]*)@")


def is_secret(name: str, annotation: Any) -> bool:
    """Whether a field holds a secret: by its type (`SecretStr` and its like, or a model that has
    a secret), or by its name."""
    return bool(_NAMES.search(name)) or _has_secret_type(annotation, frozenset())


def _has_secret_type(annotation: Any, seen: frozenset[Any]) -> bool:
    origin = typing.get_origin(annotation) or annotation
    if isinstance(origin, type) and issubclass(origin, SecretStr | SecretBytes | Secret):
        return True
    if isinstance(origin, type) and issubclass(origin, BaseModel) and origin not in seen:
        seen |= {origin}
        return any(
            _NAMES.search(name) or _has_secret_type(field.annotation, seen)
            for name, field in origin.model_fields.items()
        )
    return any(_has_secret_type(argument, seen) for argument in typing.get_args(annotation))


def shown(value: Any, *, secret: bool) -> str:
    """A value for people: a secret as stars, and a URL without its password."""
    if secret:
        return STARS if value not in (None, "", b"") else repr(value)
    text = value if isinstance(value, str) else repr(value)
    return _URL_PASSWORD.sub(rf"\1:{STARS}@", text)
