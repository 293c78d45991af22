"""A pytest plugin that makes `trio.run` run its program as a guest of pelton's loop."""

from __future__ import annotations

import importlib
import logging
import os
from typing import Any

import pelton.trio

if os.environ.get("PELTON_LOOP") == "pelton":
    for name in ("trio", "trio._core", "trio._core._run"):
        module: Any = importlib.import_module(name)
        module.run = pelton.trio.run
    # Tests that collect garbage on a busy machine hold the loop, and count what is logged.
    logging.getLogger("pelton.stalls").disabled = True
    # A test imports a second copy of Trio, and leaves it behind: the others go on with the first.
    first = importlib.import_module("trio")
    ours: Any = pelton.trio
    ours._import_trio = lambda: first
