"""Rules about every file: its length, and words that must not be in it."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import pytest

from tests.house.tree import ROOT, files, name

LINES_MAX = 900
LINES_WISHED = 600

# What somebody wrote; lock files and data are as long as they are.
WRITTEN = (".rs", ".py", ".pyi", ".js", ".css", ".html", ".sh", ".c", ".sql")

# Machine paths and registry hosts tie a file to one place. In pieces, so that this file passes.
FORBIDDEN = [
    ("an absolute home path", re.compile("/" + r"(?:home|Users)/[a-z][\w-]*/|/" + r"root/")),
    ("a path of a build machine", re.compile("/" + "work/")),
    ("a registry's host", re.compile("pypi" + r"\.org|" + "crates" + r"\.io/|npm" + "js.org")),
    ("an unfinished mark", re.compile(r"\b(?:TO" + "DO|FIX" + "ME|X" + r"XX)\b")),
]

# Cargo's own lock file names its registry.
EXEMPT = {"Cargo.lock", "fuzz/Cargo.lock"}


@pytest.mark.filterwarnings("always:long file")
def test_files_are_short() -> None:
    long = []
    for path in files(*WRITTEN):
        lines = len(path.read_bytes().splitlines())
        if lines > LINES_MAX:
            long.append(f"{name(path)}: {lines} lines, at most {LINES_MAX}: split it by its nouns")
        elif lines > LINES_WISHED:
            warnings.warn(f"long file: {name(path)} has {lines} lines", stacklevel=1)
    assert not long, "\n".join(long)


@pytest.mark.parametrize(("what", "pattern"), FORBIDDEN, ids=[what for what, _ in FORBIDDEN])
def test_no_forbidden_words(what: str, pattern: re.Pattern[str]) -> None:
    found = [
        f"{name(path)}:{number}: {what}: {line.strip()[:80]}"
        for path in files()
        if name(path) not in EXEMPT
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if pattern.search(line)
    ]
    assert not found, "\n".join(found)


def test_files_end_with_one_newline() -> None:
    wrong = [
        name(path)
        for path in files(*WRITTEN, ".md", ".toml")
        if (data := path.read_bytes()) and (not data.endswith(b"\n") or data.endswith(b"\n\n"))
    ]
    assert not wrong, f"must end with exactly one newline: {wrong}"


def test_the_rules_see_the_tree() -> None:
    seen = {name(path) for path in files()}
    assert {"Cargo.toml", "pyproject.toml", "python/pelton/__init__.py"} <= seen
    assert (ROOT / "crates").is_dir()


def text_of(path: Path) -> str:
    """A file's text; empty for pictures and other bytes."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
