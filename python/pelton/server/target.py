"""Import strings."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from pelton.server.errors import StartupError

__all__ = ["resolve"]


def resolve(app: Any) -> Any:
    """The application that `app` is or, as `module:attribute`, names.

    `module` alone is `module:app`. The working directory is searched first. Raises StartupError
    where there is no such thing; an error inside the module passes through.
    """
    if not isinstance(app, str):
        return app
    name, _, path = app.partition(":")
    path = path or "app"
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the module itself: one that it imports may be missing, too.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise StartupError(
                f"no module {name!r} (looked in {os.getcwd()} and Python's path)", exit_code=2
            ) from error
        raise
    for attribute in path.split("."):
        try:
            found = getattr(found, attribute)
        except AttributeError as error:
            raise StartupError(f"module {name!r} has no {path!r}", exit_code=2) from error
    return found
