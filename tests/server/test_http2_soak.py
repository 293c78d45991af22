"""HTTP/2 clients that change their minds: what they take back leaves nothing behind."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from pelton.server import stats
from pelton.web import FastAPI, Request
from pelton.web.responses import StreamingResponse
from tests.server.http2_support import Http2Client, forget_servers, http2
from tests.server.support import Address, run, serving

CLIENTS, ROUNDS, AT_ONCE = 8, 25, 12


def make_app() -> FastAPI:
    app = FastAPI()

    @app.get("/quick")
    async def quick() -> str:
        return "quick"

    @app.get("/slow/{turns}")
    async def slow(turns: int) -> int:
        for _ in range(turns):
            await asyncio.sleep(0)
        return turns

    @app.post("/sum")
    async def total(request: Request) -> int:
        return sum(len(piece) for piece in [piece async for piece in request.stream()])

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> Any:
            for _ in range(20):
                yield b"x" * 5000
                await asyncio.sleep(0)

        return StreamingResponse(pieces())

    return app


async def change_minds(address: Address, seed: int) -> tuple[int, int]:
    """Asks for this and that, and takes some of it back; how much was asked and taken back."""
    chance = random.Random(seed)
    asked = cancelled = 0
    async with http2(address) as client:
        for _ in range(ROUNDS):
            kept = []
            for _ in range(chance.randrange(1, AT_ONCE)):
                stream = begin(client, chance)
                asked += 1
                if chance.random() < 0.3:
                    client.h2.reset_stream(stream, 8)
                    cancelled += 1
                else:
                    kept.append(stream)
                if chance.random() < 0.3:
                    client.flush()
                    await asyncio.sleep(0)
            client.flush()
            for stream in kept:
                answer = await client.answer(stream)
                assert (answer.status, answer.reset) == (200, None)
        # What was taken back last has been read when this comes back.
        client.h2.ping(b"the end.")
        client.flush()
        await client.until(lambda: client.pongs == [b"the end."])
    return asked, cancelled


def begin(client: Http2Client, chance: random.Random) -> int:
    kind = chance.randrange(4)
    if kind == 0:
        return client.request("GET", "/quick")
    if kind == 1:
        return client.request("GET", f"/slow/{chance.randrange(50)}")
    if kind == 2:
        return client.request("GET", "/stream")
    room = client.h2.outbound_flow_control_window
    return client.request("POST", "/sum", body=b"y" * min(chance.randrange(20_000), room))


@pytest.mark.slow
def test_requests_taken_back_leave_nothing() -> None:
    async def main() -> None:
        async with serving(make_app(), http2_max_resets=10_000) as address:
            counts = await asyncio.gather(*(change_minds(address, seed) for seed in range(CLIENTS)))
            asked, cancelled = (sum(column) for column in zip(*counts, strict=True))
            counted = stats()
            assert counted["in_flight"] == 0
            assert cancelled > asked / 5
            # Those taken back in the packet that brought them were never requests.
            assert asked - cancelled <= counted["requests"] <= asked
            answered = counted["responses"]["2xx"]
            assert answered + counted["disconnected"] == counted["requests"]
            assert (counted["failed"], counted["refused"]) == (0, 0)
            # All is as before: the next client gets every stream that it may have.
            async with http2(address) as client:
                streams = [client.request("GET", "/quick") for _ in range(100)]
                for stream in streams:
                    assert (await client.answer(stream)).status == 200

    forget_servers()
    run(main())
