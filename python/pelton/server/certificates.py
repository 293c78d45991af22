"""Noticing that the TLS files have changed."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable

from pelton.server.config import Config

__all__ = ["CertificateWatch"]

logger = logging.getLogger("pelton.server")


class CertificateWatch:
    """Calls `changed` in the running loop when one of the config's TLS files was written or
    replaced, looking every `ssl_reload_interval` seconds, until `stop`."""

    def __init__(self, config: Config, changed: Callable[[], None]) -> None:
        others = (config.ssl_ca_certs, config.ssl_ticket_key_file)
        files = (*config.ssl_certfile, *config.ssl_keyfile, *others)
        self._files = [file for file in files if file is not None]
        self._changed = changed
        self._interval = config.ssl_reload_interval
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._seen = self._look()
        self._again()

    def stop(self) -> None:
        """Looks no more."""
        if self._timer is not None:
            self._timer.cancel()
        self._interval = None

    def _again(self) -> None:
        if self._interval is not None:
            self._timer = self._loop.call_later(self._interval, self._check)

    def _check(self) -> None:
        now = self._look()
        # A file that is just being replaced is looked at again later.
        if None not in now and now != self._seen:
            self._seen = now
            self._changed()
        self._again()

    def _look(self) -> list[tuple[int, int, int] | None]:
        found: list[tuple[int, int, int] | None] = []
        for file in self._files:
            try:
                status = os.stat(file)
            except OSError as error:
                logger.debug("cannot look at %s: %s", file, error)
                found.append(None)
            else:
                found.append((status.st_mtime_ns, status.st_ino, status.st_size))
        return found
