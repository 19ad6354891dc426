"""What every limiter promises, on each of them; and the arithmetic that all share."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.errors import ImproperlyConfigured, LimiterError
from taskctl.core.limiters import can_limit, open_limiter
from taskctl.core.limiters.base import (
    HORIZON,
    Limiter,
    LockWish,
    Passes,
    PassWish,
    SlotWish,
    next_passes,
)

from ..support.waiting import eventually

Make = Callable[[], Limiter]
_names = itertools.count()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Makes limiters that meet."""
    if request.param == "redis":
        url = str(request.getfixturevalue("redis_url"))
    elif request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/limits.db"
    else:
        url = f"memory://limiters{next(_names)}"
    made: list[Limiter] = []

    def open_one() -> Limiter:
        made.append(open_limiter(url, options={"global_keyprefix": "p."}))
        return made[-1]

    yield open_one
    for one in made:
        one.close()


# --- passes -------------------------------------------------------------------------------------


def test_passes_come_one_after_the_other_whoever_asks(make: Make) -> None:
    first, second = make(), make()
    began = time.monotonic()

    one = first.reserve([PassWish("k", 0.1, 1, 10)])[0]
    two = second.reserve([PassWish("k", 0.1, 1, 10)])[0]

    ended = time.monotonic()
    assert len(one.delays) == 3  # now, and those that are good within HORIZON
    assert [round(b - a, 3) for a, b in itertools.pairwise(one.delays)] == [0.1, 0.1]
    assert all(ended + delay >= began + 0.3 for delay in two.delays)
    assert 0 <= two.after <= 0.3


def test_many_who_ask_at_once_never_get_more_than_the_rate(make: Make) -> None:
    granted: list[float] = []
    until = time.monotonic() + 0.6

    def ask() -> None:
        mine = make()
        while time.monotonic() < until:
            now = time.monotonic()
            granted.extend(now + d for d in mine.reserve([PassWish("k", 0.02, 1, 3)])[0].delays)
            time.sleep(0.005)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    # Whatever the hosts did meanwhile: so long a time, and what may be given ahead.
    span = time.monotonic() - (until - 0.6) + HORIZON
    assert 10 < len(granted) <= span / 0.02 + 2


def test_what_was_not_used_is_saved_up_to_the_burst(make: Make) -> None:
    limiter = make()

    passes = limiter.reserve([PassWish("k", 10.0, 3, 10)])[0]

    assert [round(delay, 3) for delay in passes.delays] == [0, 0, 0]
    assert 9 < passes.after <= 10


def test_keys_do_not_touch_each_other(make: Make) -> None:
    limiter = make()

    found = limiter.reserve([PassWish("a", 10.0, 1, 1), PassWish("b", 10.0, 1, 1)])

    assert [len(passes.delays) for passes in found] == [1, 1]
    assert limiter.reserve([PassWish("a", 10.0, 1, 1)])[0].delays == []


def test_a_faster_rate_counts_at_once(make: Make) -> None:
    limiter = make()
    limiter.reserve([PassWish("k", 3600.0, 1, 1)])

    assert limiter.reserve([PassWish("k", 0.1, 1, 1)])[0].delays


@given(
    interval=st.floats(0.001, 100),
    burst=st.integers(1, 5),
    asks=st.lists(st.tuples(st.floats(0, 50), st.integers(1, 5)), max_size=30),
)
def test_no_span_of_time_has_more_passes_than_its_rate(
    interval: float, burst: int, asks: list[tuple[float, int]]
) -> None:
    now, tat, good = 1000.0, 0.0, []
    for pause, wanted in asks:
        now += pause
        tat, passes = next_passes(tat, now, PassWish("k", interval, burst, wanted))
        assert all(0 <= delay <= HORIZON for delay in passes.delays)
        assert len(passes.delays) <= wanted
        good += [now + delay for delay in passes.delays]

    assert good == sorted(good)
    for count in range(burst + 1, len(good) + 1):
        for first, last in zip(good, good[count - 1 :], strict=False):
            assert last - first >= (count - burst) * interval - 1e-6


@given(tat=st.floats(0, 10**7), interval=st.floats(0.001, 1000), burst=st.integers(1, 9))
def test_a_clock_that_went_back_stops_nothing_for_long(
    tat: float, interval: float, burst: int
) -> None:
    _, passes = next_passes(tat, 1000.0, PassWish("k", interval, burst, 1))

    assert isinstance(passes, Passes)
    assert passes.delays or passes.after <= burst * interval + 1.0


# --- slots --------------------------------------------------------------------------------------


def test_there_are_so_many_slots_and_no_more(make: Make) -> None:
    first, second = make(), make()

    assert first.occupy([SlotWish("k", 2, ("a", "b", "c"))], 30.0) == [["a", "b"]]
    assert second.occupy([SlotWish("k", 2, ("d", "a")), SlotWish("j", 1, ("d",))], 30.0) == [
        ["a"],
        ["d"],
    ]

    first.vacate([("k", "a"), ("k", "nobody"), ("unheard-of", "x")])

    assert second.occupy([SlotWish("k", 2, ("d", "e"))], 30.0) == [["d"]]


def test_a_slot_that_is_not_renewed_is_free_again(make: Make) -> None:
    limiter = make()
    limiter.occupy([SlotWish("k", 2, ("dead", "alive"))], 0.3)
    limiter.renew([("k", "alive")], 30.0)

    eventually(lambda: limiter.occupy([SlotWish("k", 2, ("next",))], 30.0) == [["next"]])

    assert limiter.occupy([SlotWish("k", 2, ("more",))], 30.0) == [[]]


# --- locks --------------------------------------------------------------------------------------


def test_of_many_one_gets_the_lock_and_all_are_told_who(make: Make) -> None:
    owners: list[str] = []

    def ask(n: int) -> None:
        owners.extend(make().claim([LockWish("k", f"id{n}", 30.0)]))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(owners) == 8
    assert len(set(owners)) == 1


def test_a_lock_is_given_back_by_its_holder_alone(make: Make) -> None:
    limiter, other = make(), make()
    limiter.claim([LockWish("k", "a", 30.0), LockWish("j", "a", 30.0)])

    other.unlock([("k", "b")])
    assert other.claim([LockWish("k", "b", 30.0)]) == ["a"]

    other.unlock([("k", "a")])
    assert other.claim([LockWish("k", "b", 30.0), LockWish("j", "b", 30.0)]) == ["b", "a"]

    other.free(["a", "unheard-of"])
    assert other.claim([LockWish("k", "c", 30.0), LockWish("j", "c", 30.0)]) == ["b", "c"]


def test_a_lock_ends_by_itself_or_is_held_longer(make: Make) -> None:
    limiter = make()
    limiter.claim([LockWish("gone", "a", 1.0), LockWish("kept", "a", 1.0)])
    limiter.extend([("kept", "a"), ("gone", "b"), ("unheard-of", "a")], 30.0)

    eventually(lambda: limiter.claim([LockWish("gone", "b", 30.0)]) == ["b"])

    assert limiter.claim([LockWish("kept", "b", 30.0)]) == ["a"]
    assert limiter.claim([LockWish("unheard-of", "b", 30.0)]) == ["b"]


def test_the_lock_of_a_run_ends_soon_and_its_caller_cannot_prolong_it(make: Make) -> None:
    limiter = make()
    limiter.claim([LockWish("k", "a", 30.0)])

    limiter.claim([LockWish("k", "a", 0.2, running=True)])
    limiter.extend([("k", "a")], 30.0)

    eventually(lambda: limiter.claim([LockWish("k", "b", 30.0)]) == ["b"])


def test_the_lock_of_a_run_is_not_freed_for_a_holder_that_is_not_wanted(make: Make) -> None:
    limiter = make()
    limiter.claim([LockWish("runs", "a", 30.0, running=True), LockWish("waits", "a", 30.0)])

    limiter.free(["a"])

    assert limiter.claim([LockWish("runs", "b", 30.0), LockWish("waits", "b", 30.0)]) == ["a", "b"]
    limiter.unlock([("runs", "a")])
    assert limiter.claim([LockWish("runs", "b", 30.0)]) == ["b"]


def test_the_next_try_of_a_run_prolongs_its_lock(make: Make) -> None:
    limiter = make()
    limiter.claim([LockWish("k", "a", 0.5, running=True)])

    limiter.claim([LockWish("k", "a", 30.0)])
    time.sleep(0.6)  # the time after which the first claim would have ended

    assert limiter.claim([LockWish("k", "b", 30.0)]) == ["a"]


# --- where --------------------------------------------------------------------------------------


def test_where_limits_can_be_counted() -> None:
    assert can_limit("redis://h/1")
    assert can_limit("sqlite:///x.db")
    assert not can_limit("amqp://h")
    with pytest.raises(ImproperlyConfigured, match="amqp://: choose memory, redis"):
        open_limiter("amqp://h")


def test_a_server_that_is_away_is_told_in_one_sentence() -> None:
    limiter = open_limiter("redis://127.0.0.1:1/0")

    with pytest.raises(LimiterError, match=r"shared limits: .*127\.0\.0\.1:1"):
        limiter.claim([LockWish("k", "a", 1.0)])


def test_keys_go_by_themselves_and_bear_the_prefix(redis_url: str) -> None:
    limiter = open_limiter(redis_url, options={"global_keyprefix": "p."})
    limiter.reserve([PassWish("k", 1.0, 1, 1)])
    limiter.occupy([SlotWish("k", 1, ("a",))], 5.0)
    limiter.renew([("k", "a")], 5.0)
    limiter.claim([LockWish("k", "a", 5.0)])
    limiter.close()

    with redis.Redis.from_url(redis_url) as client:
        keys = list(client.scan_iter())
        assert sorted(keys) == [
            b"p.taskctl.lock.k",
            b"p.taskctl.locks.a",
            b"p.taskctl.pass.k",
            b"p.taskctl.slots.k",
        ]
        assert all(0 < client.pttl(key) <= 6000 for key in keys)
