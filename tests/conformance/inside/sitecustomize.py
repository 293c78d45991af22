"""Makes pelton's loop the one that asyncio makes, in every interpreter started under a suite.

It is found by way of PYTHONPATH, so that a suite and the programs it starts run unchanged.
``PELTON_LOOP=pelton`` asks for it; anything else leaves asyncio's own loop. ``PELTON_SWAPS``
names modules here whose `swap` is called for it. With ``PELTON_AIO``, asyncio's primitives are
replaced by those of pelton.aio, too.
"""

from __future__ import annotations

import importlib
import os

if os.environ.get("PELTON_LOOP") == "pelton":
    for _name in os.environ.get("PELTON_SWAPS", "swap").split(","):
        importlib.import_module(_name).swap()

if os.environ.get("PELTON_AIO"):
    import swap_aio

    swap_aio.swap()
