"""Mailboxes, reply queues and queues of events: as Celery declares them for the same settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import celery
import pytest

from taskctl import App
from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.messaging.mailbox import NodeMailbox
from taskctl.core.messaging.nodes import new_owner
from taskctl.core.messaging.private_queues import control_queue

from ..support.rabbit import RabbitControl, text
from ..support.waiting import eventually

CHOICES: list[dict[str, Any]] = [
    {},
    {
        "control_queue_ttl": 33.0,
        "control_queue_expires": 44.0,
        "control_queue_exclusive": False,
        "control_exchange": "orders",
        "event_queue_ttl": 3.0,
        "event_queue_expires": 77.0,
        "event_queue_exclusive": False,
        "event_queue_prefix": "watch",
        "event_exchange": "seen",
    },
    {
        "control_queue_exclusive": False,
        "control_queue_durable": True,
        "control_queue_ttl": None,
        "control_queue_expires": 60.0,
        "event_queue_exclusive": False,
        "event_queue_durable": True,
        "event_queue_expires": 60.0,
    },
]
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def declared(control: RabbitControl, url: str) -> list[str]:
    """Return the queues of a virtual host as the server sees them, ids taken out."""
    vhost = url.rpartition("/")[2]
    keys = "[name, durable, auto_delete, exclusive, arguments]"
    found = control.call("rabbit_amqqueue", "info_all", text(vhost), keys)
    queues = _ID.sub("ID", found).replace(f'<<"{vhost}">>', "VHOST").strip("[]").split("],[{name")
    return sorted(one.strip("[]").removeprefix("{name") for one in queues if '"taskctl.' not in one)


@pytest.fixture(params=range(len(CHOICES)), ids=["default", "chosen", "durable"])
def settings(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CHOICES[request.param]


@pytest.fixture
def other_url(rabbitmq_control: RabbitControl) -> Iterator[str]:
    url = rabbitmq_control.new_vhost()
    yield url
    rabbitmq_control.drop_vhost(url)


def test_rabbitmq_sees_the_same_queues_whoever_declares_them(
    rabbitmq_control: RabbitControl, rabbitmq_url: str, other_url: str, settings: dict[str, Any]
) -> None:
    theirs = celery.Celery(broker=rabbitmq_url, set_as_current=False)
    theirs.conf.update(settings)
    ours = App("proj", broker=other_url, set_as_current=False)
    ours.conf.update(settings)

    mine, watched = ours.connection(), ours.connection()
    mine.owner = new_owner("w@h")
    broker = mine.open()
    node = NodeMailbox("w@h", namespace=ours.conf.control_exchange, queue=control_queue(ours.conf))
    node.open(broker)
    receiver = ours.events.Receiver(watched)

    def answer() -> bool:
        requests = filter(None, map(node.read, broker.hear()))
        replies = [reply for one in requests if (reply := node.answer(one, {"ok": "pong"}, 0))]
        broker.publish(replies)
        return bool(replies)

    with theirs.connection() as connection, ThreadPoolExecutor(2) as pool:
        channel = connection.default_channel
        mailbox = theirs.control.mailbox
        mailbox.Node("w@h", channel=channel).listen()
        for queue in (mailbox(connection).reply_queue, theirs.events.Receiver(channel).queue):
            queue(channel).declare()
        pong = pool.submit(ours.control.ping, timeout=20.0, limit=1)
        watching = pool.submit(receiver.capture, wakeup=False)
        try:
            eventually(lambda: len(declared(rabbitmq_control, other_url)) == 3, within=15)
            mirrored = [declared(rabbitmq_control, url) for url in (rabbitmq_url, other_url)]
            eventually(answer, within=15)
            assert pong.result() == [{"w@h": {"ok": "pong"}}]
        finally:
            receiver.should_stop = True
        watching.result()
    for one in (mine, watched, ours, theirs):
        one.close()
    assert mirrored[0] == mirrored[1]
    assert len(mirrored[0]) == 3


@pytest.mark.parametrize("kind", ["control", "event"])
def test_a_queue_cannot_be_exclusive_and_durable(kind: str) -> None:
    app = App("proj", broker="memory://", set_as_current=False)
    app.conf.update({f"{kind}_queue_durable": True})

    with pytest.raises(ImproperlyConfigured, match=f"{kind}_queue_exclusive and {kind}_queue_dur"):
        _ = app.control if kind == "control" else app.events
