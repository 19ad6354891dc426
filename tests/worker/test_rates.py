"""Rates of queues: over the last minute, and nothing where nothing is known."""

from __future__ import annotations

import pytest

from taskctl.core.worker.rates import WINDOW, Rates


def test_nothing_is_said_in_the_first_second() -> None:
    rates = Rates({"q": 10}, 100.0)

    assert rates.look(["q"], 100.5) == {}


def test_a_rate_is_what_left_since_the_beginning_by_the_time() -> None:
    left: dict[str, int] = {}
    rates = Rates(left, 100.0)
    left["q"] = 30

    assert rates.look(["q", "idle"], 110.0) == {"q": 3.0, "idle": 0.0}


def test_what_is_older_than_the_window_counts_no_more() -> None:
    left = {"q": 0}
    rates = Rates(left, 0.0)
    for second in range(1, 301):
        left["q"] += 10 if second <= 200 else 1
        rates.look(["q"], float(second))

    assert rates.look(["q"], 300.0)["q"] == pytest.approx(1.0, abs=0.3)
    assert len(rates._looks) <= WINDOW + 3


def test_many_looks_in_a_moment_keep_no_more_than_one_each_second() -> None:
    rates = Rates({"q": 0}, 0.0)

    for number in range(10_000):
        rates.look(["q"], number / 1000)

    assert len(rates._looks) <= 12
