"""The HTTP server: HTTP/1.1, HTTP/2 and WebSocket for any ASGI 3 application.

`run(app, port=8000)` serves in a process of its own, `serve` and `Server` in a running loop.
"""

from pelton.server.config import Config, ConfigError
from pelton.server.errors import StartupError
from pelton.server.running import run, serve
from pelton.server.server import Server, stats

__all__ = ["Config", "ConfigError", "Server", "StartupError", "run", "serve", "stats"]
