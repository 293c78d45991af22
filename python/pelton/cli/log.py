"""Log lines of Pelton's processes: one format, so that those of one tree read as one story."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import sys
from datetime import UTC, datetime
from typing import Any

from pelton.cli.errors import CommandError

LEVELS = ("debug", "info", "warning", "error", "critical")
FORMATS = ("text", "json")

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object a line, with whatever was given as `extra`: job ids, say."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._role = role

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": moment,
            "level": record.levelname.lower(),
            "role": self._role,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((name, value) for name, value in vars(record).items() if name not in _OWN)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def configure(role: str, level: str, format: str = "text", file: str | None = None) -> None:
    """Sets up logging: as `file` says, or to stderr.

    `file` is a JSON file with the dictionary of `logging.config.dictConfig`, or an INI file for
    `logging.config.fileConfig`. Raises CommandError where it cannot be used.

    Without one it sends the root logger to stderr as `HH:MM:SS LEVEL role[pid] message`.

    `role` names what this process is in the tree (`web`, `worker`, …). An application that sets
    up logging itself when it is imported replaces this, as it should. format: `text`, or `json`:
    an object a line.
    """
    if file is not None:
        _load(file)
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(role)
        if format == "json"
        else logging.Formatter(
            f"%(asctime)s %(levelname)-7s {role}[{os.getpid()}] %(message)s", datefmt="%H:%M:%S"
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _load(file: str) -> None:
    try:
        if file.endswith(".json"):
            with open(file, encoding="utf-8") as source:
                logging.config.dictConfig(json.load(source))
        else:
            logging.config.fileConfig(file, disable_existing_loggers=False)
    except Exception as error:  # of any kind: what the file names is imported and called
        raise CommandError(f"the log config {file} cannot be used: {error}") from error
