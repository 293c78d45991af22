"""Rules about the Rust crates that the compiler does not check."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.house.tree import BINDING, TESTKIT, UNSAFE_CRATES, crates, files, is_test, name

UNSAFE = re.compile(r"\bunsafe\s*(?:\{|impl\b)")
# A method of our own may be called `expect` too; the one that panics is given a message.
PANICKING = re.compile(r"\.unwrap\(\)|\.expect\((?:\"|&?format!)")

# How far above its subject a SAFETY or INVARIANT comment may start.
REACH = 8


def test_engine_crates_forbid_unsafe_code() -> None:
    missing = [
        crate.name
        for crate in crates()
        if crate.name not in UNSAFE_CRATES
        and "#![forbid(unsafe_code)]" not in (crate / "src/lib.rs").read_text()
    ]
    assert not missing, f"lib.rs must say #![forbid(unsafe_code)]: {missing}"


def test_unsafe_says_why_it_is_sound() -> None:
    silent = [
        f"{name(path)}:{number}: unsafe without a SAFETY comment"
        for path in files(".rs")
        for number, line, before in code_of(path)
        if UNSAFE.search(line) and "SAFETY" not in before
    ]
    assert not silent, "\n".join(silent)


def test_unwrap_states_its_invariant() -> None:
    silent = [
        f"{name(path)}:{number}: unwrap or expect without an INVARIANT comment"
        for path in files(".rs")
        if not is_test(path) and path.is_relative_to(crates()[0].parent)
        if not path.is_relative_to(crates()[0].parent / TESTKIT)
        for number, line, before in code_of(path)
        if PANICKING.search(line) and "INVARIANT" not in before
    ]
    assert not silent, "\n".join(silent)


def test_engines_depend_on_nothing_of_ours_nor_on_pyo3() -> None:
    wrong = []
    for crate in crates():
        manifest = tomllib.loads((crate / "Cargo.toml").read_text())
        if crate.name == BINDING:
            continue
        for table in ("dependencies", "build-dependencies"):
            for dependency in manifest.get(table, {}):
                ours = dependency.startswith("pelton-") and crate.name != TESTKIT
                if ours or dependency.startswith("pyo3"):
                    wrong.append(f"{crate.name} depends on {dependency}")
    assert not wrong, "engines meet only in pelton-python: " + ", ".join(wrong)


def test_the_testkit_is_only_for_tests() -> None:
    users = [
        crate.name
        for crate in crates()
        if TESTKIT in tomllib.loads((crate / "Cargo.toml").read_text()).get("dependencies", {})
    ]
    assert not users, f"{TESTKIT} must be a dev-dependency: {users}"


def code_of(path: Path) -> list[tuple[int, str, str]]:
    """Each line of code outside the test module: its number, itself, and the text before it."""
    lines = path.read_text().split("\n#[cfg(test)]\nmod tests {")[0].splitlines()
    return [
        (index + 1, line.split("//")[0], "\n".join([*lines[max(0, index - REACH) : index], line]))
        for index, line in enumerate(lines)
        if not line.lstrip().startswith("//")
    ]
