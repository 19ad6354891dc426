"""Quorum queues and native delayed delivery: what is on the server, and what its counts mean."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import amqp
import pytest

from taskctl.core.brokers import open_broker
from taskctl.core.brokers.base import Broker
from taskctl.core.wire.message import decode_envelope
from taskctl.core.wire.queues import Exchange, Queue, direct_queue

from ..support.rabbit import RabbitControl, text
from .cases import collect, tags
from .peer import publication, text_of

GOLDEN = Path(__file__).parents[1] / "golden" / "amqp_quorum_delayed_topology.json"
QUORUM = {"x-queue-type": "quorum"}


@pytest.fixture(scope="module")
def steady_url(rabbitmq_control: RabbitControl) -> Iterator[str]:
    """A virtual host for all tests here: making and dropping quorum queues takes a second."""
    url = rabbitmq_control.new_vhost()
    yield url
    rabbitmq_control.drop_vhost(url)


@pytest.fixture
def open_amqp(steady_url: str) -> Iterator[Callable[..., Broker]]:
    """A function that opens a broker, which is closed at the end."""
    made: list[Broker] = []

    def make(owner: str | None = None, url: str = steady_url) -> Broker:
        made.append(open_broker(url, owner=owner))
        made[-1].open()
        return made[-1]

    yield make
    for broker in made:
        broker.close()


# --- native delayed delivery --------------------------------------------------------------------


def replay(url: str) -> None:
    """Declare what a Celery worker was seen to declare, with Celery's own library."""
    host, _, vhost = url.rpartition("@")[2].partition("/")
    with amqp.Connection(host=host, virtual_host=vhost) as connection:
        channel = connection.channel()
        verbs: dict[str, Callable[[dict[str, Any]], Any]] = {
            "Exchange.Declare": lambda it: channel.exchange_declare(
                it["exchange"], it["exchange_type"], durable=it["durable"],
                auto_delete=it["auto_delete"], arguments=it["arguments"],
            ),
            "Queue.Declare": lambda it: channel.queue_declare(
                it["queue"], durable=it["durable"], exclusive=it["exclusive"],
                auto_delete=it["auto_delete"], arguments=it["arguments"],
            ),
            "Queue.Bind": lambda it: channel.queue_bind(
                it["queue"], it["exchange"], it["routing_key"]
            ),
            "Exchange.Bind": lambda it: channel.exchange_bind(
                it["destination"], it["source"], it["routing_key"]
            ),
        }  # fmt: skip
        for told in json.loads(GOLDEN.read_text())["methods"]:
            verb, _, fields = told.partition(" ")
            if verb in verbs:
                verbs[verb](json.loads(fields))


def bindings(control: RabbitControl, url: str) -> set[str]:
    """Return every binding of the virtual host, those of queues to the nameless exchange too."""
    told = control.call("rabbit_binding", "list", text(url.rpartition("/")[2]))
    return {one.rstrip(",]") for one in told.split("{binding,")[1:]}


def declare_ours(broker: Broker) -> None:
    broker.declare(
        Queue(
            name="celery",
            exchange=Exchange(name="celery", type="topic"),
            routing_key="celery",
            queue_arguments=QUORUM,
        )
    )


def test_celery_finds_all_it_would_declare_for_delayed_delivery(
    open_amqp: Callable[..., Broker], rabbitmq_control: RabbitControl, steady_url: str
) -> None:
    declare_ours(open_amqp())
    ours = bindings(rabbitmq_control, steady_url)

    replay(steady_url)

    assert bindings(rabbitmq_control, steady_url) == ours
    assert len(ours) > 3 * 28


def test_nothing_is_declared_for_delayed_delivery_that_celery_would_not(
    open_amqp: Callable[..., Broker], rabbitmq_control: RabbitControl, rabbitmq_url: str
) -> None:
    replay(rabbitmq_url)
    theirs = bindings(rabbitmq_control, rabbitmq_url)

    declare_ours(open_amqp(url=rabbitmq_url))

    more = bindings(rabbitmq_control, rabbitmq_url) - theirs
    assert all('<<"taskctl.queues">>' in one for one in more), more


# --- counts ---------------------------------------------------------------------------------------


def test_clean_returns_and_looks_that_a_quorum_queue_counts_are_no_losses(
    open_amqp: Callable[..., Broker],
) -> None:
    broker = open_amqp(owner="one")
    broker.subscribe(direct_queue("steady", queue_arguments=QUORUM))
    broker.publish([publication("a", "steady")])
    counted = []
    for _ in range(3):
        (loan,) = collect(broker, 1)
        counted.append(decode_envelope(loan.envelope).headers.get("x-delivery-count", 0))
        assert loan.deliveries == 0
        broker.reject(tags([loan]), requeue=True)

    assert counted[0] < counted[1] < counted[2], "RabbitMQ counts each of them"
    broker.unsubscribe("steady")
    assert broker.peek("steady") == broker.peek("steady"), "the same message each time"

    broker.subscribe(direct_queue("steady", queue_arguments=QUORUM))
    for losses in (1, 2):
        (loan,) = collect(broker, 1)
        broker.reject(tags([loan]), requeue=True, lost=True)
        (loan,) = collect(broker, 1)
        assert loan.deliveries == losses
        broker.reject(tags([loan]), requeue=True)


def test_a_message_of_a_quorum_queue_is_swapped_as_it_was_seen_before_it_was_counted_again(
    open_amqp: Callable[..., Broker],
) -> None:
    broker = open_amqp()
    broker.declare(direct_queue("swaps", queue_arguments=QUORUM))
    broker.publish([publication("a", "swaps"), publication("b", "swaps")])
    seen = broker.peek("swaps")[0]
    broker.peek("swaps")

    assert broker.swap("swaps", seen, [publication("c", "swaps")])

    assert sorted(map(text_of, broker.peek("swaps"))) == ["b", "c"]


def test_a_far_eta_of_a_quorum_queue_waits_in_the_levels_and_comes_back_to_it(
    open_amqp: Callable[..., Broker],
) -> None:
    broker = open_amqp(owner="one")
    broker.subscribe(direct_queue("far", queue_arguments=QUORUM))
    broker.publish([publication("a", "far")])
    (loan,) = collect(broker, 1)

    broker.park(loan.tag, time.time() + 5000, "a")

    assert broker.size("celery_delayed_12") == 1, "5000 s begin with 4096"
    assert broker.size("far") == 0 and broker.parked() == []
