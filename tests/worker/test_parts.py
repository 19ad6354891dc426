"""The small parts of a worker: options, autoscaler, revoked ids, signals."""

from __future__ import annotations

import os
import select
import signal
from typing import Any

import pytest

from taskctl import App
from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.worker.autoscaler import Autoscaler, parse_autoscale
from taskctl.core.worker.options import resolve
from taskctl.core.worker.revoked import LimitedSet
from taskctl.core.worker.signalbox import SignalBox, remapped


def app(**settings: Any) -> App:
    return App("options", broker="memory://", set_as_current=False, **settings)


def test_the_command_line_wins_over_the_settings() -> None:
    options = resolve(
        app(worker_concurrency=7, task_time_limit=30, worker_prefetch_multiplier=2),
        concurrency="3",
        time_limit=5,
    )

    assert (options.concurrency, options.hard, options.prefetch) == (3, 5.0, 2)


def test_queues_are_chosen_by_name() -> None:
    options = resolve(app(), queues="images,video", exclude_queues=None)

    assert [queue.name for queue in options.queues] == ["images", "video"]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"concurrency": "x4"}, "-c x4: whole number or 'auto' expected"),
        ({"concurrency": 0.5}, "-c 0.5: at least 1 child is needed"),
        ({"prefetch_multiplier": -1}, "worker_prefetch_multiplier must be 0 or more, got -1"),
        ({"autoscale": "many"}, "autoscale 'many': write MAX,MIN"),
        ({"soft_time_limit": 10, "time_limit": 5}, "must not be above"),
    ],
)
def test_what_cannot_be_is_refused_with_one_line(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        resolve(app(), **given)

    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_solo_pool_has_one_child() -> None:
    assert resolve(app(), pool="solo", concurrency=8).concurrency == 1


def test_auto_concurrency_fits_the_machine() -> None:
    assert 1 <= resolve(app(), concurrency="auto").concurrency <= (os.cpu_count() or 1)


@pytest.mark.parametrize(("text", "limits"), [("10,3", (10, 3)), ("3,10", (10, 3)), ("4", (4, 0))])
def test_autoscale_limits_come_in_any_order(text: str, limits: tuple[int, int]) -> None:
    assert parse_autoscale(text) == limits


class Sized:
    """As much of a pool as an autoscaler looks at."""

    def __init__(self, size: int) -> None:
        self.size = size

    def resize(self, size: int) -> None:
        self.size = size


def test_the_pool_grows_at_once_and_shrinks_one_by_one() -> None:
    pool: Any = Sized(2)
    autoscaler = Autoscaler(pool, 8, 2, keepalive=10.0)

    autoscaler.adjust(20, 100.0)
    assert pool.size == 8
    autoscaler.adjust(0, 105.0)
    assert pool.size == 8
    sizes = []
    for step in range(10):
        autoscaler.adjust(0, 110.0 + step * 10)
        sizes.append(pool.size)
    assert sizes[:3] == [7, 6, 5] and sizes[-1] == 2


def test_a_limited_set_forgets_the_oldest() -> None:
    revoked = LimitedSet(maxlen=3)
    revoked.update(["a", "b", "c", "d"])
    assert list(revoked) == ["b", "c", "d"]

    revoked.add("b")
    revoked.add("e")
    assert list(revoked) == ["d", "b", "e"]
    assert "a" not in revoked and "e" in revoked and len(revoked) == 3


def test_a_limited_set_forgets_what_is_old() -> None:
    revoked = LimitedSet(expires=0.0)
    revoked.add("a")

    assert "a" not in revoked
    assert list(revoked) == []


def test_signals_are_put_in_a_queue_and_given_back_to_whoever_had_them() -> None:
    before = signal.getsignal(signal.SIGTERM)
    box = SignalBox()
    box.open()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert select.select([box.fileno()], [], [], 5)[0]
        assert box.take() == [signal.SIGTERM, signal.SIGINT]
        assert box.take() == []
    finally:
        box.close()

    assert signal.getsignal(signal.SIGTERM) is before


def test_term_may_stand_for_quit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert remapped(signal.SIGTERM) == signal.SIGTERM
    monkeypatch.setenv("REMAP_SIGTERM", "SIGQUIT")
    assert remapped(signal.SIGTERM) == signal.SIGQUIT
    assert remapped(signal.SIGINT) == signal.SIGINT
