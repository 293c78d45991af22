"""AnyIO programs on our loop, and AnyIO's scopes and ours inside each other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

import pelton
from tests.nursery.test_scope import FOREVER, counts, turns


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    return anyio.run(main, backend_options={"loop_factory": pelton.new_event_loop})


def test_a_program() -> None:
    async def echo(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            async for data in stream:
                await stream.send(data)

    async def main() -> str:
        assert isinstance(asyncio.get_running_loop(), pelton.Loop)
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"hello")
                assert await stream.receive() == b"hello"
            assert await anyio.to_thread.run_sync(anyio.from_thread.run, anyio.sleep, 0) is None
            with anyio.move_on_after(0.01) as scope:
                await anyio.sleep(FOREVER)
            assert scope.cancelled_caught
            group.cancel_scope.cancel()
        return "done"

    assert run(main) == "done"


def test_our_scope_in_anyios() -> None:
    async def main() -> None:
        with anyio.move_on_after(0.01) as outer:
            with pelton.CancelScope() as inner:
                await asyncio.sleep(FOREVER)
            pytest.fail("not cancelled")
        assert outer.cancelled_caught
        assert not inner.cancelled_caught
        with anyio.CancelScope() as outer:
            with pelton.move_on_after(0.01) as inner:
                await anyio.sleep(FOREVER)
            await anyio.lowlevel.checkpoint()
        assert inner.cancelled_caught
        assert not outer.cancelled_caught
        assert counts() == 0

    run(main)


def test_anyios_scope_in_ours() -> None:
    async def main() -> None:
        with pelton.move_on_after(0.01) as outer:
            with anyio.CancelScope() as inner:
                await anyio.sleep(FOREVER)
            pytest.fail("not cancelled")
        assert outer.cancelled_caught
        assert not inner.cancelled_caught
        with pelton.CancelScope() as outer:
            with anyio.move_on_after(0.01) as inner:
                await anyio.sleep(FOREVER)
            await anyio.lowlevel.checkpoint()
        assert inner.cancelled_caught
        assert not outer.cancelled_caught
        assert counts() == 0

    run(main)


@pytest.mark.parametrize("outer_first", [True, False])
@pytest.mark.parametrize("ours_outside", [True, False])
def test_both_cancelled_at_once(ours_outside: bool, outer_first: bool) -> None:
    async def main() -> None:
        kinds: list[Any] = [pelton.CancelScope, anyio.CancelScope]
        outer, inner = (kind() for kind in (kinds if ours_outside else reversed(kinds)))
        with outer:
            with inner:
                scopes = [outer, inner] if outer_first else [inner, outer]
                loop = asyncio.get_running_loop()
                loop.call_soon(lambda: [scope.cancel() for scope in scopes])
                await asyncio.sleep(FOREVER)
            await asyncio.sleep(FOREVER)
        assert outer.cancelled_caught
        await turns()
        assert counts() == 0

    run(main)


def test_groups_and_nurseries_in_each_other() -> None:
    async def main() -> None:
        ended: list[str] = []

        async def leaf(name: str) -> None:
            try:
                await anyio.sleep(FOREVER)
            finally:
                ended.append(name)

        async def in_group() -> None:
            async with anyio.create_task_group() as group:
                group.start_soon(leaf, "group")

        async def in_nursery() -> None:
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(leaf, "nursery")
                nursery.start_soon(in_group)

        with pelton.move_on_after(0.02) as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(in_nursery)
        assert scope.cancelled_caught
        with anyio.move_on_after(0.02) as other:
            async with pelton.open_nursery() as nursery:
                nursery.start_soon(in_nursery)
        assert other.cancelled_caught
        assert sorted(ended) == ["group", "group", "nursery", "nursery"]
        assert counts() == 0

    run(main)


def test_errors_cross_both() -> None:
    async def main() -> None:
        async def fails() -> None:
            await anyio.lowlevel.checkpoint()
            raise ValueError("mine")

        for outer, inner in (
            (anyio.create_task_group, pelton.open_nursery),
            (pelton.open_nursery, anyio.create_task_group),
        ):
            with pytest.raises(ExceptionGroup) as raised:
                async with outer() as outside, inner() as inside:  # type: ignore[attr-defined]
                    outside.start_soon(anyio.sleep, FOREVER)
                    inside.start_soon(fails)
            (group,) = raised.value.exceptions
            assert isinstance(group, ExceptionGroup)
            assert isinstance(group.exceptions[0], ValueError)
        assert counts() == 0

    run(main)
