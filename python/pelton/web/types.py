"""Type names shared across the framework, under FastAPI's own names for them."""

import types
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

from pydantic import BaseModel
from pydantic.main import IncEx as IncEx

DecoratedCallable = TypeVar("DecoratedCallable", bound=Callable[..., Any])
"""A function that a decorator gives back unchanged."""

UnionType = types.UnionType
"""The type of ``int | str``."""

ModelNameMap = dict[type[BaseModel] | type[Enum], str]
"""The name each model and enumeration has in an OpenAPI document."""

DependencyCacheKey = tuple[Callable[..., Any] | None, tuple[str, ...], str]
"""What makes two uses of a dependency the same one: callable, OAuth2 scopes, lifetime."""
