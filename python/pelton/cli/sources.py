"""Which source files changed, for `--reload`."""

from __future__ import annotations

import os
from pathlib import Path

FILES_MAX = 20_000
"""Files that are watched; a directory with more is not the application's own."""
_FOREIGN = {"__pycache__", "node_modules", "site-packages", "target"}


class Sources:
    """The Python files below a directory, as they were when it looked last.

    Hidden directories and virtual environments are left out.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
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
                if name.endswith(".py") and len(found) < FILES_MAX:
                    path = os.path.join(folder, name)
                    try:
                        found[path] = os.stat(path).st_mtime_ns
                    except FileNotFoundError:
                        continue  # removed since it was listed
        return found

    @staticmethod
    def _is_foreign(folder: str, name: str) -> bool:
        return (
            name.startswith(".")
            or name in _FOREIGN
            or os.path.exists(os.path.join(folder, name, "pyvenv.cfg"))
        )
