"""Callbacks' time by name."""

from __future__ import annotations

import asyncio
import functools
import time

import pytest

import pelton
from pelton import observe


def named(found: list[observe.CallbackTime], name: str) -> observe.CallbackTime:
    return next(entry for entry in found if entry.name.startswith(f"{name} (test_callbacks.py:"))


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def worker(rounds: int) -> None:
    for _ in range(rounds):
        spin(0.001)
        await asyncio.sleep(0)


def test_time_is_counted_under_the_coroutine_or_function() -> None:
    async def main() -> list[observe.CallbackTime]:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(worker(20))
        for _ in range(20):
            loop.call_soon(functools.partial(spin, 0.001))
        await task
        return observe.callbacks()

    found = pelton.run(main())
    assert found == sorted(found, key=lambda entry: entry.time, reverse=True)
    for name in ("worker", "spin"):
        entry = named(found, name)
        assert 1 <= entry.count <= 40
        assert entry.time >= 0.001
        assert entry.longest >= 0.001


def test_samples_stand_for_all() -> None:
    rounds = 200_000

    async def main() -> list[observe.CallbackTime]:
        for _ in range(rounds):
            await asyncio.sleep(0)
        return observe.callbacks()

    found = pelton.run(main())
    total = sum(entry.count for entry in found)
    assert rounds * 0.9 < total < rounds * 1.1


def test_a_protocol_is_named() -> None:
    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)  # type: ignore[attr-defined]

    async def main() -> list[observe.CallbackTime]:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert observe.loop_stats().transports >= 1
        for _ in range(200):
            writer.write(b"x")
            await reader.readexactly(1)
        writer.close()
        await writer.wait_closed()
        server.close()
        return observe.callbacks()

    names = [entry.name for entry in pelton.run(main())]
    assert any("Echo" in name for name in names), names


def test_objects_that_hide_their_name_do_no_harm() -> None:
    class Hidden:
        def __getattr__(self, name: str) -> object:
            raise RuntimeError(name)

        def __call__(self) -> None:
            done.set_result(None)

    async def main() -> None:
        nonlocal done
        loop = asyncio.get_running_loop()
        for _ in range(300):
            done = loop.create_future()
            loop.call_soon(Hidden())
            await done
        assert any("Hidden" in entry.name for entry in observe.callbacks())

    done: asyncio.Future[None]
    pelton.run(main())


def test_other_loops_are_refused() -> None:
    async def main() -> None:
        with pytest.raises(TypeError, match=r"pelton\.run"):
            observe.callbacks()

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())
