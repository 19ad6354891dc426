from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.brokers.base import Delivery
from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.wire.task_message import TaskHeaders, TaskMessage
from taskctl.core.worker.request import Request
from taskctl.core.worker.scheduler import MAX_WAITING, Scheduler, parse_rate


def request(number: int, name: str = "t", deliveries: int = 0) -> Request:
    delivery = Delivery(tag=str(number), queue="q", envelope=b"{}", deliveries=deliveries)
    message = TaskMessage(headers=TaskHeaders(task=name, id=str(number)))
    return Request(number, delivery, message, None)


@pytest.mark.parametrize(
    ("limit", "rate"),
    [(None, 0), (0, 0), ("0", 0), (5, 5), ("5", 5), ("6/s", 6), ("6/m", 0.1), ("36 /h", 0.01)],
)
def test_a_rate_is_tasks_a_second(limit: Any, rate: float) -> None:
    assert parse_rate(limit) == pytest.approx(rate)


@given(st.text(min_size=1))
def test_any_other_text_is_refused_with_one_line(text: str) -> None:
    try:
        assert parse_rate(text) >= 0
    except ImproperlyConfigured as exc:
        assert "rate limit" in str(exc)


def test_without_a_limit_all_is_due_in_the_order_it_came() -> None:
    scheduler = Scheduler()
    requests = [request(number) for number in range(5)]
    for one in requests:
        scheduler.hold(one)

    assert scheduler.due(0.0) == requests
    assert scheduler.due(0.0) == []


def test_what_was_put_back_comes_first_again() -> None:
    scheduler = Scheduler()
    first, second, third = (request(number) for number in range(3))
    scheduler.hold(third)

    scheduler.put_back([first, second])

    assert scheduler.due(0.0) == [first, second, third]


def test_a_limited_task_passes_once_in_each_interval() -> None:
    scheduler = Scheduler()
    scheduler.limit("slow", "2/s")
    for number in range(3):
        scheduler.hold(request(number, "slow"))
    scheduler.hold(request(9))

    assert [r.number for r in scheduler.due(10.0)] == [9, 0]
    assert scheduler.next_due(10.1) == pytest.approx(0.4)
    assert scheduler.due(10.4) == []
    assert [r.number for r in scheduler.due(10.5)] == [1]
    assert scheduler.limited() == 1


def test_idle_time_is_not_saved_up() -> None:
    scheduler = Scheduler()
    scheduler.limit("slow", "1/s")
    for number in range(3):
        scheduler.hold(request(number, "slow"))

    assert len(scheduler.due(1000.0)) == 1


def test_lifting_a_limit_lets_all_go() -> None:
    scheduler = Scheduler()
    scheduler.limit("slow", "1/h")
    for number in range(3):
        scheduler.hold(request(number, "slow"))
    scheduler.due(0.0)

    scheduler.limit("slow", None)

    assert [r.number for r in scheduler.due(0.0)] == [1, 2]
    assert scheduler.next_due(0.0) is None


def test_many_that_wait_for_a_limit_are_put_aside() -> None:
    scheduler = Scheduler()
    scheduler.limit("slow", "1/s")
    for number in range(MAX_WAITING):
        assert scheduler.overfull(request(number, "slow")) is None
        scheduler.hold(request(number, "slow"))

    assert scheduler.overfull(request(99, "slow")) == pytest.approx(20.0)
    assert scheduler.overfull(request(99, "free")) is None


def test_recalled_requests_are_held_no_longer() -> None:
    scheduler = Scheduler()
    scheduler.limit("slow", "1/h")
    held = [request(0), request(1, "slow"), request(2, "slow")]
    for one in held:
        scheduler.hold(one)

    assert scheduler.recall(lambda one: one.number != 1) == [held[0], held[2]]
    assert scheduler.due(0.0) == [held[1]]
