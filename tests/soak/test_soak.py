"""The soak in short."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.soak.held import Held
from tests.soak.soak import Soak, compare

SEED = 20_261_121


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and uses all of 127/8")
def test_nothing_leaks_and_nothing_is_lost() -> None:
    wrong = asyncio.run(Soak(connections=200, seed=SEED).run(seconds=8.0))
    assert not wrong, "\n".join(wrong)


def held(**changed: int) -> Held:
    kept = {"fds": 9, "rss_bytes": 1 << 26, "objects": 9000, "connections": 0} | changed
    return Held(**{"transports": 0, "tasks": 0} | kept)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "leak",
    [{"fds": 10}, {"connections": 1}, {"transports": 1}, {"tasks": 1}, {"rss_bytes": 1 << 27}],
)
def test_what_is_left_is_wrong(leak: dict[str, int]) -> None:
    assert not compare(held(), held(), held())
    assert compare(held(), held(), held(**leak))
