"""Noticing that a client has gone while its request is being answered."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from starlette.types import Message, Receive


class ClientWatch:
    """Reads ahead of the app, so that a disconnect is seen at once. It is the app's `receive`.

    It keeps one piece of the body, and after the last one goes on for the disconnect. While the
    app leaves a piece that is not the last one, a client's leaving is noticed only after that.
    """

    def __init__(self, receive: Receive, when_gone: Callable[[], None]) -> None:
        self._receive = receive
        self._when_gone = when_gone
        self._messages: deque[Message] = deque()
        self._error: BaseException | None = None
        self._changed = asyncio.Condition()
        self._reader = asyncio.create_task(self._read(), name="pelton: client watch")

    async def __call__(self) -> Message:
        """The next message, as `receive` would give it."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._messages or self._error)
            if not self._messages:
                assert self._error is not None
                raise self._error
            message = self._messages[0]
            if message["type"] != "http.disconnect":
                self._messages.popleft()
                self._changed.notify_all()
            return message

    async def close(self) -> None:
        """Stops reading ahead."""
        self._reader.cancel()
        await asyncio.wait({self._reader})

    async def _read(self) -> None:
        try:
            while True:
                message = await self._receive()
                async with self._changed:
                    self._messages.append(message)
                    self._changed.notify_all()
                    if message["type"] == "http.disconnect":
                        break
                    if message.get("more_body"):
                        await self._changed.wait_for(lambda: not self._messages)
            self._when_gone()
        except Exception as error:
            # The app's own call gets it.
            async with self._changed:
                self._error = error
                self._changed.notify_all()
