"""The server of the soak of the web: an app on our server; it counts what it holds. A program.

It prints its address as a line of JSON; each line on its input is answered by a `Held` one.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
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
from pelton.web import FastAPI, Request, WebSocket, WebSocketDisconnect
from pelton.web.responses import FileResponse, StreamingResponse
from tests.soak.held import Held, raise_limit
from tests.soak.soak import make_certificate

FILE_BYTES = 4 << 20

#: Short, so that clients that wait for nothing are gone within the soak; but those that an honest
#: client could meet allow for a machine that stalls.
LIMITS: dict[str, Any] = {
    "head_timeout": 2.0,
    "body_timeout": 2.0,
    "write_timeout": 2.0,
    "keep_alive": 8.0,
    "linger_timeout": 0.5,
    "handshake_timeout": 8.0,
    "ws_ping_interval": 1.0,
    "ws_ping_timeout": 8.0,
    "ws_close_timeout": 1.0,
    "ws_max_message": 1 << 20,
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

    @app.websocket("/ws")
    async def echoes(socket: WebSocket) -> None:
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            while (message := await socket.receive())["type"] == "websocket.receive":
                await socket.send({**message, "type": "websocket.send"})

    @app.websocket("/flood")
    async def flood(socket: WebSocket) -> None:
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect):
            for _ in range(64):
                await socket.send_bytes(b"x" * 65_536)

    return app


async def serve(connections: int, folder: Path) -> None:
    complaints: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: complaints.append(str(context)[:300]))
    file = folder / "file"
    file.write_bytes(b"f" * FILE_BYTES)
    make_certificate(folder)
    config = Config(port=0, max_connections=connections, **LIMITS)
    tls = dataclasses.replace(
        config, ssl_certfile=(str(folder / "cert.pem"),), ssl_keyfile=(str(folder / "key.pem"),)
    )
    app = make_app(file)
    plain, secure = await started(Server(app, config)), await started(Server(app, tls))
    own_tasks = len(asyncio.all_tasks())
    own_transports = observe.loop_stats().transports
    urls = [plain.addresses[0], secure.addresses[0]]
    print(json.dumps({"urls": urls}), flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        gc.collect()
        held = Held.now(
            connections=stats()["connections"],
            transports=observe.loop_stats().transports - own_transports,
            tasks=len(asyncio.all_tasks()) - own_tasks,
            complaints=complaints,
        )
        print(json.dumps(asdict(held)), flush=True)


_serving: set[asyncio.Task[None]] = set()


async def started(server: Server) -> Server:
    """The server, once it accepts; it serves as long as the process lives."""
    serving = asyncio.create_task(server.serve())
    _serving.add(serving)
    while not server.addresses:
        if serving.done():
            await serving
        await asyncio.sleep(0.01)
    return server


def main() -> None:
    connections = raise_limit(int(sys.argv[1]))
    with tempfile.TemporaryDirectory(prefix="pelton-soak-web-") as folder:
        pelton.run(serve(connections, Path(folder)))


if __name__ == "__main__":
    main()
