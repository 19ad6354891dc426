"""The Redis broker keeps the contract, on a real server; and its keys are Celery's."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from taskctl.core.brokers.base import Broker
from taskctl.core.brokers.redis import RedisBroker
from taskctl.core.wire.queues import Exchange, Queue, direct_queue

from ..support.waiting import eventually
from .cases import collect, stat, tags
from .contract import BrokerContract
from .peer import envelope, publication, text_of, wait_readable

Open = Callable[..., RedisBroker]


class TestRedisBroker(BrokerContract):
    # Celery's lists hold envelopes and nothing else; a binding says only whether it is a pattern.
    keeps_times = False
    keeps_exchange_types = False

    @pytest.fixture
    def broker_url(self, redis_url: str) -> str:
        return redis_url

    def test_a_fanout_exchange_reaches_every_bound_queue_once(self, broker: Broker) -> None:
        """Celery sends fanout by pub/sub, to who is there: nothing waits in a list."""
        everyone = Exchange(name="everyone", type="fanout")
        broker.subscribe(Queue(name="left", exchange=everyone))
        broker.declare(Queue(name="right", exchange=everyone))

        broker.publish([publication("a", exchange="everyone", routing_key="whatever")])

        (delivery,) = collect(broker, 1)
        assert (delivery.queue, text_of(delivery.envelope)) == ("left", "a")
        broker.ack([delivery.tag])
        broker.unsubscribe("left")
        broker.publish([publication("b", exchange="everyone", routing_key="whatever")])
        assert not wait_readable(broker, 0.05)
        assert broker.receive(1) == []


# --- keys ----------------------------------------------------------------------------------------


def test_each_step_of_priority_has_a_list(open_redis: Open, client: redis.Redis) -> None:
    open_redis().publish([publication(str(p), priority=p) for p in (-1, 0, 2, 3, 5, 6, 9, 12)])

    lengths = {key: client.llen(key) for key in client.keys("q*")}
    assert lengths == {b"q": 3, b"q\x06\x163": 2, b"q\x06\x166": 1, b"q\x06\x169": 2}


def test_a_loan_is_recorded_as_celery_records_it(open_redis: Open, client: redis.Redis) -> None:
    broker = open_redis(owner="one")
    sent = envelope("a")
    client.lpush("q", sent)

    (loan,) = broker.receive(10)

    tag = json.loads(sent)["properties"]["delivery_tag"]
    assert loan.tag == tag
    assert json.loads(client.hget("unacked", tag)) == [json.loads(sent), "", "q"]
    assert abs(client.zscore("unacked_index", tag) - time.time()) < 30
    broker.ack([tag])
    assert not client.exists("unacked", "unacked_index", "taskctl.owned.one")


def test_a_message_sent_to_two_queues_makes_two_loans(
    open_redis: Open, client: redis.Redis
) -> None:
    broker = open_redis(owner="one")
    broker.subscribe(direct_queue("p"))
    same = envelope("a")
    client.lpush("q", same)
    client.lpush("p", same)

    loans = broker.receive(10)

    assert sorted(loan.queue for loan in loans) == ["p", "q"]
    assert len(set(tags(loans))) == 2
    broker.ack(tags(loans)[:1])
    assert client.hlen("unacked") == 1
    broker.reject(tags(loans)[1:], requeue=True)
    assert client.llen(loans[1].queue) == 1
    assert client.llen(loans[0].queue) == 0


def test_a_returned_message_goes_to_the_list_it_came_from(
    open_redis: Open, client: redis.Redis
) -> None:
    broker = open_redis(owner="one")
    broker.publish([publication("a", priority=9)])

    broker.reject(tags(collect(broker, 1)), requeue=True)

    assert client.llen("q\x06\x169") == 1


def test_a_prefix_names_everything(open_redis: Open, client: redis.Redis) -> None:
    broker = open_redis(owner="one", global_keyprefix="team*[1]:")
    broker.listen("pidbox")
    broker.publish([publication("a", priority=3), publication("b")])
    broker.subscribe(Queue(name="t", exchange=Exchange(name="x", type="topic"), routing_key="a.#"))
    (loan, _) = collect(broker, 2)
    broker.park(loan.tag, time.time() + 60, "t")
    open_redis(global_keyprefix="team*[1]:").broadcast("pidbox", "", envelope("c"))

    assert [text_of(heard.envelope) for heard in eventually(broker.hear)] == ["c"]
    assert all(key.startswith(b"team*[1]:") for key in client.keys("*"))
    assert stat(broker) == (0, 1, 1)
    assert [found.name for found in broker.queues()] == ["q", "t"]


@pytest.mark.parametrize(
    ("options", "channel"),
    [
        ({}, b"/%d.ev/task.sent"),
        ({"fanout_patterns": False}, b"/%d.ev"),
        ({"fanout_prefix": False}, b"ev/task.sent"),
        ({"fanout_prefix": "/mine-{db}."}, b"/mine-%d.ev/task.sent"),
    ],
)
def test_channels_are_named_as_the_options_say(
    open_redis: Open, client: redis.Redis, options: dict[str, Any], channel: bytes
) -> None:
    listener, sender = open_redis(**options), open_redis(**options)
    listener.listen("ev", "task.#")
    number = client.connection_pool.connection_kwargs["db"]

    sender.broadcast("ev", "worker.online", routed("w", "ev", "worker.online"))
    sender.broadcast("ev", "task.sent", routed("t", "ev", "task.sent"))

    (heard,) = eventually(listener.hear)
    assert (heard.exchange, heard.routing_key, text_of(heard.envelope)) == ("ev", "task.sent", "t")
    expected = channel.replace(b"%d", str(number).encode())
    with client.pubsub() as pubsub:
        pubsub.subscribe(expected)
        assert eventually(pubsub.get_message)["type"] == "subscribe"
        sender.broadcast("ev", "task.sent", b"x")
        assert eventually(pubsub.get_message)["data"] == b"x"


def routed(text: str, exchange: str, routing_key: str) -> bytes:
    """Return an envelope that names where it was sent."""
    message = json.loads(envelope(text))
    message["properties"]["delivery_info"] = {"exchange": exchange, "routing_key": routing_key}
    return json.dumps(message).encode()


def test_overlapping_patterns_hear_a_broadcast_once(open_redis: Open) -> None:
    listener, sender = open_redis(), open_redis()
    for pattern in ("task.#", "#", "task.*", "task.#"):
        listener.listen("ev", pattern)

    for key in ("task.sent", "", "end"):
        sender.broadcast("ev", key, envelope(key))

    heard: list[str] = []
    eventually(lambda: heard.extend(h.routing_key for h in listener.hear()) or "end" in heard)
    assert heard == ["task.sent", "", "end"]


# --- queues that go away -------------------------------------------------------------------------


def test_a_private_queue_expires_with_its_binding(open_redis: Open, client: redis.Redis) -> None:
    replies = Exchange(name="reply.celery.pidbox")
    private = Queue(name="mine", exchange=replies, routing_key="mine", expires=10.0)
    broker = open_redis()

    broker.declare(private)
    broker.publish([publication("a", exchange=replies.name, routing_key="mine")])

    assert client.smembers("_kombu.binding.reply.celery.pidbox") == {b"mine\x06\x16\x06\x16mine"}
    assert not client.exists("_kombu.binding_permanent.reply.celery.pidbox")
    ahead = client.zscore("_kombu.binding_deadlines", replies.name) / 1000 - time.time()
    assert 3590 < ahead < 3610
    assert 0 < client.pttl("mine") <= 10_000
    assert "mine" not in [found.name for found in open_redis().queues()]
    assert broker.delete("mine") == 1
    assert client.keys("*") == [b"_kombu.binding_deadlines"]


def test_overdue_bindings_are_swept_unless_a_lasting_queue_needs_them(
    open_redis: Open, client: redis.Redis
) -> None:
    client.sadd("_kombu.binding.old", "x")
    client.sadd("_kombu.binding.kept", "y")
    client.sadd("_kombu.binding_permanent.kept", "y")
    client.zadd("_kombu.binding_deadlines", {"old": 1, "kept": 1})
    broker = open_redis()
    broker.declare(Queue(name="mine", routing_key="mine", expires=10.0))

    broker.take("mine")

    assert client.keys("_kombu.binding.*") == [b"_kombu.binding.kept"]
    assert not client.exists("_kombu.binding_deadlines")


# --- turns ---------------------------------------------------------------------------------------


def test_one_batch_is_shared_among_full_queues(open_redis: Open) -> None:
    broker = open_redis(owner="one")
    for name in ("p", "r"):
        broker.subscribe(direct_queue(name))
        broker.publish([publication(str(n), name) for n in range(50)])
    broker.publish([publication("0")])

    counts = {name: 0 for name in "pqr"}
    for loan in broker.receive(31):
        counts[loan.queue] += 1

    assert counts["q"] == 1
    assert {counts["p"], counts["r"]} == {15}


def test_single_fetches_serve_queues_in_turn(open_redis: Open) -> None:
    broker = open_redis(owner="one")
    broker.subscribe(direct_queue("p"))
    for name in "pq":
        broker.publish([publication(str(n), name) for n in range(3)])

    assert [broker.receive(1)[0].queue for _ in range(6)] == ["q", "p", "q", "p", "q", "p"]
