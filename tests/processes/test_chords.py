"""Chords end whatever happens to their header tasks, with real workers on SQLite and Redis."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl import chain, chord, group
from taskctl.core.errors import ChordError
from taskctl.core.messaging.producer import gather
from taskctl.core.wire.chord_part import Part, encode_member

from ..support.servers import RedisServer
from ..support.waiting import eventually
from ..support.workers import Farm

#: One lost delivery condemns a task, so that no test waits for two.
_SETTINGS = {
    "worker_lease": 1.5,
    "worker_lease_interval": 0.5,
    "task_max_deliveries": 2,
    "broker_transport_options": {"visibility_timeout": 30},
}


class Stage:
    """A farm with two workers, and the signatures of its tasks."""

    def __init__(self, farm: Farm) -> None:
        self.farm = farm
        self.app = farm.app

    def s(self, name: str, *args: object, **options: object) -> Any:
        return self.app.signature(f"trial.{name}", args=args, **options)

    def ends(self, key: str) -> int:
        return self.farm.runs()[key]


@pytest.fixture(
    scope="module", params=["sqlite", "redis", pytest.param("rabbitmq", marks=pytest.mark.soak)]
)
def stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: RedisServer,
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("chords")
    url = f"sqlite:///{folder}/q.db"
    if request.param == "redis":
        url = f"redis://127.0.0.1:{redis_server.port}/62"
    elif request.param == "rabbitmq":
        url = request.getfixturevalue("rabbitmq_control").new_vhost()
    settings = {k: v for k, v in _SETTINGS.items() if request.param != "rabbitmq" or "task" in k}
    farm = Farm(folder, url, **settings)
    try:
        farm.start("one")
        farm.start("two", concurrency=2)
        for node in farm.nodes:
            node.ready()
        yield Stage(farm)
    finally:
        farm.close()


def test_a_large_chord_is_joined_in_order(stage: Stage) -> None:
    header = [stage.s("add", n, 1000) for n in range(300)]

    sent = chord(header, stage.s("echo"), app=stage.app)()

    assert sent.get(timeout=60) == [n + 1000 for n in range(300)]


def test_a_chord_in_a_chain_of_chords_ends(stage: Stage) -> None:
    sent = (
        group(stage.s("add", 1, 1), stage.s("add", 2, 2), app=stage.app)
        | stage.s("total")
        | group(stage.s("add", 1), stage.s("add", 2), app=stage.app)
        | stage.s("total")
    )()

    assert sent.get(timeout=60) == 15


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ("fail", "ValueError"),
        ("die", "WorkerLostError"),
        ("early", "WorkerLostError"),
        ("ignore", "Ignore"),
        ("reject", "reject"),
        ("unserialisable", "EncodeError"),
    ],
)
def test_a_header_task_that_ends_badly_fails_the_body_once(
    stage: Stage, task: str, why: str
) -> None:
    key = f"{task}-{time.time()}"
    header = [stage.s("add", 1, 1), stage.s(task, key), stage.s("add", 2, 2)]

    sent = chord(header, stage.s("note_end", f"{key}-body"), app=stage.app).apply_async(
        link_error=stage.s("heard")
    )

    with pytest.raises(ChordError, match=why):
        sent.get(timeout=60)
    eventually(lambda: stage.ends(f"heard-{sent.id}"), within=30)
    assert stage.ends(f"heard-{sent.id}") == 1
    assert stage.ends(f"{key}-body") == 0


def test_a_header_task_over_its_time_limit_fails_the_body(stage: Stage) -> None:
    slow = stage.s("mark", f"slow-{time.time()}", 60).set(time_limit=1)

    sent = chord([slow, stage.s("add", 1, 1)], stage.s("total"), app=stage.app)()

    with pytest.raises(ChordError, match="TimeLimitExceeded"):
        sent.get(timeout=60)


@pytest.mark.parametrize("in_chain", [False, True])
def test_a_header_task_that_is_too_late_or_revoked_fails_the_body(
    stage: Stage, in_chain: bool
) -> None:
    late = stage.s("add", 1, 1).set(expires=-1.0)
    revoked = stage.s("add", 1, 1).set(countdown=3)
    task_id = revoked.freeze().id
    sent = [
        chord(
            [bad | stage.s("add", 1) if in_chain else bad, stage.s("add", 2, 2)],
            stage.s("total"),
            app=stage.app,
        )()
        for bad in (late, revoked)
    ]

    stage.app.control.revoke(task_id)

    for result, reason in zip(sent, ("expired", "revoked"), strict=True):
        with pytest.raises(ChordError, match=reason):
            result.get(timeout=60)


def test_a_part_whose_child_died_once_still_counts_once(stage: Stage) -> None:
    key = f"once-{time.time()}"

    sent = chord(
        [stage.s("die_once", key), stage.s("add", 1, 1)],
        stage.s("note_end", f"{key}-body"),
        app=stage.app,
    )()

    assert sent.get(timeout=60) == f"{key}-body"
    assert stage.ends(key) == 2
    assert stage.ends(f"{key}-body") == 1


def test_a_part_is_counted_again_when_its_owner_died_with_the_claim(stage: Stage) -> None:
    """The claim of a dead owner runs out; the part that was delivered again takes over."""
    key = f"claimed-{time.time()}"
    made = chord(
        [stage.s("add", 1, 1).set(countdown=1)],
        stage.s("note_end", f"{key}-body"),
        app=stage.app,
    )
    made.freeze()
    sent = made.apply_async()
    # What a worker leaves that dies between its claim and the body.
    group_id, (part,) = sent.parent.id, sent.parent.results
    _claim(stage, group_id, part.id)

    assert sent.get(timeout=60) == f"{key}-body"
    assert stage.ends(f"{key}-body") == 1


def _claim(stage: Stage, group_id: str, task_id: str) -> None:
    member = encode_member(task_id, "SUCCESS", 2, "json")
    part = Part(group_id=group_id, task_id=task_id, index=0, member=member)
    assert stage.app.backend.count_part(part, "dead", 4.0).owned


class Mix:
    """Chords whose parts fail, are too late, are revoked, lose their child, or come twice."""

    #: What a bad part runs; what is not named here is a task of that name.
    KINDS = "fail die leave early ignore refuse unserialisable expires revoked slow".split()

    def __init__(self, stage: Stage, count: int, seed: int) -> None:
        self.stage = stage
        self.count = count
        self.chance = random.Random(seed)
        self.began = time.time()
        #: Results of bodies by key, and the keys of those chords whose body runs.
        self.sent: dict[str, Any] = {}
        self.fine: set[str] = set()
        self.revoked: list[str] = []

    def send(self) -> None:
        for number in range(self.count):
            key = f"mix{number}-{self.began}"
            bad = self.chance.choice(self.KINDS) if self.chance.random() < 0.5 else None
            if bad is None:
                self.fine.add(key)
            with gather() as publications:
                self.sent[key] = self._chord(key, bad).apply_async(link_error=self._s("heard"))
            # On RabbitMQ losses are counted by task id: of two copies one may be taken for the
            # other's second loss.  There what comes twice is what RabbitMQ itself brings again.
            share = 0.0 if self.stage.farm.url.startswith("amqp") else 0.3
            twice = [one for one in publications if self.chance.random() < share]
            if self.revoked:  # before they are sent: who is slow must not find them done
                self.stage.app.control.revoke(self.revoked)
                self.revoked = []
            self.stage.app.shared_connection().publish([*publications, *twice])

    def _s(self, name: str, *args: Any) -> Any:
        return self.stage.s(name, *args)

    def _chord(self, key: str, bad: str | None) -> Any:
        chance, app = self.chance, self.stage.app
        header = [self._s("add", n, n) for n in range(chance.randrange(1, 6))]
        if chance.random() < 0.2:  # what stands in the header may be a chain or a chord itself
            header.append(self._s("add", 1, 1) | self._s("echo"))
        if chance.random() < 0.2:
            header.append(chord([self._s("add", 1, 1)] * 2, self._s("total"), app=app))
        if bad is not None:
            part = self._bad(bad, f"{key}-bad")
            if chance.random() < 0.3:
                part = chain(part, self._s("echo"), app=app)
            elif chance.random() < 0.2:
                part = chord([part, self._s("add", 1, 1)], self._s("echo"), app=app)
            header.insert(chance.randrange(len(header) + 1), part)
        return chord(header, self._s("note_end", key), app=app)

    def _bad(self, kind: str, key: str) -> Any:
        if kind == "expires":
            return self._s("mark", key).set(expires=-1.0)
        if kind == "revoked":
            part = self._s("mark", key).set(countdown=1)
            self.revoked.append(part.freeze().id)
            return part
        if kind == "slow":
            return self._s("mark", key, 60).set(time_limit=0.2)
        return self._s(kind, key)

    def check(self) -> None:
        stage = self.stage
        for key, result in self.sent.items():
            eventually(result.ready, within=120)
            assert result.state == ("SUCCESS" if key in self.fine else "FAILURE"), result.result
        failed = [f"heard-{r.id}" for key, r in self.sent.items() if key not in self.fine]
        eventually(lambda: set(failed) <= set(stage.farm.runs()), within=60)
        eventually(lambda: stage.farm.size() == 0 and not stage.farm.unacked(), within=60)
        runs = stage.farm.runs()
        assert {key: runs[key] for key in self.sent if runs[key] != (key in self.fine)} == {}
        told = {key: runs[f"heard-{result.id}"] for key, result in self.sent.items()}
        assert {key: n for key, n in told.items() if n != (key not in self.fine)} == {}


@pytest.mark.parametrize(
    ("count", "seed"), [(30, 4), pytest.param(1000, 5, marks=pytest.mark.soak)]
)
def test_every_chord_ends_once_whatever_becomes_of_its_parts(
    stage: Stage, count: int, seed: int
) -> None:
    mix = Mix(stage, count, seed)

    mix.send()

    mix.check()


def test_a_chord_outlives_the_worker_that_ran_its_parts(stage: Stage, tmp_path: Path) -> None:
    key = f"outlive-{time.time()}"
    third = stage.farm.start("three", queues="three", concurrency=1).ready()
    hang = stage.s("hang_once", key).set(queue="three")

    sent = chord([hang, stage.s("add", 1, 1)], stage.s("note_end", f"{key}-body"), app=stage.app)()
    eventually(lambda: stage.ends(key), within=30)
    third.kill_group()
    stage.farm.start("four", queues="three", concurrency=1).ready()

    assert sent.get(timeout=60) == f"{key}-body"
    assert stage.ends(f"{key}-body") == 1
