"""Makes pelton's loop the one that asyncio makes, in every interpreter started under a suite.

It is found by way of PYTHONPATH, so that a suite and the programs it starts run unchanged.
``PELTON_LOOP=pelton`` asks for it; anything else leaves asyncio's own loop. With ``PELTON_AIO``,
asyncio's primitives are replaced by those of pelton.aio, too.
"""

from __future__ import annotations

import os

if os.environ.get("PELTON_LOOP") == "pelton":
    import swap

    swap.swap()

if os.environ.get("PELTON_AIO"):
    import swap_aio

    swap_aio.swap()
