"""Figures: rates between two measurements, all processes together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pelton.dashboard.figures import HISTORY, STALE, Figures, quantile


def sample(pid: int = 1, requests: int = 0, errors: int = 0, **more: Any) -> dict[str, Any]:
    return {
        "pid": pid,
        "started_at": 0.0,
        "requests": requests,
        "errors": errors,
        "connections": 3,
        "latency": {"bounds": [0.001, 0.01], "counts": [0, 0, 0]},
        "lag": 0.002,
        "rss": 1000,
    } | more


class Counter:
    """A process whose counters the test sets."""

    def __init__(self) -> None:
        self.now = sample()

    def __call__(self) -> dict[str, Any]:
        return dict(self.now)


def test_rates_are_per_second() -> None:
    counter = Counter()
    figures = Figures(counter, None)
    figures.step(100.0)
    counter.now = sample(
        requests=50, errors=5, latency={"bounds": [0.001, 0.01], "counts": [10, 40, 0]}
    )
    figures.step(102.0)
    [point] = figures.history
    assert (point["at"], point["requests"], point["errors"]) == (102.0, 25.0, 2.5)
    assert point["p50"] == pytest.approx(0.001 + 0.009 * 15 / 40)
    assert point["lag"] == 0.002
    assert point["connections"] == 3


def test_no_requests_have_no_response_time() -> None:
    figures = Figures(Counter(), None)
    for at in (1.0, 2.0):
        figures.step(at)
    assert figures.history[-1]["p50"] is None


def test_processes_of_one_tree_are_added(tmp_path: Path) -> None:
    one, two = Counter(), Counter()
    two.now = sample(pid=2, lag=0.5)
    figures = [Figures(one, tmp_path), Figures(two, tmp_path)]
    for each in figures * 2:
        each.step(100.0)
    one.now, two.now = sample(requests=10), sample(pid=2, requests=30, lag=0.5)
    figures[1].step(101.0)
    figures[0].step(101.0)
    point = figures[0].history[-1]
    assert point["requests"] == pytest.approx(40.0)
    assert point["lag"] == 0.5
    assert point["connections"] == 6
    assert [process["pid"] for process in figures[0].processes] == [1, 2]


def test_a_process_that_died_is_left_out(tmp_path: Path) -> None:
    dead = tmp_path / "web-2.json"
    dead.write_text(json.dumps(sample(pid=2) | {"at": 100.0}))
    figures = Figures(Counter(), tmp_path)
    figures.step(100.0 + STALE - 0.1)
    assert len(figures.processes) == 2
    figures.step(100.0 + STALE + 0.1)
    assert [process["pid"] for process in figures.processes] == [1]
    assert not dead.exists()


def test_a_new_process_does_not_make_a_peak(tmp_path: Path) -> None:
    figures = Figures(Counter(), tmp_path)
    figures.step(100.0)
    newcomer = sample(pid=2, requests=1_000_000) | {"at": 101.0}
    (tmp_path / "web-2.json").write_text(json.dumps(newcomer))
    figures.step(101.0)
    assert figures.history[-1]["requests"] == 0


def test_history_is_limited() -> None:
    figures = Figures(Counter(), None)
    for at in range(HISTORY + 10):
        figures.step(float(at))
    assert len(figures.history) == HISTORY
    assert figures.history[-1]["at"] == HISTORY + 9


def test_a_failing_measurement_is_logged_and_the_next_one_comes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    measured = 0

    def measure() -> dict[str, Any]:
        nonlocal measured
        measured += 1
        figures.stop()
        raise OSError("no figures")

    figures = Figures(measure, None)
    figures._run()
    assert measured == 1
    assert "cannot measure this process" in caplog.text


@pytest.mark.parametrize(
    ("counts", "fraction", "expected"),
    [
        ([0, 0, 0], 0.5, None),
        ([10, 0, 0], 0.5, 0.5),
        ([10, 10, 0], 0.5, 1.0),
        ([0, 10, 0], 0.5, 1.5),
        ([0, 0, 10], 0.5, 2.0),
        ([98, 1, 1], 0.99, 2.0),
    ],
)
def test_quantile(counts: list[int], fraction: float, expected: float | None) -> None:
    assert quantile([1.0, 2.0], counts, fraction) == expected
