"""A chain of 20 chords of 100 tasks, with real workers on each broker: cheap to send, and right."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskctl import chain, group
from taskctl.core.wire.message import decode_envelope

from ..support.workers import Farm

_CHORDS, _WIDTH = 20, 100


@pytest.fixture(params=["sqlite", "redis", "rabbitmq"])
def farm(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Farm]:
    """A farm whose workers are all of one kind, and say so."""
    url = f"sqlite:///{tmp_path}/queue.db"
    if request.param != "sqlite":
        url = request.getfixturevalue(f"{request.param}_url")
    more = {} if request.param == "sqlite" else {"task_workflow_references": True}
    farm = Farm(tmp_path, url, **more)
    yield farm
    farm.close()


def test_a_chain_of_20_chords_of_100_is_cheap_to_send_and_ends_right(farm: Farm) -> None:
    s = farm.app.signature
    steps = []
    for number in range(_CHORDS):
        add = s("trial.add", args=(1,) if number else (0, 1))
        steps += [group([add] * _WIDTH, app=farm.app), s("trial.mean")]
    made = chain(*steps, app=farm.app)
    began = time.process_time()

    sent = made.delay()

    assert time.process_time() - began < 1
    with farm.app.connection() as connection:
        waiting = connection.broker.peek("celery", 200)
    assert len(waiting) == _WIDTH
    assert max(map(_beyond_arguments, waiting)) <= 4096
    farm.start("one").ready()
    assert sent.get(timeout=120) == _CHORDS


def _beyond_arguments(envelope: bytes) -> int:
    args, kwargs, _ = json.loads(decode_envelope(envelope).body)
    return len(envelope) - len(json.dumps([args, kwargs]))
