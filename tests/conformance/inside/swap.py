"""Puts pelton's loop where asyncio has its own."""

from __future__ import annotations

import asyncio
import asyncio.unix_events
from typing import Any

import pelton


class SelectorEventLoop(pelton.Loop):
    """pelton's loop under asyncio's name and signature; which selector was asked for is all one."""

    def __init__(self, selector: object = None) -> None:
        super().__init__()


def swap() -> None:
    """From here on, whoever asks asyncio for a loop gets ours."""
    modules: list[Any] = [asyncio, asyncio.unix_events]
    for module in modules:
        for name in ("SelectorEventLoop", "EventLoop"):  # the second since 3.13
            if hasattr(module, name):
                setattr(module, name, SelectorEventLoop)
    policy: Any = asyncio.DefaultEventLoopPolicy
    policy._loop_factory = SelectorEventLoop
    check()


def check() -> None:
    """Fails where asyncio still makes its own loop."""
    loop = asyncio.new_event_loop()
    loop.close()
    if not isinstance(loop, pelton.Loop):
        raise RuntimeError(f"asyncio still makes {type(loop)}")
