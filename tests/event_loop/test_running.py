"""Starting and ending: run, policies, signals, executors, generators, processes."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator

import pytest

import pelton
from pelton.observe import loop_stats


async def current() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_run_uses_our_loop_and_closes_it() -> None:
    loop = pelton.run(current())
    assert isinstance(loop, pelton.Loop)
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert loop.is_closed()


def test_runner_takes_the_factory() -> None:
    with asyncio.Runner(loop_factory=pelton.new_event_loop) as runner:
        assert runner.run(current()) is runner.get_loop()
        assert isinstance(runner.get_loop(), pelton.Loop)


def test_run_refuses_inside_a_loop() -> None:
    async def main() -> None:
        coroutine = current()
        with pytest.raises(RuntimeError, match="running event loop"):
            pelton.run(coroutine)
        coroutine.close()

    pelton.run(main())


def test_install_sets_the_policy() -> None:
    code = (
        "import asyncio, pelton\n"
        "pelton.install()\n"
        "async def main(): return type(asyncio.get_running_loop())\n"
        "assert asyncio.run(main()) is pelton.Loop\n"
        "loop = asyncio.new_event_loop()\n"
        "assert isinstance(loop, pelton.Loop)\n"
        "loop.close()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_tasks_and_futures_are_asyncios_own(our_loop: pelton.Loop) -> None:
    async def main() -> str:
        assert type(our_loop.create_future()) is asyncio.Future
        task = our_loop.create_task(asyncio.sleep(0, "done"), name="named")
        assert type(task) is asyncio.Task
        assert task.get_name() == "named"
        return await task

    assert our_loop.run_until_complete(main()) == "done"


def test_task_factory_and_context(loop: asyncio.AbstractEventLoop) -> None:
    var = contextvars.ContextVar("var", default="unset")
    made: list[object] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: object, **kwargs: object) -> object:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **kwargs)  # type: ignore[arg-type]

    async def read() -> str:
        return var.get()

    async def main() -> None:
        context = contextvars.copy_context()
        context.run(var.set, "given")
        assert await loop.create_task(read(), context=context) == "given"
        loop.set_task_factory(factory)  # type: ignore[arg-type]
        assert await loop.create_task(read()) == "unset"
        assert len(made) == 1

    loop.run_until_complete(main())


def test_executor_and_name_lookup(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
        [info] = await loop.getaddrinfo("127.0.0.1", 80, type=1)
        assert info[4] == ("127.0.0.1", 80)

    loop.run_until_complete(main())


def test_generators_are_closed_at_the_end(loop: asyncio.AbstractEventLoop) -> None:
    closed: list[bool] = []

    async def endless() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    async def main() -> AsyncIterator[int]:
        generator = endless()
        await anext(generator)
        return generator

    generator = loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert closed == [True]
    del generator


def test_signal_handler_runs_on_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    got: list[int] = []

    def handler(argument: int) -> None:
        got.append(argument)
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler, 7)
    loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert got == [7]
    assert loop.remove_signal_handler(signal.SIGUSR1)
    assert not loop.remove_signal_handler(signal.SIGUSR1)


def test_interrupt_while_waiting_cancels_the_main_task() -> None:
    cancelled: list[bool] = []

    async def main() -> None:
        # From a thread, so that the loop is waiting when the signal comes.
        interrupt = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        interrupt.start()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        finally:
            interrupt.join()

    with pytest.raises(KeyboardInterrupt):
        pelton.run(main())
    assert cancelled == [True]


def test_interrupt_without_a_runner_leaves_run_forever(loop: asyncio.AbstractEventLoop) -> None:
    interrupt = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
    interrupt.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    interrupt.join()


def test_processes(our_loop: pelton.Loop) -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            "print(input()[::-1])",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        output, _ = await process.communicate(b"hello\n")
        assert (output, process.returncode) == (b"olleh\n", 0)

    pelton.run(main())


def test_datagram_endpoint(loop: asyncio.AbstractEventLoop) -> None:
    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
            self.transport = transport

        def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
            self.transport.sendto(data[::-1], addr)

    class Client(asyncio.DatagramProtocol):
        def __init__(self) -> None:
            self.got = loop.create_future()

        def datagram_received(self, data: bytes, addr: object) -> None:
            self.got.set_result(data)

    async def main() -> None:
        server, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
        client, protocol = await loop.create_datagram_endpoint(
            Client, remote_addr=server.get_extra_info("sockname")
        )
        client.sendto(b"hello")
        assert await protocol.got == b"olleh"
        client.close()
        server.close()
        await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_child_of_fork_has_its_own_loop() -> None:
    code = (
        "import asyncio, os, pelton\n"
        "async def main():\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        os._exit(pelton.run(asyncio.sleep(0, 7)) - 7)\n"
        "    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
        "assert pelton.run(main()) == 0\n"
    )
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


def test_counters_tell_what_ran(our_loop: pelton.Loop) -> None:
    async def main() -> None:
        for _ in range(100):
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)

    before = loop_stats(our_loop)
    our_loop.run_until_complete(main())
    after = loop_stats(our_loop)
    assert after.callbacks - before.callbacks >= 100
    assert after.turns - before.turns >= 100
    assert sum(after.turn_time) == after.turns
    assert sum(after.timer_lag) == 1
    assert 0 < after.parked <= after.running
    assert 0 < after.utilisation < 1
    assert after.ready_max >= 1
    assert loop_stats(our_loop).ready_max == 0


def test_counters_of_another_loop_are_refused() -> None:
    loop = asyncio.SelectorEventLoop()
    with pytest.raises(TypeError, match=r"pelton\.run"):
        loop_stats(loop)
    loop.close()
