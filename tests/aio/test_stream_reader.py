"""`StreamReader` beside asyncio's: the same bytes fed, the same reads, the same outcomes."""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

import pytest

from pelton import aio

LIMIT = 20


class Transport:
    """Counts what a reader asks of it."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def pause_reading(self) -> None:
        self.calls.append("pause")

    def resume_reading(self) -> None:
        self.calls.append("resume")


async def outcome_of(read: Any) -> tuple[str, ...]:
    """What a read came to."""
    try:
        return ("returned", repr(await read))
    except asyncio.IncompleteReadError as error:
        return ("incomplete", repr(error.partial), repr(error.expected))
    except asyncio.LimitOverrunError as error:
        return ("overrun", str(error), repr(error.consumed))
    except (ValueError, TypeError, KeyError) as error:
        return (type(error).__name__, str(error))


def script(seed: int) -> list[tuple[str, Any]]:
    """Steps: bytes to feed, a way to read, the end."""
    rng = random.Random(seed)
    steps: list[tuple[str, Any]] = []
    for _ in range(30):
        if rng.random() < 0.5:
            size = rng.choice([1, 3, 10, 30])
            steps.append(("feed", bytes(rng.choice(b"ab\n-") for _ in range(size))))
        else:
            separators: list[Any] = [b"\n", b"a-", b"ab\n", bytearray(b"--")]
            if sys.version_info >= (3, 13):
                separators += [(b"a\n", b"\n"), (b"-", b"b-", b"ab")]
            steps.append(
                rng.choice(
                    [
                        ("read", rng.choice([0, 1, 5, 100])),
                        ("readexactly", rng.choice([0, 1, 7, 45])),
                        ("readuntil", rng.choice(separators)),
                        ("readline", None),
                    ]
                )
            )
    steps.append(("end", None))
    steps += [("readline", None), ("readexactly", 3), ("read", 50), ("read", -1)]
    return steps


async def play(steps: list[tuple[str, Any]], cls: Any) -> list[Any]:
    """What each step came to, with the state after it."""
    reader, transport = cls(limit=LIMIT), Transport()
    reader.set_transport(transport)
    log: list[Any] = []
    waiting: asyncio.Task[tuple[str, ...]] | None = None
    for name, value in steps:
        if name == "feed":
            reader.feed_data(value)
        elif name == "end":
            reader.feed_eof()
        else:
            if waiting is not None and not waiting.done():
                continue  # a read waits: its bytes come first
            read = getattr(reader, name)
            waiting = asyncio.create_task(outcome_of(read() if value is None else read(value)))
        for _ in range(3):
            await asyncio.sleep(0)
        done = waiting is not None and waiting.done()
        log.append((name, value, waiting.result() if waiting and done else None))
        # Not how often it was paused: for a read that wants more, ours is not paused at all.
        log.append((bytes(reader._buffer), reader.at_eof(), reader._paused))
        balance = transport.calls.count("pause") - transport.calls.count("resume")
        assert balance == int(reader._paused)
    return log


@pytest.mark.parametrize("seed", range(40))
def test_it_does_what_asyncios_does(seed: int) -> None:
    steps = script(seed)
    assert asyncio.run(play(steps, aio.StreamReader)) == asyncio.run(
        play(steps, asyncio.StreamReader)
    )


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("readexactly", (-1,)),
        ("readuntil", (b"",)),
        ("readuntil", ("text",)),
        ("read", ("x",)),
    ],
)
def test_wrong_arguments_are_refused(method: str, arguments: tuple[Any, ...]) -> None:
    async def main(cls: Any) -> str:
        reader = cls()
        reader.feed_data(b"abc\n")
        try:
            await getattr(reader, method)(*arguments)
        except (ValueError, TypeError) as error:
            return type(error).__name__
        return "accepted"

    assert asyncio.run(main(aio.StreamReader)) == asyncio.run(main(asyncio.StreamReader))


def test_a_limit_must_be_positive() -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            aio.StreamReader(limit=0)

    asyncio.run(main())


def test_a_transport_that_cannot_pause_is_not_asked_again() -> None:
    class Stubborn(Transport):
        def pause_reading(self) -> None:
            super().pause_reading()
            raise NotImplementedError

    async def main() -> None:
        reader, transport = aio.StreamReader(limit=1), Stubborn()
        reader.set_transport(transport)  # type: ignore[arg-type]
        reader.feed_data(b"abc")
        reader.feed_data(b"def")
        assert transport.calls == ["pause"]
        assert await reader.readexactly(6) == b"abcdef"

    asyncio.run(main())


def test_all_until_the_end_goes_beyond_the_limit() -> None:
    async def main() -> None:
        reader, transport = aio.StreamReader(limit=LIMIT), Transport()
        reader.set_transport(transport)  # type: ignore[arg-type]
        read = asyncio.create_task(reader.read())
        for _ in range(10):
            await asyncio.sleep(0)
            reader.feed_data(b"x" * LIMIT)
        reader.feed_eof()
        assert await read == b"x" * LIMIT * 10
        assert transport.calls.count("pause") == transport.calls.count("resume")

    asyncio.run(main())


def test_an_exception_ends_the_read_that_waits() -> None:
    async def main() -> None:
        reader = aio.StreamReader()
        read = asyncio.create_task(reader.readline())
        await asyncio.sleep(0)
        error = OSError("gone")
        reader.set_exception(error)
        with pytest.raises(OSError, match="gone"):
            await read
        with pytest.raises(OSError, match="gone"):
            await reader.read(1)
        assert reader.exception() is error

    asyncio.run(main())


def test_a_read_is_a_coroutine() -> None:
    async def main() -> None:
        reader = aio.StreamReader()
        read = reader.readuntil(b"x")
        assert asyncio.iscoroutine(read)
        assert read.__qualname__ == "StreamReader.readuntil"
        read.close()
        reader.feed_data(b"ax")
        assert await asyncio.wait_for(reader.readuntil(b"x"), 10) == b"ax"

    asyncio.run(main())
