"""The soak of the web server in short, without a look at the clock."""

from __future__ import annotations

import asyncio
import sys

import pytest

from tests.soak.web import WebSoak

SEED = 20_261_130


@pytest.mark.slow
@pytest.mark.requires("openssl")
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_rude_clients_leave_nothing_and_disturb_nobody() -> None:
    wrong = asyncio.run(WebSoak(rude=40, seed=SEED).run(seconds=8.0))
    assert not wrong, "\n".join(wrong)
