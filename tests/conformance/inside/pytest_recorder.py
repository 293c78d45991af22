"""A pytest plugin that records each test's outcome and leaves out what the runner says."""

from __future__ import annotations

import os
import sys

import pytest
from recorder import Recorder, chosen


class Plugin:
    """Records in the process that reports; with pytest-xdist, workers only watch for hangs."""

    def __init__(self, config: pytest.Config) -> None:
        self._recorder = Recorder(
            os.environ["PELTON_RECORD"], float(os.environ["PELTON_TEST_SECONDS"])
        )
        self._worker = hasattr(config, "workerinput")
        self._status = 0
        self._reports: dict[str, tuple[str, str]] = {}

    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        without, only = chosen()
        kept = [
            item
            for item in items
            if not any(matches(item.nodeid, name) for name in without)
            and (only is None or item.nodeid in only)
        ]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        if self._worker:
            self._recorder.watch()
        else:
            self._recorder.started(nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        status, detail = self._reports.get(report.nodeid, ("", ""))
        if report.failed:
            status, detail = "failed", detail + f"[{report.when}]\n{report.longreprtext}\n"
        elif report.skipped and status != "failed":
            status, detail = "skipped", report.longreprtext
        elif not status:
            status = "passed"
        self._reports[report.nodeid] = status, detail

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        outcome = self._reports.pop(nodeid, None)
        if outcome is not None and not self._worker:
            self._recorder.ended(nodeid, *outcome)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self._status = int(exitstatus)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        # A failed test may leave a thread that waits for ever, and Python would wait for it.
        if not self._worker:
            sys.stdout.flush()
            os._exit(self._status)

    @pytest.hookimpl(trylast=True)
    def pytest_exception_interact(self) -> None:
        # pytest has just cancelled the watch, and a test goes on after a subtest's failure.
        self._recorder.watch()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self._worker:
            self._recorder.ended(report.nodeid, "failed", f"[collect]\n{report.longreprtext}")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Plugin(config), "pelton-recorder")


def matches(test: str, name: str) -> bool:
    """`name` is a test, or the beginning of some, with a star."""
    return test.startswith(name[:-1]) if name.endswith("*") else test == name
