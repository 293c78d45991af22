"""The tables of requests that the engine's tests have, too: crates/pelton-http/tests/vectors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

TABLES = Path(__file__).parents[2] / "crates/pelton-http/tests/vectors"

_ESCAPE = re.compile(r"\\(?:x([0-9a-f]{2})|\{(\d+)\*([^}]*)\}|(.))")
_PLAIN = {"r": "\r", "n": "\n", "t": "\t", "\\": "\\"}


@dataclass(frozen=True)
class Case:
    """A line of a table."""

    id: str
    outcome: list[str]
    """What reaches the application or refuses it, and what becomes of the connection."""
    pieces: list[bytes]
    """The input; before each but the first, the client waits for an answer."""

    @property
    def answers(self) -> int:
        """Responses that the client gets."""
        return len(self.outcome) - 1


def read(name: str) -> list[Case]:
    """The cases of a table."""
    lines = (TABLES / name).read_text().splitlines()
    return [_case(line) for line in lines if line and not line.startswith("#")]


def _case(line: str) -> Case:
    name, outcome, text = line.split(" | ", 2)
    pieces = [_unescape(piece).encode("latin-1") for piece in text.split(r"\p")]
    return Case(name, outcome.split("; "), pieces)


def _unescape(text: str) -> str:
    def replace(match: re.Match[str]) -> str:
        byte, count, repeated, plain = match.groups()
        if byte is not None:
            return chr(int(byte, 16))
        if count is not None:
            return _unescape(repeated) * int(count)
        return _PLAIN[plain]

    return _ESCAPE.sub(replace, text)
