"""The server of the soak of the web: an app on our server; it counts what it holds. A program.

It prints its address as a line of JSON; each line on its input is answered by a `Held` one.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pelton
from pelton import observe
from pelton.server import Config, Server, stats
from pelton.web import FastAPI, Request
from pelton.web.responses import FileResponse, StreamingResponse
from tests.soak.held import Held, raise_limit

FILE_BYTES = 4 << 20

#: Short, so that clients that wait for nothing are gone within the soak.
LIMITS: dict[str, Any] = {
    "head_timeout": 2.0,
    "body_timeout": 2.0,
    "write_timeout": 2.0,
    "keep_alive": 2.0,
    "linger_timeout": 0.5,
    "max_body": 1 << 20,
    "lifespan": "off",
}


def make_app(file: Path) -> FastAPI:
    """The app that clients are honest and rude to."""
    app = FastAPI()

    @app.get("/hello")
    async def hello() -> dict[str, str]:
        return {"hello": "world"}

    @app.post("/echo")
    async def echo(item: dict[str, int]) -> dict[str, int]:
        return item

    @app.post("/raw")
    async def raw(request: Request) -> dict[str, int]:
        return {"length": len(await request.body())}

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(64):
                yield b"x" * 65_536

        return StreamingResponse(pieces())

    @app.get("/file")
    async def get_file() -> FileResponse:
        return FileResponse(file)

    @app.get("/late")
    async def late() -> dict[str, str]:
        await asyncio.sleep(0.05)
        return {"late": "yes"}

    return app


async def serve(connections: int, file: Path) -> None:
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: complaints.append(str(context)[:300]))
    started = asyncio.Event()
    config = Config(port=0, max_connections=connections, **LIMITS)
    server = Server(make_app(file), config, on_started=started.set)
    serving = asyncio.create_task(server.serve())
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait([serving, waiting], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        await serving
    own_tasks = len(asyncio.all_tasks())
    own_transports = observe.loop_stats().transports
    print(json.dumps({"url": server.addresses[0]}), flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        gc.collect()
        held = Held.now(
            connections=stats()["connections"],
            transports=observe.loop_stats().transports - own_transports,
            tasks=len(asyncio.all_tasks()) - own_tasks,
            complaints=complaints,
        )
        print(json.dumps(asdict(held)), flush=True)
    server.stop()
    await serving


def main() -> None:
    connections = raise_limit(int(sys.argv[1]))
    with tempfile.TemporaryDirectory(prefix="pelton-soak-web-") as folder:
        file = Path(folder, "file")
        file.write_bytes(b"f" * FILE_BYTES)
        pelton.run(serve(connections, file))


if __name__ == "__main__":
    main()
