"""The HTTP server: HTTP/1.1 and WebSocket for any ASGI 3 application."""

from pelton.server.config import Config, ConfigError

__all__ = ["Config", "ConfigError"]
