"""Coroutines in real workers: in every pool, and many at once in the asyncio pool."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from taskctl.core.errors import TaskRevokedError, TimeLimitExceeded
from taskctl.core.tasks.result import ResultSet

from ..support.farms import MakeFarm
from ..support.servers import RedisServer
from ..support.waiting import eventually
from ..support.workers import Farm

MANY = 1000


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def node_of_many(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: RedisServer,
) -> Iterator[Farm]:
    folder = tmp_path_factory.mktemp("coroutines")
    url = f"sqlite:///{folder}/queue.db"
    if request.param == "redis":
        url = redis_server.url.removesuffix("/0") + "/62"
        with redis.Redis.from_url(url) as client:
            client.flushdb()
    farm = Farm(folder, url)
    farm.start(pool="asyncio", concurrency=MANY).ready()
    yield farm
    farm.close()


@pytest.fixture
def farm_of_many(node_of_many: Farm) -> Farm:
    """A farm with one node of the asyncio pool, one child and MANY places."""
    node_of_many.forget()
    return node_of_many


def test_a_thousand_sleeps_of_a_second_run_at_once_in_one_process(farm_of_many: Farm) -> None:
    began = time.monotonic()

    sent = [farm_of_many.send("anap", f"k{i}", 1.0) for i in range(MANY)]
    pids = set(ResultSet(sent, app=farm_of_many.app).get(timeout=40))

    # On an idle machine it takes 1.3 s, see benchmarks; one by one it would be 1,000.
    assert time.monotonic() - began < MANY / 50
    assert len(pids) == 1
    assert set(farm_of_many.runs().values()) == {1}


def test_functions_beside_coroutines_do_not_hold_them_up(farm_of_many: Farm) -> None:
    slow = [farm_of_many.send("blocks", f"b{i}", 1.5) for i in range(20)]
    eventually(lambda: len(farm_of_many.runs()) == 20)

    farm_of_many.send("anap", "quick", 0.01).get(timeout=10)

    assert not any(one.ready() for one in slow)
    assert len(set(ResultSet(slow, app=farm_of_many.app).get(timeout=20))) == 1


def test_limits_and_revokes_concern_one_coroutine_alone(farm_of_many: Farm) -> None:
    node = farm_of_many.nodes[0]
    children = node.children()
    beside = farm_of_many.send("anap", "beside", 2.0)
    doomed = farm_of_many.send("anap", "doomed", 60.0)
    eventually(lambda: len(farm_of_many.runs()) == 2)

    doomed.revoke(terminate=True)
    soft, hard = farm_of_many.send("asoft", "soft"), farm_of_many.send("ahard", "hard")

    assert soft.get(timeout=10) == "SoftTimeLimitExceeded"
    with pytest.raises(TimeLimitExceeded):
        hard.get(timeout=10)
    with pytest.raises(TaskRevokedError, match="terminated"):
        doomed.get(timeout=10)
    assert beside.get(timeout=10) == children[0]
    assert node.children() == children


def test_every_coroutine_has_its_own_request_and_its_hooks_run_on_its_loop(
    farm_of_many: Farm,
) -> None:
    app = farm_of_many.app
    own = [farm_of_many.send("own_request") for _ in range(50)]

    assert ResultSet(own, app=app).get(timeout=20) == [True] * 50
    assert farm_of_many.send("told", "t").get(timeout=10) is True
    eventually(lambda: farm_of_many.runs() == {"t-before": 1, "t-success": 1})
    assert farm_of_many.send("again_async", "again").get(timeout=10) == 2
    assert (
        farm_of_many.send("returns_coroutine", "c").get(timeout=10)
        == (farm_of_many.nodes[0].children()[0])
    )


def test_inspect_and_control_see_every_coroutine(farm_of_many: Farm) -> None:
    sent = [farm_of_many.send("anap", f"i{i}", 60.0) for i in range(20)]
    eventually(lambda: len(farm_of_many.runs()) == 20)
    inspect, control = farm_of_many.app.control.inspect(timeout=5), farm_of_many.app.control

    active = inspect.active()["w1@test"]
    stats = inspect.stats()["w1@test"]["pool"]
    grown = control.pool_grow(5, reply=True, timeout=5)

    assert {one["id"] for one in active} == {one.id for one in sent}
    assert all(one["worker_pid"] == stats["processes"][0] for one in active)
    assert (stats["max-concurrency"], stats["running"]) == (MANY, 20)
    assert grown[0]["w1@test"]["new"] == MANY + 5
    control.revoke([one.id for one in sent], terminate=True)
    for one in sent:
        with pytest.raises(TaskRevokedError):
            one.get(timeout=10)
    control.pool_shrink(5, reply=True, timeout=5)


def test_what_a_killed_child_ran_runs_again_in_the_next(farm_of_many: Farm) -> None:
    _kill_a_child_of(farm_of_many, 30)


def _kill_a_child_of(farm: Farm, count: int) -> None:
    sent = [farm.send("ahang_once", f"h{i}") for i in range(count)]
    eventually(lambda: len(farm.runs()) == count, within=20)
    [child] = farm.nodes[-1].children()

    os.kill(child, signal.SIGKILL)

    found = ResultSet(sent, app=farm.app).get(timeout=30)
    assert found == [f"h{i}" for i in range(count)]
    assert farm.runs() == {f"h{i}": 2 for i in range(count)}
    assert {farm.pids(f"h{i}")[0] for i in range(count)} == {child}


def test_a_killed_childs_coroutines_run_again_on_rabbitmq(
    make_farm: MakeFarm, rabbitmq_url: str, tmp_path: Path
) -> None:
    farm = make_farm(tmp_path, rabbitmq_url)
    farm.start(pool="asyncio", concurrency=50).ready()

    _kill_a_child_of(farm, 50)


def test_term_waits_for_coroutines_and_quit_gives_them_back(
    make_farm: MakeFarm, tmp_path: Path
) -> None:
    farm = make_farm(tmp_path, f"sqlite:///{tmp_path}/queue.db")
    warm = farm.start("w1", pool="asyncio", concurrency=10).ready()
    slow = [farm.send("anap", f"s{i}", 1.5) for i in range(10)]
    eventually(lambda: len(farm.runs()) == 10)
    waiting = farm.send("ahang_once", "late")

    warm.tell(signal.SIGTERM)

    assert warm.exit_code() == 0
    assert all(one.ready() for one in slow)
    assert farm.size() == 1
    cold = farm.start("w2", pool="asyncio", concurrency=10).ready()
    eventually(lambda: farm.runs()["late"] == 1)
    cold.tell(signal.SIGQUIT)
    cold.exit_code()
    assert farm.size() == 1
    farm.start("w3", pool="asyncio", concurrency=10).ready()
    assert waiting.get(timeout=15) == "late"


@pytest.mark.parametrize("pool", ["prefork", "threads", "solo"])
def test_coroutines_run_in_every_other_pool_on_a_loop_that_stays(
    make_farm: MakeFarm, tmp_path: Path, pool: str
) -> None:
    farm = make_farm(tmp_path, f"sqlite:///{tmp_path}/queue.db")
    farm.start(pool=pool, concurrency=1).ready()

    def call(task: str, *args: Any) -> Any:
        return farm.send(task, *args).get(timeout=15)

    pid, _ = call("same_loop")
    assert call("same_loop") == [pid, True]
    assert call("returns_coroutine", "c") == pid
    assert call("own_request") is True
    assert call("told", "t") is True
    assert call("again_async", "again") == 2
    with pytest.raises(TypeError, match="an async generator has no one result"):
        call("generator")
    if pool == "prefork":
        assert call("asoft", "soft") == "SoftTimeLimitExceeded"
    # The same loop also after a limit, and beside functions.
    assert call("mark", "function") == "function"
    assert call("same_loop") == [pid, True]
    runs = farm.runs()
    assert (runs["t-before"], runs["t-success"], runs["another-loop"]) == (1, 1, 0)


@pytest.mark.soak
def test_nothing_is_lost_while_children_of_many_are_killed_again_and_again(
    make_farm: MakeFarm, broker_url: str, tmp_path: Path
) -> None:
    farm = make_farm(tmp_path, broker_url, task_max_deliveries=1000)
    node = farm.start(pool="asyncio", concurrency=100, children=2).ready()
    sent = [farm.send("anap", f"k{i}", 0.02) for i in range(4_000)]
    for _ in range(3):
        time.sleep(0.4)
        os.kill(node.children()[0], signal.SIGKILL)

    assert len(ResultSet(sent, app=farm.app).get(timeout=90)) == 4_000
    runs = farm.runs()
    assert len(runs) == 4_000
    # What ran twice was under way in a child that was killed.
    assert 0 < sum(runs.values()) - 4_000 <= 3 * 100
