"""Datagram endpoints: UDP and unix sockets."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any, cast

import pytest

import pelton


class Recorder(asyncio.DatagramProtocol):
    """Remembers all calls; `wait` until there are so many datagrams."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.datagrams: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.DatagramTransport, transport)
        self.calls.append("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.datagrams.append((data, addr))
        self.changed.set()

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)
        self.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.calls.append(f"lost {exc!r}")
        self.changed.set()

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")
        self.changed.set()

    async def until(self, condition: Any) -> None:
        async with asyncio.timeout(10):
            while not condition():
                self.changed.clear()
                await self.changed.wait()


async def endpoint(**options: Any) -> tuple[Any, Recorder]:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(Recorder, **options)
    return transport, protocol


async def closed(*protocols: Recorder) -> None:
    for protocol in protocols:
        protocol.transport.close()
        await protocol.until(lambda protocol=protocol: "lost" in protocol.calls[-1])
        assert protocol.calls.count("lost None") == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_there_and_back(loop: asyncio.AbstractEventLoop, host: str) -> None:
    async def main() -> None:
        server, receiving = await endpoint(local_addr=(host, 0))
        address = server.get_extra_info("sockname")
        client, sending = await endpoint(remote_addr=address[:2])
        assert server.get_extra_info("peername") is None
        assert client.get_extra_info("peername")[:2] == address[:2]
        assert client.get_extra_info("socket").getsockname()[0] == host
        assert client.get_extra_info("nothing", 7) == 7
        for n in range(100):
            client.sendto(b"%d" % n)
        await receiving.until(lambda: len(receiving.datagrams) == 100)
        name = client.get_extra_info("sockname")
        assert receiving.datagrams == [(b"%d" % n, name) for n in range(100)]
        server.sendto(bytearray(b"back"), name)
        server.sendto(memoryview(b"again"), name)
        await sending.until(lambda: len(sending.datagrams) == 2)
        assert sending.datagrams == [(b"back", address), (b"again", address)]
        assert sending.calls == receiving.calls == ["made"]
        assert sending.errors == receiving.errors == []
        await closed(sending, receiving)

    loop.run_until_complete(main())


def test_what_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, receiving = await endpoint(local_addr=("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        client, sending = await endpoint(remote_addr=address)
        with pytest.raises(ValueError, match="Invalid address: must be None or"):
            client.sendto(b"x", ("127.0.0.1", 1))
        with pytest.raises(TypeError, match="bytes-like object, not 'str'"):
            client.sendto("text")
        client.sendto(b"x", address)
        await receiving.until(lambda: receiving.datagrams)
        await closed(sending, receiving)

    loop.run_until_complete(main())


def test_nobody_listens(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        with socket.socket(type=socket.SOCK_DGRAM) as unused:
            unused.bind(("127.0.0.1", 0))
            address = unused.getsockname()
        client, sending = await endpoint(remote_addr=address)
        client.sendto(b"x")
        await sending.until(lambda: sending.errors)
        assert isinstance(sending.errors[0], ConnectionRefusedError)
        assert not client.is_closing()
        await closed(sending)

    loop.run_until_complete(main())


def test_too_long_is_an_error_received(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        client, sending = await endpoint(local_addr=("127.0.0.1", 0))
        client.sendto(bytes(100_000), client.get_extra_info("sockname"))
        assert [error.errno for error in cast(list[OSError], sending.errors)] == [90]
        client.sendto(b"fits", client.get_extra_info("sockname"))
        await sending.until(lambda: sending.datagrams)
        await closed(sending)

    loop.run_until_complete(main())


def test_wrong_address_closes(loop: asyncio.AbstractEventLoop) -> None:
    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))

    async def main() -> None:
        client, sending = await endpoint(local_addr=("127.0.0.1", 0))
        client.sendto(b"x", ("127.0.0.1", "port"))
        await sending.until(lambda: len(sending.calls) == 2)
        assert "TypeError" in sending.calls[1]
        assert client.is_closing()

    loop.run_until_complete(main())
    assert reported[0]["message"] == "Fatal write error on datagram transport"
    assert isinstance(reported[0]["protocol"], Recorder)


def test_resolved_name(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, receiving = await endpoint(local_addr=("127.0.0.1", 0))
        port = server.get_extra_info("sockname")[1]
        server.sendto(b"x", ("localhost", port))  # asyncio leaves it to the socket as well
        await receiving.until(lambda: receiving.datagrams)
        assert receiving.datagrams == [(b"x", ("127.0.0.1", port))]
        await closed(receiving)

    loop.run_until_complete(main())


def test_empty_datagram_arrives(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, receiving = await endpoint(local_addr=("127.0.0.1", 0))
        address = server.get_extra_info("sockname")
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            client.sendto(b"", address)
        await receiving.until(lambda: receiving.datagrams)
        assert receiving.datagrams[0][0] == b""
        server.sendto(b"", address)  # sent from 3.13 on
        server.sendto(b"x", address)
        await receiving.until(lambda: receiving.datagrams[-1][0] == b"x")
        assert len(receiving.datagrams) == (3 if sys.version_info >= (3, 13) else 2)
        await closed(receiving)

    loop.run_until_complete(main())


def test_closed_while_datagrams_wait(loop: asyncio.AbstractEventLoop) -> None:
    class ClosesAtFirst(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.close()

    async def main() -> None:
        transport, receiving = await loop.create_datagram_endpoint(
            ClosesAtFirst, local_addr=("127.0.0.1", 0)
        )
        with socket.socket(type=socket.SOCK_DGRAM) as client:
            for _ in range(5):
                client.sendto(b"x", transport.get_extra_info("sockname"))
        await receiving.until(lambda: "lost None" in receiving.calls)
        assert len(receiving.datagrams) == 1
        for _ in range(3):
            transport.sendto(b"x", ("127.0.0.1", 9)) if isinstance(loop, pelton.Loop) else None
        assert transport.is_closing()

    loop.run_until_complete(main())


def test_paused_reading_leaves_datagrams_to_the_kernel(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        server, receiving = await endpoint(local_addr=("127.0.0.1", 0))
        server.pause_reading()
        assert not server.is_reading()
        server.sendto(b"x", server.get_extra_info("sockname"))
        await asyncio.sleep(0.01)
        assert not receiving.datagrams
        server.resume_reading()
        await receiving.until(lambda: receiving.datagrams)
        await closed(receiving)

    loop.run_until_complete(main())


def test_failing_protocol_is_reported_and_goes_on(loop: asyncio.AbstractEventLoop) -> None:
    class Fails(Recorder):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            raise ZeroDivisionError

    reported: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: reported.append(context))

    async def main() -> None:
        transport, receiving = await loop.create_datagram_endpoint(
            Fails, local_addr=("127.0.0.1", 0)
        )
        for _ in range(2):
            transport.sendto(b"x", transport.get_extra_info("sockname"))
        await receiving.until(lambda: len(receiving.datagrams) == 2)
        await closed(receiving)

    loop.run_until_complete(main())
    assert [type(context["exception"]) for context in reported] == [ZeroDivisionError] * 2


def test_flow_control_on_a_full_unix_socket(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with right:
            left.setblocking(False)
            right.setblocking(False)
            left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            # asyncio asks for a peer name, which one end of a socket pair has not.
            peer = "peer" if sys.platform == "linux" else None
            transport = cast(Any, loop)._make_datagram_transport(
                left, protocol := Recorder(), extra={"peername": peer}
            )
            await asyncio.sleep(0.01)
            transport.set_write_buffer_limits(high=1000)
            assert transport.get_write_buffer_limits() == (250, 1000)
            sent = 0
            while "pause" not in protocol.calls:
                transport.sendto(b"%100d" % sent)
                sent += 1
            assert transport.get_write_buffer_size() > 1000
            got = [int(await loop.sock_recv(right, 200)) for _ in range(sent)]
            assert got == list(range(sent))
            await protocol.until(lambda: "resume" in protocol.calls)
            if isinstance(loop, pelton.Loop):  # 3.13.0 of asyncio's forgets to count down
                assert transport.get_write_buffer_size() == 0
            await closed(protocol)

    loop.run_until_complete(main())


def test_closing_sends_what_waits(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with right:
            left.setblocking(False)
            right.setblocking(False)
            transport = cast(Any, loop)._make_datagram_transport(
                left, protocol := Recorder(), extra={"peername": "peer"}
            )
            await asyncio.sleep(0.01)
            sent = 0
            while not transport.get_write_buffer_size():
                transport.sendto(b"%d" % sent)
                sent += 1
            transport.close()
            got = [int(await loop.sock_recv(right, 200)) for _ in range(sent)]
            assert got == list(range(sent))
            await protocol.until(lambda: "lost None" in protocol.calls)

    loop.run_until_complete(main())


def test_socketpair(our_loop: pelton.Loop) -> None:
    async def main() -> None:
        left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        one, receiving_one = await endpoint(sock=left)
        other, receiving_other = await endpoint(sock=right)
        one.sendto(b"hello", None)
        other.sendto(b"hi")
        await receiving_one.until(lambda: receiving_one.datagrams)
        await receiving_other.until(lambda: receiving_other.datagrams)
        assert receiving_one.datagrams == [(b"hi", None)]
        assert receiving_other.datagrams == [(b"hello", None)]
        await closed(receiving_one, receiving_other)

    our_loop.run_until_complete(main())


@pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
@pytest.mark.parametrize("abstract", [False, True])
def test_unix_names(loop: asyncio.AbstractEventLoop, tmp_path: Path, abstract: bool) -> None:
    def name(end: str) -> str:
        return f"\0pelton-{os.getpid()}-{end}" if abstract else str(tmp_path / end)

    async def main() -> None:
        server, receiving = await endpoint(local_addr=name("server"), family=socket.AF_UNIX)
        client, sending = await endpoint(
            local_addr=name("client"), remote_addr=name("server"), family=socket.AF_UNIX
        )
        client.sendto(b"x")
        await receiving.until(lambda: receiving.datagrams)
        data, sender = receiving.datagrams[0]
        assert (data, sender) == (b"x", client.get_extra_info("sockname"))
        server.sendto(b"back", sender)
        await sending.until(lambda: sending.datagrams)
        assert sending.datagrams[0][0] == b"back"
        await closed(sending, receiving)

    loop.run_until_complete(main())


def test_is_what_asyncio_makes(loop: asyncio.AbstractEventLoop) -> None:
    async def main() -> None:
        transport, protocol = await endpoint(local_addr=("127.0.0.1", 0))
        assert isinstance(transport, asyncio.Transport)
        if sys.version_info >= (3, 12):
            assert isinstance(transport, asyncio.DatagramTransport)
        assert transport.get_protocol() is protocol
        other = Recorder()
        transport.set_protocol(other)
        transport.sendto(b"x", transport.get_extra_info("sockname"))
        await other.until(lambda: other.datagrams)
        assert transport.max_size == 256 * 1024
        with pytest.raises(ValueError, match="must be >= low"):
            transport.set_write_buffer_limits(high=1, low=2)
        transport.abort()
        await other.until(lambda: other.calls)

    loop.run_until_complete(main())


def test_loop_closed_with_an_open_transport(our_loop: pelton.Loop) -> None:
    transport, _ = our_loop.run_until_complete(endpoint(local_addr=("127.0.0.1", 0)))
    with pytest.warns(ResourceWarning, match="unclosed transport <DatagramTransport"):
        our_loop.close()
    assert transport.is_closing()
