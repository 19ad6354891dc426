"""kill -9 of a child, of the parent and of the whole group, at default settings.

Both brokers and all three deaths share one wait for the lease of 15 seconds.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from ..support.servers import RedisServer
from ..support.waiting import eventually
from ..support.workers import Farm, Node, gone

#: What must hold: everything runs on another node within so many seconds.
PROMISED = 30.0
KINDS = ("sqlite", "redis")
QUICK = 8


class Drama:
    """What happened on one broker."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.victims: dict[str, Node] = {}
        self.killed_at: dict[str, float] = {}
        self.orphans: dict[str, list[int]] = {}

    def prepare(self) -> None:
        for queue in ("child", "parent", "group"):
            self.victims[queue] = self.farm.start(
                queue, queues=queue, concurrency=1, prefetch_multiplier=4
            )
        for queue in self.victims:
            self.farm.send("hang_once", f"{queue}.hang", queue=queue)
            for number in range(QUICK):
                self.farm.send("mark", f"{queue}.{number}", queue=queue)

    def kill(self) -> None:
        for queue, node in self.victims.items():
            eventually(lambda q=queue: self.farm.runs()[f"{q}.hang"], within=30)
            self.orphans[queue] = node.children()
            self.killed_at[queue] = time.time()
            if queue == "child":
                os.kill(self.farm.pids("child.hang")[0], signal.SIGKILL)
            elif queue == "parent":
                node.tell(signal.SIGKILL)
            else:
                node.kill_group()
        self.farm.start("survivor", queues="parent,group")

    def over(self) -> bool:
        runs = self.farm.runs()
        return all(
            runs[f"{queue}.hang"] == 2 and all(runs[f"{queue}.{n}"] for n in range(QUICK))
            for queue in self.victims
        )


@pytest.fixture(scope="module")
def dramas(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[dict[str, Drama]]:
    folder = tmp_path_factory.mktemp("kill")
    # A database that the round of `redis_url` reaches last.
    urls = {
        "sqlite": f"sqlite:///{folder}/queue.db",
        "redis": f"redis://127.0.0.1:{redis_server.port}/63",
    }
    dramas = {kind: Drama(Farm(folder / kind, urls[kind])) for kind in KINDS}
    try:
        for drama in dramas.values():
            drama.prepare()
        for drama in dramas.values():
            drama.kill()
        eventually(lambda: all(d.over() for d in dramas.values()), within=PROMISED + 5, every=0.1)
        yield dramas
    finally:
        for drama in dramas.values():
            drama.farm.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("death", ["child", "parent", "group"])
def test_everything_sent_runs_within_30_s_of_a_kill(
    dramas: dict[str, Drama], kind: str, death: str
) -> None:
    drama = dramas[kind]

    _, second = drama.farm.times(f"{death}.hang")

    delay = second - drama.killed_at[death]
    print(f"{kind}, kill -9 of the {death}: {delay:.2f} s")
    assert delay < (2.0 if death == "child" else PROMISED)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("death", ["child", "parent", "group"])
def test_what_had_not_begun_when_a_node_was_killed_runs_once(
    dramas: dict[str, Drama], kind: str, death: str
) -> None:
    runs = dramas[kind].farm.runs()

    assert {runs[f"{death}.{number}"] for number in range(QUICK)} == {1}


@pytest.mark.parametrize("kind", KINDS)
def test_children_die_with_their_parent(dramas: dict[str, Drama], kind: str) -> None:
    orphans = dramas[kind].orphans["parent"]

    assert orphans
    assert all(map(gone, orphans))


@pytest.mark.parametrize("kind", KINDS)
def test_one_living_node_says_whose_work_it_took_over(dramas: dict[str, Drama], kind: str) -> None:
    logs = "".join(node.log for node in dramas[kind].farm.nodes)

    assert logs.count("node parent@test is gone; what it held is back on its queues") == 1
    assert logs.count("node group@test is gone; what it held is back on its queues") == 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_child_is_named_in_the_log_with_its_task(
    dramas: dict[str, Drama], kind: str
) -> None:
    drama = dramas[kind]
    pid = drama.farm.pids("child.hang")[0]

    log = drama.victims["child"].log

    assert f"child {pid} killed by SIGKILL while running trial.hang_once[" in log
    assert "goes back to queue 'child': delivery 1 of 3 was lost" in log
