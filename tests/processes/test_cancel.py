"""Tasks that are revoked while no worker is there, and what waits for them; on every broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl import chain, chord
from taskctl.core.errors import ChordError, TaskRevokedError, TimeoutError

from ..support.farms import MakeFarm
from ..support.waiting import eventually
from ..support.workers import Farm


@pytest.fixture(params=["sqlite", "redis", "rabbitmq"])
def empty(request: pytest.FixtureRequest, make_farm: MakeFarm, tmp_path: Path) -> Iterator[Farm]:
    """A farm on each broker, and nobody there."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/queue.db"
    else:
        url = request.getfixturevalue(f"{request.param}_url")
    yield make_farm(tmp_path, url)


def _states(results: list[Any]) -> list[str]:
    return [result.state for result in results]


def test_what_was_revoked_with_no_worker_up_never_runs(empty: Farm) -> None:
    app = empty.app
    sent = [empty.send("mark", f"m{n}") for n in range(4)]
    late = [empty.send("mark", f"l{n}", countdown=2.0) for n in range(2)]
    stamped = app.signature("trial.mark", args=("s",)).set(
        tenant="acme", stamped_headers=["tenant"]
    )
    bearer = stamped.apply_async()
    stamped.args = ("sl",)
    later = stamped.apply_async(countdown=2.0)
    member = [app.signature("trial.add", args=(n, n)) for n in range(3)]
    body = app.signature("trial.total")
    body.link_error(app.signature("trial.heard"))
    joined = chord(member, body, app=app).apply_async()
    kept = empty.send("mark", "kept")

    sent[0].revoke()
    app.control.revoke([sent[1].id])
    app.GroupResult("some", [sent[2], late[0]]).revoke()
    late[1].revoke()
    app.control.revoke_by_stamped_headers({"tenant": ["acme"]})
    joined.parent.results[1].revoke()

    # Who waits is told at once, with nobody there.
    for gone in [*sent[:3], *late]:
        with pytest.raises(TaskRevokedError, match="revoked"):
            gone.get(timeout=5)
    if not empty.url.startswith("amqp"):
        with app.connection() as connection:
            held = sum(queue.due for queue in connection.broker.queues())
        assert held == 0

    empty.start().ready()

    assert kept.get(timeout=20) == "kept"
    assert sent[3].get(timeout=20) == "m3"
    with pytest.raises(ChordError):
        joined.get(timeout=20)
    for one in (bearer, later):
        with pytest.raises(TaskRevokedError):
            one.get(timeout=20)
    eventually(lambda: empty.runs()[f"heard-{joined.id}"] == 1)
    assert sorted(empty.runs()) == sorted(["m3", "kept", f"heard-{joined.id}"])
    assert empty.size() == 0


@pytest.mark.parametrize("empty", ["sqlite"], indirect=True)
def test_a_worker_that_was_away_obeys_what_was_revoked_meanwhile(empty: Farm) -> None:
    first = empty.start().ready()
    first.tell(9)
    first.exit_code()
    doomed = chain(
        empty.app.signature("trial.mark", args=("first",)),
        empty.app.signature("trial.mark", args=("second",), immutable=True),
        app=empty.app,
    ).apply_async()
    doomed.parent.revoke()

    empty.start("w2").ready()
    empty.send("mark", "last").get(timeout=20)

    with pytest.raises((TaskRevokedError, TimeoutError)):
        doomed.get(timeout=0.1)
    assert sorted(empty.runs()) == ["last"]
