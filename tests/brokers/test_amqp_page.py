"""What docs/rabbitmq.md tells operators holds: its rights are enough, its tables are complete."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from taskctl import App
from taskctl.core.brokers import open_broker
from taskctl.core.brokers.amqp_options import TLS_NAMES, WITHOUT_EFFECT, Options
from taskctl.core.brokers.base import Broker
from taskctl.core.errors import BrokerError
from taskctl.core.wire.queues import Exchange, Queue, direct_queue

from ..support.rabbit import RabbitControl, text
from ..support.waiting import eventually
from .cases import collect
from .peer import publication

PAGE = (Path(__file__).parents[2] / "docs" / "rabbitmq.md").read_text()


@pytest.fixture
def url_of(rabbitmq_control: RabbitControl, rabbitmq_url: str) -> Iterator[Callable[[str], str]]:
    """A function that makes a user of the page with the rights it gives; returns the user's URL."""
    made = []
    vhost = rabbitmq_url.rpartition("/")[2]

    def make(user: str) -> str:
        block = re.search(rf"set_permissions -p shop {user} ([^`]*)```", PAGE)
        assert block is not None
        rights = [text(one) for one in re.findall(r"'([^']+)'", block[1])]
        assert len(rights) == 3
        made.append(user)
        backend = "rabbit_auth_backend_internal"
        rabbitmq_control.call(backend, "add_user", text(user), text("word"), text("test"))
        who = [text(user), text(vhost)]
        rabbitmq_control.call(backend, "set_permissions", *who, *rights, text("test"))
        return rabbitmq_url.replace("guest:guest", f"{user}:word")

    yield make
    for user in made:
        backend = "rabbit_auth_backend_internal"
        rabbitmq_control.call(backend, "delete_user", text(user), text("test"))


@pytest.fixture
def open_at() -> Iterator[Callable[..., Broker]]:
    made: list[Broker] = []

    def make(url: str, owner: str | None = None) -> Broker:
        made.append(open_broker(url, owner=owner))
        made[-1].open()
        return made[-1]

    yield make
    for broker in made:
        broker.close()


def test_the_rights_of_the_page_are_enough_for_everything(
    url_of: Callable[[str], str],
    open_at: Callable[..., Broker],
    caplog: pytest.LogCaptureFixture,
) -> None:
    broker = open_at(url_of("tasks"), "one@host#1")
    private = Queue(name="x.reply.celery.pidbox", routing_key="x", expires=10.0,
                    exchange=Exchange(name="reply.celery.pidbox", durable=False))  # fmt: skip
    broker.register("one@host", {}, 30.0)
    broker.subscribe(direct_queue("celery"))
    broker.declare(direct_queue("celery.dead"))
    broker.declare(private)
    broker.listen("celery.pidbox")
    broker.listen("celeryev", "worker.#")
    broker.listen("taskctl.pauses")
    broker.publish([publication(str(n), "celery") for n in range(4)])
    one, two, three, far = collect(broker, 4)
    broker.started([one.tag])
    broker.ack([one.tag], [publication("next", "celery")])
    broker.reject([two.tag], requeue=True, lost=True)
    broker.park(three.tag, time.time() + 60, "task")
    broker.park(far.tag, time.time() + 5000, "far")
    assert len(broker.parked()) == 1
    assert broker.size("celery_delayed_12") == 1
    assert len(broker.cancel_parked(["task"])) == 1
    assert broker.broadcast("celery.pidbox", "", b"x") is None
    assert len(eventually(broker.hear)) == 1
    assert broker.take(private.name) == []
    broker.pause("celery")
    assert broker.paused().keys() == {"celery"}
    assert broker.resume("celery")
    assert "celery" in [found.name for found in broker.queues()]
    assert broker.exists("celery") and not broker.exists("celery.none")
    assert broker.reclaim() == []
    assert broker.nodes()[0].name == "one@host"
    broker.delete(private.name)
    broker.retire()
    assert broker.swap("celery", broker.peek("celery")[0])
    assert broker.delete("celery") == 1
    assert not caplog.messages


def test_the_rights_of_who_only_sends_are_enough_for_that_and_no_more(
    url_of: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    app = App("proj", broker=url_of("sender"), backend="rpc://", set_as_current=False)
    app.conf.update(task_send_sent_event=True)
    try:
        sent = app.send_task("proj.add", (1, 2), queue="images")
        assert sent.state == "PENDING"
        assert not caplog.messages
        with pytest.raises(BrokerError, match="refuses access while declaring queue 'celery'"):
            app.send_task("proj.add", (1, 2))
    finally:
        app.close()


def test_every_option_is_on_the_page() -> None:
    options = {*Options.__struct_fields__, *WITHOUT_EFFECT, *TLS_NAMES}

    assert [name for name in sorted(options) if f"`{name}`" not in PAGE and name not in (
        "ca_certs", "certfile", "keyfile",  # in the example
    )] == []  # fmt: skip
