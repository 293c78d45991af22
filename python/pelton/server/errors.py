"""Why a server does not start."""

from __future__ import annotations

__all__ = ["StartupError"]


class StartupError(Exception):
    """The server cannot serve. The message is for people: print it, without a traceback.

    `exit_code` is what the process should end with: 1 where the address cannot be had, 2 where
    there is no such app, 3 where the app's lifespan failed.
    """

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code
