"""The short form of `make chaos`, on each broker."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.chaos import run
from tests.jobs.servers import SERVERS

KINDS = [
    pytest.param("sqlite"),
    *(
        pytest.param(kind, marks=pytest.mark.requires(SERVERS[kind].program))
        for kind in ("redis", "postgresql")
    ),
]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_lost(kind: str, tmp_path: Path) -> None:
    seed = int(os.environ.get("PELTON_TEST_SEED", random.randrange(10**6)))
    print(f"PELTON_TEST_SEED={seed}")
    print(asyncio.run(run.run(kind, tmp_path, run.Plan(300, seed))))
