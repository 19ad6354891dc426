"""The line breaks after the broker took a run, and before it said so: it is not sent again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from taskctl.beat import Service
from taskctl.core.beat.looking import ask
from taskctl.core.brokers import open_broker
from taskctl.core.wire.queues import direct_queue

from ..support.lost_answers import LostAnswers
from ..support.waiting import eventually
from .conftest import Clock, MakeApp


@pytest.fixture(params=["redis", "rabbitmq"])
def server(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def line(server: str) -> Iterator[LostAnswers]:
    line = LostAnswers(server)
    yield line
    line.close()


def run_all(service: Service) -> float:
    while (wait := service.scheduler.tick()) <= 0:
        continue
    return wait


def test_a_run_whose_answer_is_lost_is_not_sent_again(
    make_app: MakeApp, clock: Clock, server: str, line: LostAnswers
) -> None:
    schedule = {"mail": {"task": "proj.mail", "schedule": 10.0}}
    service = Service(make_app(beat_schedule=schedule, broker_url=line.url))
    election, scheduler = service.election, service.scheduler
    assert election is not None and service.leads(scheduler)
    clock.pass_by(10)
    run_all(service)
    clock.pass_by(10)

    line.lose()
    run_all(service)
    assert line.lost.wait(10)
    assert not election.leading, "nobody knows what became of it"

    def leads_again() -> bool:
        election._next_look = 0.0
        return service.leads(scheduler)

    eventually(leads_again, within=20)
    run_all(service)
    records = ask(service.app).records
    scheduler.close()
    election.close()

    assert [record.total_run_count for record in records] == [2]
    broker = open_broker(server, options={}, owner="collector")
    broker.open()
    broker.subscribe(direct_queue("celery"))
    found = eventually(lambda: broker.receive(10), within=10)
    broker.ack([delivery.tag for delivery in found])
    count = len(found)
    while more := broker.receive(10):
        count += len(more)
    broker.retire()
    broker.close()
    assert count == 2
