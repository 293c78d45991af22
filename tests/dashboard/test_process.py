"""What a serving process measures of itself."""

from __future__ import annotations

import asyncio
import time

from pelton import new_event_loop
from pelton.dashboard import ProcessFigures


def test_a_blocked_loop_shows_as_lag() -> None:
    figures = ProcessFigures()
    with asyncio.Runner(loop_factory=new_event_loop) as runner:

        async def watch() -> tuple[float, float]:
            figures.attach(asyncio.get_running_loop())
            figures()
            # The loop is not asked in between: the first call's question stays open.
            blocked = time.monotonic() + 0.05
            while time.monotonic() < blocked:
                pass
            during = figures()["lag"]
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return during, figures()["lag"]

        during, after = runner.run(watch())
    assert during >= 0.05
    assert after >= 0.05
