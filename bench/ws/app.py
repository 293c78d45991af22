"""WebSockets with no framework: `/echo` sends back what comes, `/broadcast` sends it to all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Send = Callable[[Message], Awaitable[None]]

members: set[Send] = set()


async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[Message]], send: Send) -> None:
    """Serves both paths, on any ASGI server."""
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    assert scope["type"] == "websocket", scope["type"]
    await receive()
    await send({"type": "websocket.accept"})
    serve = broadcast if scope["path"] == "/broadcast" else echo
    await serve(receive, send)


async def echo(receive: Callable[[], Awaitable[Message]], send: Send) -> None:
    """One client's messages, back to it."""
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


async def broadcast(receive: Callable[[], Awaitable[Message]], send: Send) -> None:
    """One client's messages, to every client."""
    members.add(send)
    try:
        while (message := await receive())["type"] == "websocket.receive":
            out = {"type": "websocket.send", "text": message["text"]}
            for member in list(members):
                await member(out)
    finally:
        members.discard(send)
