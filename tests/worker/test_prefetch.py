from __future__ import annotations

from taskctl.core.worker.prefetch import BUFFER, MAX_HELD, Prefetch

from .test_scheduler import request


def test_a_number_is_so_many_a_child() -> None:
    assert Prefetch(4).room(2, held=3) == 5
    assert Prefetch(4).room(2, held=9) == 0
    assert Prefetch(0).room(2, held=9) == MAX_HELD


def test_before_anything_is_known_each_child_gets_one() -> None:
    assert Prefetch("auto").room(3, held=1) == 2


def test_short_tasks_come_by_the_hundred() -> None:
    prefetch = Prefetch("auto")
    for _ in range(20):
        prefetch.ran("quick", 0.001)

    assert 100 < prefetch.room(2, held=0) <= MAX_HELD


def test_long_tasks_get_no_buffer() -> None:
    prefetch = Prefetch("auto")
    prefetch.ran("long", 5.0)

    assert prefetch.room(2, held=2) == 0
    assert prefetch.room(2, held=1) == 1


def test_what_is_held_takes_room_until_it_is_given_back() -> None:
    prefetch = Prefetch("auto")
    prefetch.ran("t", 0.01)
    empty = prefetch.room(1, held=0)
    held = [request(number) for number in range(10)]
    for one in held:
        prefetch.took(one)

    assert prefetch.room(1, held=10) == empty - 10

    for one in held:
        prefetch.gave(one)
    assert prefetch.room(1, held=0) == empty


def test_a_child_at_an_unexpectedly_long_task_takes_its_share_of_the_buffer_and_no_more() -> None:
    prefetch = Prefetch("auto")
    prefetch.ran("t", 0.001)
    running = request(1)
    prefetch.took(running)

    overtime = prefetch.overtime(running, 60.0)

    assert overtime + running.estimate == BUFFER
    assert prefetch.room(2, held=1, overtime=overtime) == 200
    assert prefetch.room(1, held=1, overtime=overtime) == 0


def test_the_estimate_follows_a_rise_at_once_and_a_fall_slowly() -> None:
    prefetch = Prefetch("auto")
    prefetch.ran("t", 0.001)
    prefetch.ran("t", 1.0)
    assert prefetch.estimate("t") == 1.0

    prefetch.ran("t", 0.001)
    assert 0.8 < prefetch.estimate("t") < 1.0
