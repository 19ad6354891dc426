"""Limits that all workers share, with real workers: rates, slots, locks, and who dies holding."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl import chord, group
from taskctl.core.errors import ChordError, TaskRevokedError

from ..support import trial_limits
from ..support.servers import RedisServer
from ..support.waiting import eventually
from ..support.workers import Farm

_MORE = {"TRIAL_MORE": "tests.support.trial_limits"}
#: Slots and locks of the dead end soon.
_SETTINGS = {"worker_lease": 1.5, "worker_lease_interval": 0.5}
_keys = itertools.count()
#: What does not differ from one broker to the other.
ON_SQLITE = pytest.mark.parametrize("fleet", ["sqlite"], indirect=True, scope="module")


class Fleet:
    """A farm whose client and workers know the tasks with limits."""

    def __init__(self, farm: Farm, nodes: int) -> None:
        self.farm = farm
        trial_limits.define(farm.app)
        self.nodes = [self.start(f"w{n}") for n in range(nodes)]
        for node in self.nodes:
            node.ready()

    def start(self, name: str) -> Any:
        return self.farm.start(name, env=_MORE)

    def __getattr__(self, name: str) -> Any:
        return self.farm.app.tasks[f"trial.{name}"]

    def runs(self, key: str) -> int:
        return self.farm.runs()[key]


@pytest.fixture(scope="module", params=["sqlite", "redis", "rabbitmq"])
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """Two workers of two children each, on each broker; RabbitMQ counts at the result backend."""
    folder = tmp_path_factory.mktemp("limits")
    if request.param == "sqlite":
        url = f"sqlite:///{folder}/queue.db"
    elif request.param == "redis":
        server: RedisServer = request.getfixturevalue("redis_server")
        url = server.url.removesuffix("/0") + "/60"
    else:
        url = request.getfixturevalue("rabbitmq_control").new_vhost()
    farm = Farm(folder, url, **_SETTINGS)
    try:
        yield Fleet(farm, 2)
    finally:
        farm.close()


@pytest.fixture
def key() -> str:
    return f"k{next(_keys)}"


def within_rate(times: list[float], rate: float, late: float = 0.3) -> None:
    """Check that no span of half a second or more has more runs than the rate gives.

    A run may begin `late` seconds after its pass was good: the machine is not ours alone.
    """
    times = sorted(times)
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            span = times[last] - start
            if span >= 0.5:
                assert last - first <= (span + late) * rate + 1


def at_once(farm: Farm) -> int:
    """Return how many `few` ran at the same time, at most."""
    steps = [(at, 1) for at in farm.times("begin")] + [(at, -1) for at in farm.times("end")]
    return max(itertools.accumulate(step for _, step in sorted(steps)), default=0)


def test_rates_and_slots_hold_across_workers_while_other_tasks_keep_full_speed(
    fleet: Fleet,
) -> None:
    farm = fleet.farm
    farm.forget()
    paced = [fleet.paced.delay(n) for n in range(50)]
    users = [fleet.by_user.delay(user) for _ in range(8) for user in "ab"]
    few = [fleet.few.delay(0.05) for _ in range(12)]
    sent = time.monotonic()
    plain = [farm.send("add", n, n) for n in range(100)]

    for result in plain:
        result.get(timeout=20)
    quick = time.monotonic() - sent
    left = 50 - fleet.runs("paced")
    for result in [*paced, *users, *few]:
        result.get(timeout=30)

    assert left > 0, f"100 plain tasks waited for limited ones: {quick:.1f} s"
    within_rate(farm.times("paced"), 20)
    within_rate(farm.times("user-a"), 10)
    within_rate(farm.times("user-b"), 10)
    assert fleet.runs("paced") == 50
    assert at_once(farm) <= 2


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_four_workers_never_pass_a_rate_in_a_minute(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = f"sqlite:///{tmp_path}/q.db" if kind == "sqlite" else request.getfixturevalue("redis_url")
    farm = Farm(tmp_path, url, **_SETTINGS)
    try:
        fleet = Fleet(farm, 4)
        began = time.monotonic()
        for n in range(3000):
            fleet.paced.delay(n)
        plain = 0
        while time.monotonic() - began < 60:
            sent = [farm.send("add", n, n) for n in range(100)]
            started = time.monotonic()
            for result in sent:
                result.get(timeout=20)
            plain += 100
            assert time.monotonic() - started < 5, "plain tasks stood behind limited ones"
        times = farm.times("paced")
    finally:
        farm.close()

    within_rate(times, 20)
    # All but what a busy machine lets slip.
    assert 0.85 * 20 * 60 < len(times) <= 20 * (max(times) - min(times)) + 2
    assert plain > 1000


def test_what_waits_for_long_waits_in_the_broker(fleet: Fleet) -> None:
    farm = fleet.farm
    farm.forget()
    seldom = [fleet.seldom.delay(n) for n in range(30)]

    eventually(lambda: fleet.runs("seldom") == 1)
    assert farm.send("mark", "past").get(timeout=20) == "past"
    inspect = farm.app.control.inspect(timeout=5)
    eventually(lambda: not any(inspect.reserved().values()))
    farm.app.control.revoke([result.id for result in seldom])
    done = [result.get(timeout=20, propagate=False) for result in seldom]

    assert sum(isinstance(value, TaskRevokedError) for value in done) == 29
    assert fleet.runs("seldom") == 1


@ON_SQLITE
def test_a_rate_of_one_worker_and_key_is_its_own(fleet: Fleet, key: str) -> None:
    fleet.farm.forget()
    for result in [fleet.here.delay(key) for _ in range(10)]:
        result.get(timeout=20)

    # Each of two workers has its own 10 a second.
    within_rate(fleet.farm.times(f"here-{key}"), 20)
    assert fleet.runs(f"here-{key}") == 10


@ON_SQLITE
def test_the_rate_of_a_limit_is_changed_by_remote_control(fleet: Fleet) -> None:
    fleet.farm.forget()
    replies = fleet.farm.app.control.rate_limit("trial.slow", "50/s", reply=True, timeout=5)

    assert len(replies) == 2
    for reply in replies:
        (answer,) = reply.values()
        assert (answer["old"], answer["new"]) == ("1/h", "50/s")
    for result in [fleet.slow.delay(n) for n in range(5)]:
        result.get(timeout=20)


def test_of_many_calls_of_a_unique_task_one_runs(fleet: Fleet, key: str) -> None:
    results = [fleet.once.delay(key, 0.3) for _ in range(20)]

    assert {result.get(timeout=20) for result in results} == {key}
    assert fleet.runs(f"once-{key}") == 1
    assert len({result.id for result in results}) == 1
    eventually(lambda: not fleet.once.delay(key).duplicate)


@ON_SQLITE
def test_a_lock_until_the_start_lets_one_more_wait(fleet: Fleet, key: str) -> None:
    first = fleet.once_queued.delay(key, 1.0)
    eventually(lambda: fleet.runs(f"queued-{key}") == 1)

    second = eventually(lambda: _accepted(fleet.once_queued.delay(key)))

    assert second != first
    assert first.get(timeout=20) == second.get(timeout=20) == key
    eventually(lambda: fleet.runs(f"queued-{key}") == 2)


def _accepted(result: Any) -> Any:
    return None if result.duplicate else result


@ON_SQLITE
def test_a_lock_for_seconds_outlasts_the_run(fleet: Fleet, key: str) -> None:
    began = time.monotonic()
    first = fleet.once_a_while.delay(key)
    assert first.get(timeout=20) == key

    again = fleet.once_a_while.delay(key)

    assert again == first or time.monotonic() - began > 1.0
    eventually(lambda: _accepted(fleet.once_a_while.delay(key))).get(timeout=20)


@ON_SQLITE
def test_a_retry_keeps_the_lock(fleet: Fleet, key: str) -> None:
    first = fleet.once_again.delay(key)
    eventually(lambda: first.state == "RETRY" or first.ready())
    second = fleet.once_again.delay(key)

    assert first.get(timeout=20) == 1
    assert second == first or second.get(timeout=20) == 1
    assert fleet.runs(f"again-{key}") in (2, 4)


def test_a_revoke_frees_the_lock(fleet: Fleet, key: str) -> None:
    first = fleet.once.apply_async((key,), countdown=3600)
    assert fleet.once.delay(key).duplicate

    first.revoke()

    second = eventually(lambda: _accepted(fleet.once.delay(key)))
    assert second.get(timeout=20) == key


@ON_SQLITE
def test_a_workflow_with_a_duplicate_in_it_ends(fleet: Fleet, key: str) -> None:
    holder = fleet.once.delay(key, 2.0)
    eventually(lambda: fleet.runs(f"once-{key}") == 1)

    joined = chord(
        group([fleet.once.s(key), fleet.once.s(f"{key}-other")]),
        fleet.farm.app.signature("trial.echo"),
        app=fleet.farm.app,
    ).apply_async()

    with pytest.raises(ChordError, match=f"duplicate of {holder.id}"):
        joined.get(timeout=20)
    assert holder.get(timeout=20) == key
    assert fleet.runs(f"once-{key}") == 1


@ON_SQLITE
def test_calls_of_programs_that_do_not_know_the_task_are_told_apart_by_the_worker(
    fleet: Fleet, key: str
) -> None:
    stranger = type(fleet.farm.app)("stranger", set_as_current=False, **fleet.farm.settings)
    results = [stranger.send_task("trial.once", (key, 0.5)) for _ in range(5)]

    ends = [result.get(timeout=20, propagate=False) for result in results]

    stranger.close()
    assert ends.count(key) >= 1
    assert all(end == key or isinstance(end, TaskRevokedError) for end in ends)
    assert fleet.runs(f"once-{key}") == ends.count(key)


def test_what_a_killed_worker_held_is_free_within_seconds(fleet: Fleet, key: str) -> None:
    app = fleet.farm.app
    victim = fleet.farm.start("victim", env=_MORE, queues="victim").ready()
    fleet.once_early.apply_async((key, 60), queue="victim")
    fleet.alone.apply_async((key, 60), queue="victim")
    eventually(lambda: fleet.runs(f"early-{key}") == fleet.runs(f"alone-{key}") == 1)
    assert fleet.once_early.delay(key).duplicate

    victim.kill_group()
    victim.exit_code()
    app.control.add_consumer("victim", reply=True)

    second = eventually(lambda: _accepted(fleet.once_early.delay(key)), within=20)
    assert second.get(timeout=20) == key
    # It was acknowledged late: it runs again, in the slot that it has left.
    eventually(lambda: fleet.runs(f"alone-{key}") == 2, within=30)
