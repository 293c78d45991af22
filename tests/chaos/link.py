"""A wire to a server that can be cut, and can fall silent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable


class Link:
    """Forwards what comes to `port` to a port of this machine, in a thread of its own.

    `cut` ends all connections and refuses new ones, `reset` only ends those that are, `stall` lets
    nothing through in either direction; `mend` ends the first and the last.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self._is_cut = False
        self._thread = threading.Thread(target=self._loop.run_forever, name="link", daemon=True)
        self._thread.start()
        opening = asyncio.run_coroutine_threadsafe(
            asyncio.start_server(self._serve, "127.0.0.1", 0), self._loop
        )
        self._server = opening.result()
        self.port: int = self._server.sockets[0].getsockname()[1]

    def cut(self) -> None:
        """No connection, neither old nor new."""
        self._call(self._cut)

    def reset(self) -> None:
        """The connections that there are end; new ones may be made."""
        self._call(self._abort_all)

    def stall(self) -> None:
        """Nothing passes, and nobody is told."""
        self._call(self._flows.clear)

    def mend(self) -> None:
        """All passes again."""
        self._call(self._mend)

    def close(self) -> None:
        """Ends the thread, and with it all connections."""
        self._call(self._cut)
        self._call(self._server.close)
        tasks = asyncio.run_coroutine_threadsafe(self._end(), self._loop)
        tasks.result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, fn: Callable[[], object]) -> None:
        async def called() -> None:
            fn()

        asyncio.run_coroutine_threadsafe(called(), self._loop).result()

    def _cut(self) -> None:
        self._is_cut = True
        self._abort_all()

    def _mend(self) -> None:
        self._is_cut = False
        self._flows.set()

    def _abort_all(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _end(self) -> None:
        own = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not own]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, back}
        self._writers |= both
        if self._is_cut:
            self._abort_all()
        ways = [
            asyncio.ensure_future(self._pass(reader, back)),
            asyncio.ensure_future(self._pass(there, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            self._writers -= both
            for end in both:
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # an end went away: so does the other
