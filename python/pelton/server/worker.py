"""A worker process: `python -m pelton.server.worker ORDER`, started by the supervisor only."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from typing import Any

import pelton
from pelton._supervision import child
from pelton.server.config import Config
from pelton.server.errors import StartupError
from pelton.server.retirement import Retirement
from pelton.server.running import handling_signals
from pelton.server.server import Server
from pelton.server.supervisor import PASSWORD


def main(order: dict[str, Any]) -> int:
    """Serves as the order says; the exit code."""
    logging.basicConfig(
        level=order["log_level"],
        format=f"%(asctime)s %(levelname)s server[{os.getpid()}] %(message)s",
        datefmt="%H:%M:%S",
    )
    password = os.environ.get(PASSWORD)
    config = Config(**order["config"], ssl_keyfile_password=password)
    child.start(config.graceful_timeout)
    try:
        pelton.run(_serve(order, config))
    except StartupError as error:
        print(f"pelton: {error}", file=sys.stderr)
        return error.exit_code
    return 0


async def _serve(order: dict[str, Any], config: Config) -> None:
    sockets = [socket.socket(fileno=fd) for fd in order["fds"]]

    def started() -> None:
        child.ready({"addresses": server.addresses})
        Retirement(config, server).begin()

    server = Server(order["app"], config, socks=sockets, on_started=started)
    with handling_signals(server):
        await server.serve()


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
