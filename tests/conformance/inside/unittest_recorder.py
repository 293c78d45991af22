"""Runs modules of unittest tests and records each test's outcome: a program."""

from __future__ import annotations

import os
import sys
import traceback
import unittest
from collections.abc import Iterator
from types import TracebackType
from typing import Any, TypeAlias

from recorder import Recorder, chosen

Failure: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
)


class Result(unittest.TestResult):
    """Tells the recorder; a failing subtest fails its test."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder
        self._status = "passed"
        self._detail = ""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._status, self._detail = "passed", ""
        self._recorder.started(test.id())

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        self._recorder.ended(test.id(), self._status, self._detail)

    def addError(self, test: unittest.TestCase, err: Failure) -> None:
        super().addError(test, err)
        self._failed(err)
        if not isinstance(test, unittest.TestCase):  # a class's or a module's own preparation
            self._recorder.ended(str(test), "failed", self._detail)

    def addFailure(self, test: unittest.TestCase, err: Failure) -> None:
        super().addFailure(test, err)
        self._failed(err)

    def addSubTest(
        self, test: unittest.TestCase, subtest: unittest.TestCase, err: Failure | None
    ) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._failed(err)

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        super().addSkip(test, reason)
        self._status, self._detail = "skipped", reason
        if not isinstance(test, unittest.TestCase):
            self._recorder.ended(str(test), "skipped", reason)

    def addExpectedFailure(self, test: unittest.TestCase, err: Failure) -> None:
        super().addExpectedFailure(test, err)
        self._status, self._detail = "skipped", "fails as its suite expects"

    def addUnexpectedSuccess(self, test: unittest.TestCase) -> None:
        super().addUnexpectedSuccess(test)
        self._status, self._detail = "failed", "passed although its suite expects a failure"

    def _failed(self, err: Failure) -> None:
        self._status = "failed"
        self._detail += "".join(traceback.format_exception(*err))


def tests_of(suite: Any) -> Iterator[unittest.TestCase]:
    """The tests of nested suites."""
    for part in suite:
        if isinstance(part, unittest.TestSuite):
            yield from tests_of(part)
        else:
            yield part


def main(modules: list[str]) -> None:
    """Runs what the plan leaves of the modules."""
    recorder = Recorder(os.environ["PELTON_RECORD"], float(os.environ["PELTON_TEST_SECONDS"]))
    without, only = chosen()
    suite = unittest.TestSuite(
        test
        for test in tests_of(unittest.defaultTestLoader.loadTestsFromNames(modules))
        if (only is None or test.id() in only) and not any(left_out(test, name) for name in without)
    )
    # The modules' own functions to set up and tear down are called by the suite's run.
    result = Result(recorder)
    suite.run(result)


def left_out(test: unittest.TestCase, name: str) -> bool:
    """`name` is a test, or the beginning of some, with a star."""
    return test.id().startswith(name[:-1]) if name.endswith("*") else test.id() == name


if __name__ == "__main__":
    main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(
        0
    )  # a failed test may leave a thread that waits for ever, and Python would wait for it
