"""A worker process: `python -m pelton.server.worker ORDER`, started by the supervisor only."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from typing import Any

import pelton
from pelton.server.config import Config
from pelton.server.errors import StartupError
from pelton.server.server import Server


def main(order: dict[str, Any]) -> int:
    """Serves as the order says; the exit code."""
    logging.basicConfig(
        level=order["log_level"],
        format=f"%(asctime)s %(levelname)s server[{os.getpid()}] %(message)s",
        datefmt="%H:%M:%S",
    )
    try:
        pelton.run(_serve(order))
    except StartupError as error:
        print(f"pelton: {error}", file=sys.stderr)
        return error.exit_code
    return 0


async def _serve(order: dict[str, Any]) -> None:
    config = Config(**order["config"])
    sockets = [socket.socket(fileno=fd) for fd in order["fds"]]
    server = Server(order["app"], config, socks=sockets)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, server.stop)

    def orphaned() -> None:
        loop.remove_reader(order["lifeline"])
        server.stop()

    loop.add_reader(order["lifeline"], orphaned)
    await server.serve()


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
