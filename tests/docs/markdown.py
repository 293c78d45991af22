"""The documents: their code blocks, links and headings."""

from __future__ import annotations

import re
from pathlib import Path

from tests.house.tree import files

FENCE = re.compile(r"^```(.*)$")
LINK = re.compile(r"(?<!!)\[[^\]\n]+\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")


def documents() -> list[Path]:
    """Every Markdown file of the repository."""
    return list(files(".md"))


def program(path: Path, language: str = "python") -> str:
    """A document's code blocks of one language as a program.

    Each line stands where it stands in the document, so that a traceback's line numbers are the
    document's. A block whose fence says more than the language (```python no-run) is left out.
    """
    lines, fence = [], None
    for line in path.read_text().splitlines():
        match = FENCE.match(line)
        if match:
            fence = match[1].strip() if fence is None else None
        lines.append(line if not match and fence == language else "")
    return "\n".join(lines) + "\n"


def links(path: Path) -> list[tuple[int, str]]:
    """The line number and target of each link outside code."""
    found, inside = [], False
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if FENCE.match(line):
            inside = not inside
        elif not inside:
            prose = re.sub(r"`[^`]*`", "", line)
            found += [(number, first or second) for first, second in LINK.findall(prose)]
    return found


def anchors(path: Path) -> set[str]:
    """The anchors of a document's headings, as a forge makes them."""
    headings = re.findall(r"^#+ +(.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).strip().replace(" ", "-") for text in headings}
