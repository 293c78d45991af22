"""The files of the repository, as the house rules see them."""

from __future__ import annotations

import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Crates that may hold unsafe code: one talks to the kernel, one to the interpreter.
UNSAFE_CRATES = {"pelton-reactor", "pelton-python"}

# The only crate that knows PyO3, and the only one that may depend on the engines.
BINDING = "pelton-python"

# Only ever a dev-dependency.
TESTKIT = "pelton-testkit"


@cache
def files(*suffixes: str) -> tuple[Path, ...]:
    """Every file that is committed or about to be, with one of the suffixes (all without any)."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    paths = (ROOT / name for name in listing.split("\0") if name)
    return tuple(
        path
        for path in sorted(paths)
        if path.is_file() and (not suffixes or path.suffix in suffixes)
    )


def name(path: Path) -> str:
    """A path as a message shows it."""
    return path.relative_to(ROOT).as_posix()


def crates() -> tuple[Path, ...]:
    """The directory of every crate of the workspace."""
    return tuple(manifest.parent for manifest in sorted(ROOT.glob("crates/*/Cargo.toml")))


def is_test(path: Path) -> bool:
    """Whether a file is test code."""
    return "tests" in path.parts or path.name in {"tests.rs", "conftest.py"}
