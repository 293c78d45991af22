"""What type checkers see of nurseries, channels and threads."""

from __future__ import annotations

from typing import assert_type

import pelton
from pelton import from_thread, to_process, to_thread


async def child(number: int, name: str) -> None:
    pass


async def serve(*, task_status: pelton.TaskStatus[int] = pelton.TASK_STATUS_IGNORED) -> None:
    task_status.started(1)
    task_status.started("one")  # type: ignore[arg-type]


async def main() -> None:
    async with pelton.open_nursery() as nursery:
        assert_type(nursery, pelton.Nursery)
        nursery.start_soon(child, 1, "one")
        nursery.start_soon(child, "one", 1)  # type: ignore[arg-type]
        nursery.start_soon(child, 1)  # type: ignore[arg-type]
        await nursery.start(serve)
    with pelton.move_on_after(1) as scope:
        assert_type(scope, pelton.CancelScope)
    send, receive = pelton.open_memory_channel[int](1)
    assert_type(send, pelton.MemorySendChannel[int])
    await send.send(1)
    await send.send("one")  # type: ignore[arg-type]
    assert_type(await receive.receive(), int)
    async for number in receive:
        assert_type(number, int)
    assert_type(await to_thread.run_sync(divmod, 7, 2), tuple[int, int])
    assert_type(await to_process.run_sync(len, "abc"), int)
    await to_thread.run_sync(len, 7)  # type: ignore[arg-type]


def in_thread() -> None:
    assert_type(from_thread.run_sync(len, "abc"), int)
    assert_type(from_thread.run(child, 1, "one"), None)
