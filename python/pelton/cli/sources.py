"""Which source files changed, for `--reload`."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Sequence
from pathlib import Path

FILES_MAX = 20_000
"""Files that are watched; a directory with more is not the application's own."""
_FOREIGN = {"__pycache__", "node_modules", "site-packages", "target"}


class Sources:
    """The files below a directory, as they were when it looked last.

    `include` are the patterns of their names, or of their paths below the directory, and `exclude`
    those of files and directories to leave out. Hidden directories and virtual environments are
    left out, too.
    """

    def __init__(
        self,
        directory: Path,
        include: Sequence[str] = ("*.py",),
        exclude: Sequence[str] = (),
    ) -> None:
        self._directory = directory
        self._include, self._exclude = include, exclude
        self._seen = self._look()

    def changed(self) -> list[str]:
        """Files that were changed, added or removed since the last look, by name below it."""
        before, self._seen = self._seen, self._look()
        return sorted(
            os.path.relpath(path, self._directory)
            for path in before.keys() | self._seen.keys()
            if before.get(path) != self._seen.get(path)
        )

    def _look(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for folder, folders, names in os.walk(self._directory):
            folders[:] = [name for name in folders if not self._is_foreign(folder, name)]
            for name in names:
                path = os.path.join(folder, name)
                if self._is_watched(path) and len(found) < FILES_MAX:
                    try:
                        found[path] = os.stat(path).st_mtime_ns
                    except FileNotFoundError:
                        continue  # removed since it was listed
        return found

    def _is_watched(self, path: str) -> bool:
        return self._matches(path, self._include) and not self._matches(path, self._exclude)

    def _matches(self, path: str, patterns: Sequence[str]) -> bool:
        below = os.path.relpath(path, self._directory)
        names = (os.path.basename(path), below)
        return any(fnmatch.fnmatch(name, pattern) for name in names for pattern in patterns)

    def _is_foreign(self, folder: str, name: str) -> bool:
        return (
            self._matches(os.path.join(folder, name), self._exclude)
            or name.startswith(".")
            or name in _FOREIGN
            or os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
