"""Makes pelton's loop the one that asyncio makes, in every interpreter started under a suite.

It is found by way of PYTHONPATH, so that a suite and the programs it starts run unchanged.
``PELTON_LOOP=pelton`` asks for it; anything else leaves asyncio's own loop, and puts it where
uvloop has its own. ``PELTON_SWAPS`` names modules here whose `swap` is called for it. With
``PELTON_AIO``, asyncio's primitives are replaced by those of pelton.aio, too.
"""

from __future__ import annotations

import importlib
import os

_swaps = os.environ.get("PELTON_SWAPS", "swap").split(",")
if os.environ.get("PELTON_LOOP") == "asyncio":
    _swaps = [_name for _name in _swaps if _name == "swap_uvloop"]
if os.environ.get("PELTON_LOOP") in ("pelton", "asyncio"):
    for _name in _swaps:
        importlib.import_module(_name).swap()

if os.environ.get("PELTON_AIO"):
    import swap_aio

    swap_aio.swap()
