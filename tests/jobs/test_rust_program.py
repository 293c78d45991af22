"""A Rust program and a Python one at the same queues: `crates/pelton-jobs/examples`."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest

from .support import new_jobs, on_loop, working

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@on_loop
async def test_both_work_the_same_queues(tmp_path: Path) -> None:
    jobs = new_jobs(tmp_path)

    @jobs.task(name="rust.add", queue="rust")
    async def add(a: int, b: int) -> int:
        raise AssertionError("this is Rust's to run")

    @jobs.task(name="python.double")
    async def double(value: int) -> int:
        return 2 * value

    async with working(jobs, queues=["default"]):
        handles = [await add.enqueue(n, 10) for n in range(5)]
        await run_rust(jobs.url, "work", "5")
        assert [await handle.result(60) for handle in handles] == [10, 11, 12, 13, 14]
        ids = (await run_rust(jobs.url, "enqueue", "3")).split()
        assert [await (await jobs.job(id)).result(60) for id in ids] == [0, 2, 4]


async def run_rust(url: str, *words: str) -> str:
    """What the example prints. `cargo test` has built it; where it was not run, this does."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target")
    program = target / "release" / "examples" / "rust_worker"
    if not program.exists():
        build = ["cargo", "build", "--quiet", "--release", "--locked", "-p", "pelton-jobs"]
        building = await asyncio.create_subprocess_exec(*build, "--example=rust_worker", cwd=ROOT)
        assert await building.wait() == 0
    process = await asyncio.create_subprocess_exec(
        program, url, *words, stdout=subprocess.PIPE, cwd=ROOT
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()
