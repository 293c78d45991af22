"""Makes pelton's loop the one that asyncio makes, in every interpreter started under a suite.

It is found by way of PYTHONPATH, so that a suite and the programs it starts run unchanged.
``PELTON_LOOP=pelton`` asks for it; anything else leaves asyncio's own loop.
"""

from __future__ import annotations

import os

if os.environ.get("PELTON_LOOP") == "pelton":
    import swap

    swap.swap()
