"""Headers exchanges on RabbitMQ: declared by either package, they route for both clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import celery
import pytest

from taskctl import App

#: Written so that both packages read them.
QUEUES: dict[str, dict[str, Any]] = {
    name: {
        "exchange": "kinds",
        "exchange_type": "headers",
        "routing_key": name,
        "binding_arguments": arguments,
        # For a quorum queue no second binding must lead past the headers.
        "queue_arguments": {"x-queue-type": "quorum"},
    }
    for name, arguments in (
        ("large.images", {"x-match": "all", "kind": "image", "large": True}),
        ("any.sounds", {"x-match": "any", "kind": "sound", "tone": 440}),
    )
}


@pytest.fixture
def apps(rabbitmq_url: str) -> Iterator[dict[str, Any]]:
    """A client of each package on one virtual host."""
    apps: dict[str, Any] = {
        "celery": celery.Celery("proj", broker=rabbitmq_url, set_as_current=False),
        "taskctl": App("proj", broker=rabbitmq_url, set_as_current=False),
    }
    for app in apps.values():
        app.conf.update(task_queues=QUEUES)
    yield apps
    for app in apps.values():
        app.close()


def declare(app: Any) -> None:
    with app.connection() as connection:
        for name in QUEUES:
            if isinstance(app, App):
                connection.broker.declare(app.queues[name])
            else:
                app.amqp.queues[name](connection.channel()).declare()


@pytest.mark.parametrize("first", ["celery", "taskctl"])
def test_headers_lead_to_the_queue_whoever_declared_it_and_whoever_sends(
    apps: dict[str, Any], first: str
) -> None:
    declare(apps[first])
    for app in apps.values():
        declare(app)  # the same once more, or it would be refused

    sent: dict[str, set[str]] = {name: set() for name in QUEUES}
    for app in apps.values():
        for queue, other, headers in (
            ("large.images", "any.sounds", {"kind": "image", "large": True}),
            ("any.sounds", "large.images", {"kind": "noise", "tone": 440}),
            ("any.sounds", "large.images", {"kind": "sound"}),
        ):
            # The queue that is named gives the exchange; where it goes the headers say.
            sent[queue].add(app.send_task("proj.add", (1, 2), queue=other, headers=headers).id)
        app.send_task("proj.add", (1, 2), queue="any.sounds", headers={"kind": "image"})

    with apps["taskctl"].connection() as connection:
        for name, ids in sent.items():
            found = [json.loads(one)["headers"]["id"] for one in connection.broker.peek(name)]
            assert (set(found), len(found)) == (ids, len(ids)), name
