from __future__ import annotations

import logging

import pytest

from taskctl.core.errors import BrokerConnectionError
from taskctl.core.messaging.connection import Connection
from taskctl.core.worker import line as lines
from taskctl.core.worker.line import Line


class Broker:
    """Says whether the line can be opened."""

    def __init__(self) -> None:
        self.there = True

    def connect(self) -> None:
        if not self.there:
            raise BrokerConnectionError("nobody there")


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands: now[0]."""
    moment = [100.0]
    monkeypatch.setattr(lines.time, "monotonic", lambda: moment[0])
    return moment


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def line(broker: Broker, now: list[float]) -> Line:
    line = Line(Connection("memory://"), broker.connect)
    line.opened(now[0])
    return line


def test_a_line_that_broke_is_mended_after_a_short_wait(line: Line, now: list[float]) -> None:
    now[0] += 60
    line.lost(BrokerConnectionError("gone"))

    assert not line.mend(now[0])
    assert line.next_try(now[0]) == pytest.approx(0.1)
    now[0] += 0.1
    assert line.mend(now[0])
    assert line.reconnects == 1
    assert line.next_try(now[0]) is None


def test_tries_in_vain_are_ever_further_apart_but_never_far(
    line: Line, broker: Broker, now: list[float]
) -> None:
    now[0] += 60
    broker.there = False
    line.lost(BrokerConnectionError("gone"))

    waits = []
    for _ in range(8):
        waits.append(line.next_try(now[0]) or 0.0)
        now[0] += waits[-1]
        assert not line.mend(now[0])

    assert waits[:5] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6])
    assert max(waits) == 2.0


def test_a_long_outage_is_told_now_and_then(
    line: Line, broker: Broker, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    now[0] += 60
    broker.there = False
    with caplog.at_level(logging.WARNING, "taskctl.worker"):
        line.lost(BrokerConnectionError("gone"))
        for _ in range(600):
            now[0] += 0.1
            line.mend(now[0])
        broker.there = True
        now[0] += 5
        line.mend(now[0])

    told = [record.getMessage() for record in caplog.records]
    assert told[0] == "gone; trying again, running tasks go on"
    assert told[1:-1] == ["nobody there; trying again, running tasks go on"]
    assert told[-1] == "connected again after 65.0 s"


def test_a_broker_that_lets_in_and_refuses_is_tried_ever_more_rarely(
    line: Line, now: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    now[0] += 60
    with caplog.at_level(logging.WARNING, "taskctl.worker"):
        for _ in range(20):
            line.lost(BrokerConnectionError("disk full"))
            now[0] += line.next_try(now[0]) or 0.0
            assert line.mend(now[0])

    assert now[0] - 160 > 25
    assert len(caplog.records) <= 6
