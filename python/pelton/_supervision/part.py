"""What a part of a process tree is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Part:
    """A process of the tree: its name, how to call it, and how long its stop may take."""

    name: str
    command: Sequence[str]
    stop_timeout: float
    descriptors: tuple[int, ...] = ()
    """File descriptors that it inherits."""
    health_timeout: float | None = None
    """Seconds without a sign of life after which it counts as hung; None: it gives none."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables beside those of the parent."""
    role: str = ""
    """What kind of part it is, for those who ask for all of a kind."""


class StartError(Exception):
    """A part ended before it was ready. `code` is its exit code."""

    def __init__(self, part: Part, code: int, ending: str) -> None:
        super().__init__(f"{part.name} {ending} before it was ready")
        self.code = code
