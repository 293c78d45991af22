"""What a run's outcomes mean: compared with the expected failures, and written into the table.

The expected failures of a suite are in ``expected/NAME.toml``: lists of tests, each with a reason.

    [[left_out]]                # not run at all
    reason = "reads libuv's own handles"
    tests = ["tests/test_libuv_api.py*"]    # a star at the end: all that begin so

    [[expected]]                # must fail; one that passes fails the run
    reason = "…"
    pythons = ["3.11"]          # optional: only there
    unsteady = true             # optional: may pass as well; the reason says why
    tests = ["…"]
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from tests.conformance.run import Outcome, Program, progress
from tests.conformance.suite import ROOT

EXPECTED = Path(__file__).with_name("expected")
TABLE = ROOT / "docs/conformance.md"
BEGIN, END = "<!-- results: written by the runners -->", "<!-- end of results -->"
HEAD = (
    "| Suite | Version | Python | Passed | Failed, expected | Fails on asyncio too | Failed "
    "| Skipped | Date | Command |\n|---|---|---|--:|--:|--:|--:|--:|---|---|\n"
)


@dataclass(frozen=True)
class Rule:
    """Some tests that are left out or expected to fail, and why."""

    reason: str
    tests: Sequence[str]
    pythons: Sequence[str] | None = None
    unsteady: bool = False

    def holds_for(self, test: str) -> bool:
        """Whether `test` is meant."""
        return any(matches(test, name) for name in self.tests)


@dataclass
class Registry:
    """What is known of a suite under one Python version."""

    left_out: list[Rule] = field(default_factory=list)
    expected: list[Rule] = field(default_factory=list)

    @classmethod
    def read(cls, name: str, python: str) -> Registry:
        """The registry of the suite `name`; an empty one where there is no file."""
        path = EXPECTED / f"{name}.toml"
        if not path.exists():
            return cls()
        content = tomllib.loads(path.read_text())
        rules = {kind: [Rule(**entry) for entry in entries] for kind, entries in content.items()}
        here = {
            kind: [rule for rule in of_kind if rule.pythons is None or python in rule.pythons]
            for kind, of_kind in rules.items()
        }
        return cls(**here)

    def names_left_out(self) -> list[str]:
        """What a run leaves out."""
        return [name for rule in self.left_out for name in rule.tests]

    def expecting(self, test: str) -> Rule | None:
        """The rule by which `test` may fail."""
        return next((rule for rule in self.expected if rule.holds_for(test)), None)


@dataclass
class Verdict:
    """A run's outcomes, sorted by what they mean. `wrong` empty: the suite is as expected."""

    passed: list[str] = field(default_factory=list)
    #: Failed, and passed when run again alone: those that a busy machine upsets.
    second: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    asyncio_too: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    #: A test, or a rule that held for none, and what is wrong with it.
    wrong: dict[str, str] = field(default_factory=dict)


def judge(
    outcomes: dict[str, Outcome], registry: Registry, program: Program, *, whole: bool = True
) -> Verdict:
    """Sorts outcomes.

    What fails unexpectedly is run again, alone: what passes then is noted as such. What fails
    again is run on asyncio, and is no failure of ours where it fails there too. `whole` says that
    the whole suite was run, so that a rule without a test is one too many.
    """
    verdict = Verdict()
    failed: list[str] = []
    for test, outcome in outcomes.items():
        rule = registry.expecting(test)
        if outcome.status == "skipped":
            verdict.skipped.append(test)
        elif outcome.status == "passed":
            verdict.passed.append(test)
            if rule is not None and not rule.unsteady:
                verdict.wrong[test] = f"passed although expected to fail: {rule.reason}"
        elif rule is not None:
            verdict.expected.append(test)
        else:
            failed.append(test)
    again = run_again(program, "pelton", failed)
    verdict.second = [test for test in failed if passes(again, test)]
    failed = [test for test in failed if not passes(again, test)]
    there = run_again(program, "asyncio", failed)
    for test in failed:
        if test in there and there[test].status == "failed":
            verdict.asyncio_too.append(test)
        else:
            verdict.wrong[test] = outcomes[test].detail
    if whole:
        for rule in registry.expected:
            for name in rule.tests:
                if not any(matches(test, name) for test in outcomes):
                    verdict.wrong[name] = f"a rule for a test that does not exist: {rule.reason}"
    return verdict


def run_again(program: Program, loop: str, tests: list[str]) -> dict[str, Outcome]:
    """The outcomes of some tests, run once more."""
    if not tests:
        return {}
    progress(f"{len(tests)} failed unexpectedly; again on {loop}")
    return program.run(loop=loop, only=tests)


def passes(outcomes: dict[str, Outcome], test: str) -> bool:
    return test in outcomes and outcomes[test].status == "passed"


def matches(test: str, name: str) -> bool:
    """`name` is a test, or the beginning of some, with a star."""
    return test.startswith(name[:-1]) if name.endswith("*") else test == name


def report(title: str, verdict: Verdict) -> None:
    """Says what was found."""
    progress(
        f"{title}: {len(verdict.passed)} passed, {len(verdict.second)} on a second run, "
        f"{len(verdict.expected)} failed as expected, {len(verdict.asyncio_too)} fail on asyncio "
        f"too, {len(verdict.skipped)} skipped, {len(verdict.wrong)} wrong"
    )
    for kind, tests in (
        ("passed on a second run", verdict.second),
        ("fails on asyncio too", verdict.asyncio_too),
    ):
        for test in tests:
            progress(f"{kind}: {test}")
    for test, detail in verdict.wrong.items():
        lines = detail.strip().splitlines() or [""]
        progress(f"WRONG {test}")
        for line in lines[-12:]:
            progress(f"      {line}")


def write_row(suite: str, version: str, python: str, verdict: Verdict, command: str) -> None:
    """Puts a suite's row into the table of docs/conformance.md, in place of its last one."""
    text = TABLE.read_text()
    before, _, rest = text.partition(BEGIN)
    table, _, after = rest.partition(END)
    rows = {
        key: line
        for line in table.strip().splitlines()[2:]
        if (key := tuple(cell.strip() for cell in line.split("|"))[1:4:2])
    }
    passed = str(len(verdict.passed) + len(verdict.second))
    if verdict.second:
        passed += f" ({len(verdict.second)} on a second run)"
    cells = [suite, version, python, passed, str(len(verdict.expected))]
    cells += [str(len(verdict.asyncio_too)), str(len(verdict.wrong)), str(len(verdict.skipped))]
    cells += [datetime.now(UTC).strftime("%Y-%m-%d"), f"`{command}`"]
    minor = ".".join(python.split(".")[:2])
    # One row for a suite and a minor version.
    rows = {key: line for key, line in rows.items() if not same_row(key, suite, minor)}
    rows[suite, python] = "| " + " | ".join(cells) + " |"
    lines = "\n".join(rows[key] for key in sorted(rows, key=lambda key: natural(" ".join(key))))
    TABLE.write_text(f"{before}{BEGIN}\n{HEAD}{lines}\n{END}{after}")


def same_row(key: Sequence[str], suite: str, minor: str) -> bool:
    return key[0] == suite and key[1].startswith(minor + ".")


def natural(text: str) -> list[tuple[bool, int, str]]:
    """Sorts 3.9 before 3.11."""
    parts = re.findall(r"\d+|\D+", text.lower())
    return [(part.isdigit(), int(part) if part.isdigit() else 0, part) for part in parts]
