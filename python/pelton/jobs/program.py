"""Where the program lies, told from a module of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

MAIN_IN_CHILD = "__pelton_main__"
"""What a pool process calls the script that its worker was started with."""


def program_folder(frame: FrameType) -> Path:
    """The folder of the top module or package that the frame's code belongs to.

    The working directory where there is none (an interactive session), and for installed packages,
    whose folder is not the user's to write in.
    """
    file = frame.f_globals.get("__file__")
    if not isinstance(file, str):
        return Path.cwd()
    folder = Path(file).resolve().parent
    package = frame.f_globals.get("__package__") or ""
    for _ in package.split(".") if package else ():
        folder = folder.parent
    if "site-packages" in folder.parts or "dist-packages" in folder.parts:
        return Path.cwd()
    return folder


def module_name(fn: Callable[..., Any]) -> str:
    """The name that every process would import the function's module by.

    A script that enqueues runs as `__main__`, its worker imports it by name: both must mean the
    same task.
    """
    name = fn.__module__
    if name not in ("__main__", MAIN_IN_CHILD):
        return name
    main = sys.modules.get(name)
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return str(spec.name).removesuffix(".__main__")
    file = getattr(main, "__file__", None) or fn.__code__.co_filename
    return Path(file).stem
