"""The decorators of path operations, shared by routers and apps."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from typing_extensions import Unpack

from ..types import DecoratedCallable
from .options import OperationOptions, show_options


class Operations:
    """``get``, ``post`` and so on: each declares the decorated function as a path operation."""

    @abstractmethod
    def _operation(self, path: str, method: str, options: OperationOptions) -> Callable[[Any], Any]:
        """The decorator for one method."""

    def get(
        self, path: str, **options: Unpack[OperationOptions]
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers ``GET path``; see `OperationOptions` for the options."""
        return self._operation(path, "GET", options)

    def put(
        self, path: str, **options: Unpack[OperationOptions]
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers ``PUT path``."""
        return self._operation(path, "PUT", options)

    def post(
        self, path: str, **options: Unpack[OperationOptions]
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers ``POST path``."""
        return self._operation(path, "POST", options)

    def delete(
        self, path: str, **options: Unpack[OperationOptions]
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers ``DELETE path``."""
        return self._operation(path, "DELETE", options)

    def options(
        self, path: str, **options: Unpack[OperationOptions]
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers ``OPTIONS path``."""
        return self._operation(path, "OPTIONS", options)

    def head(
        self, path: str, **options: Unpack[OperationOptions]
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers ``HEAD path``."""
        return self._operation(path, "HEAD", options)

    def patch(
        self, path: str, **options: Unpack[OperationOptions]
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers ``PATCH path``."""
        return self._operation(path, "PATCH", options)

    def trace(
        self, path: str, **options: Unpack[OperationOptions]
    ) -> Callable[[DecoratedCallable], DecoratedCallable]:
        """Answers ``TRACE path``."""
        return self._operation(path, "TRACE", options)


for _name in ("get", "put", "post", "delete", "options", "head", "patch", "trace"):
    show_options(getattr(Operations, _name))
