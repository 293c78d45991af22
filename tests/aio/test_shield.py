"""`shield`, where CPython's own tests do not look."""

from __future__ import annotations

import asyncio

import pytest

from pelton import aio
from tests.aio.support import Run, failure, turns, value


def test_what_is_shielded_goes_on(run: Run) -> None:
    async def main() -> None:
        inner = asyncio.create_task(value("inner", 4))
        outer = asyncio.ensure_future(aio.shield(inner))
        await turns(1)
        outer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await outer
        assert await inner == "inner"
        assert not inner._callbacks  # type: ignore[attr-defined]

    run(main())


def test_results_and_errors_pass(run: Run) -> None:
    async def main() -> None:
        assert await aio.shield(value(1)) == 1
        with pytest.raises(KeyError):
            await aio.shield(failure(KeyError()))

    run(main())


def test_what_is_done_is_returned_itself(run: Run) -> None:
    async def main() -> None:
        done = asyncio.get_running_loop().create_future()
        done.set_result(1)
        assert aio.shield(done) is done

    run(main())


def test_with_a_timeout(run: Run) -> None:
    async def main() -> str:
        inner = asyncio.create_task(value("late", 200))
        with pytest.raises(TimeoutError):
            await aio.wait_for(aio.shield(inner), 1e-9)
        return await inner

    assert run(main()) == "late"
