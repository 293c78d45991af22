"""A process with nothing to do: `python -m bench.idle.server LOOP KIND PORT`.

KIND is `protocol` or `streams` (an echo server), or `timers` (10 000 of them, due in an hour).
"""

from __future__ import annotations

import asyncio
import resource
import sys

from bench.echo import server as echo
from bench.loops import loop_factory

TIMERS = 10_000
AN_HOUR = 3600.0


def allow_descriptors(count: int) -> None:
    """Let this process have `count` descriptors; OSError or ValueError where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


async def serve_timers(port: int) -> None:
    """Wait for what is far away."""
    loop = asyncio.get_running_loop()
    for n in range(TIMERS):
        loop.call_later(AN_HOUR + n, print)
    await echo.serve_protocol(port)


async def main(kind: str, port: int) -> None:
    """Serve until the process is stopped."""
    if kind == "timers":
        await serve_timers(port)
    else:
        await echo.STYLES[kind](port)


if __name__ == "__main__":
    allow_descriptors(8192)
    with asyncio.Runner(loop_factory=loop_factory(sys.argv[1])) as runner:
        runner.run(main(sys.argv[2], int(sys.argv[3])))
