"""`pelton.trio.run`; Trio's own suite runs in tests/conformance/run_trio.py."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import sys
import threading
from functools import partial
from typing import Any

import pytest

import pelton.trio

if importlib.util.find_spec("trio") is None:
    trio: Any = None
else:
    trio = importlib.import_module("trio")

needs_trio = pytest.mark.skipif(trio is None, reason="requires Trio (pip install trio)")


def test_without_trio_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trio", None)

    async def main() -> None:
        pytest.fail("run")

    with pytest.raises(ImportError, match="pip install trio"):
        pelton.trio.run(main)


@needs_trio
def test_result_arguments_and_errors() -> None:
    async def main(first: int, second: int) -> int:
        await trio.sleep(0)
        return first + second

    async def fails() -> None:
        raise ValueError("mine")

    assert pelton.trio.run(main, 1, 2) == 3
    with pytest.raises(ValueError, match="mine"):
        pelton.trio.run(fails)
    with pytest.raises(TypeError):
        pelton.trio.run(main(1, 2))  # type: ignore[arg-type]


@needs_trio
@pytest.mark.parametrize("known", [True, False], ids=["our waits", "Trio's thread"])
def test_network_threads_and_time(known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not known:
        monkeypatch.setattr(pelton.trio._Waits, "of", classmethod(lambda *_: None))

    async def echo(stream: Any) -> None:
        async for data in stream:
            await stream.send_all(data)

    async def main() -> str:
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
            port = listener.socket.getsockname()[1]
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                for _ in range(20):
                    await stream.send_all(b"hello")
                    assert await stream.receive_some() == b"hello"
            assert await trio.to_thread.run_sync(threading.get_ident) != threading.get_ident()
            with trio.move_on_after(0.01) as scope:
                await trio.sleep_forever()
            assert scope.cancelled_caught
            done = await trio.run_process([sys.executable, "-c", "print(5)"], capture_stdout=True)
            assert done.stdout == b"5\n"
            nursery.cancel_scope.cancel()
        return "done"

    assert pelton.trio.run(main) == "done"


@needs_trio
def test_waiting_needs_no_thread() -> None:
    async def main() -> int:
        await trio.sleep(0.01)
        return threading.active_count()

    before = threading.active_count()
    assert pelton.trio.run(main) == before


@needs_trio
def test_both_worlds_wake_each_other() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, pelton.Loop)
        event = trio.Event()
        future = loop.create_future()
        future.add_done_callback(lambda _: event.set())
        loop.call_later(0.01, future.set_result, 7)
        await event.wait()
        token = trio.lowlevel.current_trio_token()
        again = trio.Event()
        thread = threading.Thread(target=lambda: token.run_sync_soon(again.set))
        thread.start()
        await again.wait()
        thread.join()
        return int(future.result())

    assert pelton.trio.run(main) == 7


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@needs_trio
@pytest.mark.parametrize("when", ["busy", "in the host", "waiting"])
def test_ctrl_c_reaches_the_program(when: str) -> None:
    ended = []

    async def main() -> None:
        try:
            if when == "busy":
                interrupt()
            elif when == "in the host":
                asyncio.get_running_loop().call_soon(interrupt)
            else:
                threading.Timer(0.1, interrupt).start()
            await trio.sleep_forever()
        finally:
            ended.append("finally")

    with pytest.raises(KeyboardInterrupt):
        pelton.trio.run(main)
    assert ended == ["finally"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@needs_trio
def test_not_inside_another_run() -> None:
    async def inner() -> None:
        pytest.fail("run")

    async def main() -> None:
        with pytest.raises(RuntimeError, match="inside"):
            pelton.trio.run(inner)

    pelton.trio.run(main)
    asyncio.run(main())


@needs_trio
def test_what_asyncio_left_is_ended() -> None:
    ended = []

    async def beside() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("beside")

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(beside())
        await trio.sleep(0.001)
        assert not task.done()

    pelton.trio.run(main)
    assert ended == ["beside"]
