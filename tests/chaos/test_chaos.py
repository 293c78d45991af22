"""The short form of `make chaos`."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path

import pytest

from tests.chaos import run


@pytest.mark.slow
def test_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = int(os.environ.get("PELTON_TEST_SEED", random.randrange(10**6)))
    print(f"PELTON_TEST_SEED={seed}")
    notes = tmp_path / "notes"
    notes.mkdir()
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    monkeypatch.setenv("PELTON_BROKER", url)
    monkeypatch.setenv("PELTON_CHAOS_NOTES", str(notes))
    print(asyncio.run(run.chaos(url, notes, jobs=500, seed=seed)))
