from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from taskctl.core.errors import BrokerConnectionError, BrokerError
from taskctl.core.messaging.connection import Connection
from taskctl.core.messaging.consumer import Consumer
from taskctl.core.wire.message import Publication, encode_envelope
from taskctl.core.wire.queues import Queue


def letter(number: int, queue: str = "q") -> Publication:
    return Publication(exchange="", routing_key=queue, envelope=b"%d" % number)


def envelope(number: int, queue: str = "q") -> Publication:
    text = encode_envelope(
        b"",
        content_type="application/json",
        content_encoding="utf-8",
        headers={},
        properties={},
        exchange="",
        routing_key=queue,
        delivery_tag=f"tag-{number}",
    )
    return Publication(exchange="", routing_key=queue, envelope=text)


@pytest.fixture
def consumer(tmp_path: Path) -> Iterator[Consumer]:
    connection = Connection(f"sqlite:///{tmp_path}/queue.db", owner="me")
    consumer = Consumer(connection, [Queue(name="q")])
    consumer.open()
    consumer.broker.publish([letter(number) for number in range(4)])
    yield consumer
    consumer.close()


def waiting(consumer: Consumer, queue: str = "q") -> list[bytes]:
    return consumer.broker.peek(queue)


def test_what_is_settled_is_said_with_the_next_flush(consumer: Consumer) -> None:
    first, second, third, fourth = consumer.receive(10)
    consumer.ack(first.tag, [letter(9, "next")])
    consumer.reject(second.tag, requeue=True)
    consumer.reject(third.tag, requeue=False)
    consumer.reject(fourth.tag, requeue=True, lost=True)
    assert (waiting(consumer), waiting(consumer, "next")) == ([], [])
    assert consumer.pending()

    consumer.flush()

    assert (waiting(consumer), waiting(consumer, "next")) == ([b"1", b"3"], [b"9"])
    assert [(d.deliveries, d.redelivered) for d in consumer.receive(10)] == [(0, True), (1, True)]
    assert not consumer.pending()


def test_what_could_not_be_said_stays_noted(
    consumer: Consumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, *_ = consumer.receive(10)
    consumer.ack(first.tag)
    consumer.reject(second.tag, requeue=True)

    def gone(*args: Any, **options: Any) -> None:
        raise BrokerConnectionError("gone")

    with monkeypatch.context() as patch:
        patch.setattr(type(consumer.broker), "ack", gone)
        with pytest.raises(BrokerConnectionError):
            consumer.flush()
    consumer.connection.drop()
    consumer.open()
    consumer.flush()

    assert waiting(consumer) == [b"1"]
    assert consumer.broker.queues()[0].unacked == 2


def test_what_is_forgotten_stays_on_loan(consumer: Consumer) -> None:
    for delivery in consumer.receive(10):
        consumer.ack(delivery.tag)

    consumer.forget()
    consumer.flush()

    assert consumer.broker.queues()[0].unacked == 4


def test_nothing_is_received_while_paused(consumer: Consumer) -> None:
    consumer.paused = True
    assert consumer.receive(10) == []

    consumer.paused = False
    assert len(consumer.receive(10)) == 4


def test_queues_come_and_go_and_survive_a_new_line(consumer: Consumer) -> None:
    consumer.broker.publish([letter(7, "extra")])
    consumer.receive(10)

    consumer.add(Queue(name="extra"))
    consumer.connection.drop()
    consumer.open()
    assert [delivery.queue for delivery in consumer.receive(10)] == ["extra"]

    consumer.remove("extra")
    consumer.broker.publish([letter(8, "extra")])
    assert consumer.receive(10) == []


def test_a_message_the_broker_refuses_is_buried_and_holds_up_nobody(redis_url: str) -> None:
    connection = Connection(redis_url, owner="me")
    with redis.Redis.from_url(redis_url) as client:
        client.set("taken", "no list")

    def bury(publication: Publication, exc: BrokerError) -> Publication:
        return Publication(exchange="", routing_key="dead", envelope=publication.envelope)

    consumer = Consumer(connection, [Queue(name="q")], bury=bury)
    consumer.open()
    consumer.broker.publish([envelope(number) for number in range(3)])
    first, second, third = consumer.receive(10)
    consumer.ack(first.tag, [envelope(7, "next")])
    consumer.ack(second.tag, [envelope(8, "taken")])
    consumer.ack(third.tag, [envelope(9, "next")])

    consumer.flush()

    assert not consumer.pending()
    assert len(consumer.broker.peek("dead")) == 1
    arrived = b" ".join(consumer.broker.peek("next"))
    assert b"tag-7" in arrived and b"tag-9" in arrived
    assert [stat.unacked for stat in consumer.broker.queues() if stat.name == "q"] in ([], [0])
    consumer.close()
