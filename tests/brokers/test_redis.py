"""The Redis broker keeps the contract, on a real server; and what is Redis' own."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taskctl.core.brokers.base import Broker
from taskctl.core.brokers.redis import RedisBroker
from taskctl.core.errors import BrokerConnectionError, BrokerError
from taskctl.core.wire.message import mark_redelivered
from taskctl.core.wire.queues import Exchange, Queue, direct_queue

from ..support.servers import RedisServer
from ..support.waiting import eventually
from .contract import BrokerContract, collect, stat, tags, texts
from .peer import envelope, publication, text_of, wait_readable

Open = Callable[..., RedisBroker]


class TestRedisBroker(BrokerContract):
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


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def open_redis(redis_url: str) -> Iterator[Open]:
    """A function that opens a broker which consumes `q` if it has an owner."""
    made = []

    def make(
        owner: str | None = None, url: str = redis_url, lease: float = 30.0, **options: Any
    ) -> RedisBroker:
        broker = RedisBroker(url, options=options, owner=owner)
        made.append(broker)
        broker.open()
        if owner is not None:
            broker.register(f"{owner}@host", {}, lease)
            broker.subscribe(direct_queue("q"))
        return broker

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may freeze, fill or stop."""
    server = RedisServer().start()
    yield server
    server.stop()


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
        ({"fanout_prefix": "mine."}, b"mine.ev/task.sent"),
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


# --- what was not made by us ---------------------------------------------------------------------

MALFORMED = [
    b"",
    b"nonsense",
    b'{"body": ',
    b"\xff\x00\x01",
    b"[]",
    b"3",
    b'{"properties": {"delivery_tag": 7}}',
    b'{"properties": {"delivery_tag": "white space"}, "headers": null}',
    b'{"properties": null, "x": {"delivery_tag": "abc"}}',
]


def test_malformed_messages_are_delivered_and_block_nothing(
    open_redis: Open, client: redis.Redis
) -> None:
    broker = open_redis(owner="one")
    client.lpush("q", *MALFORMED, envelope("good"))

    loans = collect(broker, 10)

    assert [loan.envelope for loan in loans[:-1]] == MALFORMED
    assert texts(loans[-1:]) == ["good"]
    assert len(set(tags(loans))) == 10
    for tag in client.zrange("unacked_index", 0, -1):  # what Celery would try to restore
        json.loads(client.hget("unacked", tag))
    broker.reject(tags(loans), requeue=True)
    again = collect(broker, 10)
    assert [loan.envelope for loan in again[:-1]][:4] == MALFORMED[:4]
    broker.reject(tags(again), requeue=False)
    assert not client.exists("q", "unacked", "unacked_index", "taskctl.owned.one")


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(messages=st.lists(st.binary(max_size=300), min_size=1, max_size=20))
def test_any_bytes_pass_through_unchanged(
    open_redis: Open, client: redis.Redis, messages: list[bytes]
) -> None:
    broker = open_redis(owner="one")
    client.lpush("q", *messages)

    loans = collect(broker, len(messages))

    assert [loan.envelope for loan in loans] == messages
    broker.ack(tags(loans))
    assert not client.exists("q", "unacked", "unacked_index", "taskctl.owned.one")
    broker.close()


def test_an_empty_array_and_a_large_number_survive_a_redelivery(open_redis: Open) -> None:
    broker = open_redis(owner="one")
    message = json.loads(envelope("a"))
    message["headers"] |= {"stamps": {}, "list": [], "big": 2**60 + 1, "f": 0.1}
    broker.publish([publication("x")])
    broker.purge("q")
    with redis.Redis.from_url(broker.url) as client:
        client.lpush("q", json.dumps(message))

    broker.reject(tags(collect(broker, 1)), requeue=True, lost=True)

    (back,) = collect(broker, 1)
    headers = json.loads(back.envelope)["headers"]
    assert headers == message["headers"] | {"redelivered": True, "x-delivery-count": 1}


def test_words_inside_a_message_are_not_taken_for_marks(open_redis: Open) -> None:
    broker = open_redis(owner="one")
    with redis.Redis.from_url(broker.url) as client:
        message = json.loads(envelope("a"))
        message["headers"]["argsrepr"] = '("redelivered": true, "x-delivery-count": 9)'
        message["headers"]["meta"] = {"redelivered": True, "x-delivery-count": 9}
        client.lpush("q", json.dumps(message))

    (loan,) = collect(broker, 1)

    assert (loan.deliveries, loan.redelivered) == (0, False)


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


# --- the bell ------------------------------------------------------------------------------------


def test_an_idle_consumer_asks_nothing_and_is_told(open_redis: Open, client: redis.Redis) -> None:
    broker, other = open_redis(owner="one"), open_redis(owner="two")
    for waiting in (broker, other):
        waiting.listen("pidbox")
        assert waiting.receive(10) == []
        assert waiting.poll_interval() >= 2.0
    before = client.info("stats")["total_commands_processed"]
    assert not wait_readable(broker, 0.5)
    assert client.info("stats")["total_commands_processed"] - before == 1  # the question itself

    for priority in (0, 9):
        client.lpush("q\x06\x169" if priority else "q", envelope("a"))
        assert wait_readable(broker, 5)
        assert wait_readable(other, 5)
        assert len(broker.receive(10)) == 1
        assert other.receive(10) == []
        eventually(lambda: broker.receive(10) == [] and not wait_readable(broker, 0))
        eventually(lambda: other.receive(10) == [] and not wait_readable(other, 0))


def test_a_message_that_a_peer_holds_wakes_whoever_is_idle_in_time(open_redis: Open) -> None:
    one, two = open_redis(owner="one"), open_redis(owner="two")
    one.publish([publication("a")])
    (loan,) = collect(one, 1)
    assert two.receive(1) == []
    assert not wait_readable(two, 0.05)

    one.park(loan.tag, time.time() + 0.5, "a")

    assert wait_readable(two, 5)
    assert two.receive(1) == []
    assert two.poll_interval() <= 0.5
    time.sleep(two.poll_interval())
    assert texts(eventually(lambda: two.receive(1))) == ["a"]


def test_a_ring_is_not_lost_on_who_only_listens(open_redis: Open) -> None:
    broker = open_redis(owner="one")
    broker.receive(10)
    broker.listen("pidbox")
    open_redis().publish([publication("a")])
    assert wait_readable(broker, 5)

    broker.hear()

    assert wait_readable(broker, 0)
    assert texts(broker.receive(1)) == ["a"]


def test_a_full_worker_quiets_the_bell_by_receiving_nothing(open_redis: Open) -> None:
    broker = open_redis(owner="one")
    broker.receive(10)
    open_redis().publish([publication("a")])
    assert wait_readable(broker, 5)

    assert broker.receive(0) == []

    assert not wait_readable(broker, 0.05)
    assert texts(broker.receive(1)) == ["a"]


def test_a_client_waits_for_a_private_reply_without_asking(open_redis: Open) -> None:
    asker = open_redis()
    asker.declare(Queue(name="mine", routing_key="mine", expires=10.0, durable=False))
    assert asker.take("mine") == []
    assert not wait_readable(asker, 0.05)

    open_redis().publish([publication("a", "mine")])

    assert wait_readable(asker, 5)
    assert [text_of(e) for e in asker.take("mine")] == ["a"]
    asker.delete("mine")
    assert not wait_readable(asker, 0.05)


def test_a_server_that_cannot_ring_is_asked_more_often(
    open_redis: Open, own_server: RedisServer
) -> None:
    with redis.Redis(port=own_server.port) as client:
        client.execute_command(
            *"ACL SETUSER deaf on >word ~* &* +@all -client|tracking -info".split()
        )
    url = own_server.url.replace("//", "//deaf:word@")

    broker = open_redis(owner="one", url=url)

    assert broker.receive(1) == []
    assert broker.poll_interval() == 0.1
    broker.publish([publication("a")])
    assert texts(broker.receive(1)) == ["a"]


def test_an_emptied_server_rings_and_goes_on(open_redis: Open, own_server: RedisServer) -> None:
    broker = open_redis(owner="one", url=own_server.url)
    broker.receive(1)

    with redis.Redis(port=own_server.port) as client:
        client.flushall()
        client.script_flush()

    assert wait_readable(broker, 5)
    broker.publish([publication("a")])
    assert texts(collect(broker, 1)) == ["a"]
    assert [node.name for node in broker.nodes()] == []


# --- leases, and what Celery left ----------------------------------------------------------------


def celery_took(client: redis.Redis, text: str, age: float, queue: str = "q") -> str:
    """Record a loan as a Celery worker does; return its tag."""
    message = json.loads(envelope(text))
    tag = str(message["properties"]["delivery_tag"])
    client.zadd("unacked_index", {tag: time.time() - age})
    client.hset("unacked", tag, json.dumps([message, "", queue]))
    return tag


def test_what_a_dead_celery_worker_held_comes_back_after_the_visibility_timeout(
    open_redis: Open, client: redis.Redis
) -> None:
    celery_took(client, "old", age=3700)
    celery_took(client, "young", age=100)

    broker = open_redis(owner="one")
    broker.reclaim()

    (back,) = collect(broker, 1)
    assert (text_of(back.envelope), back.redelivered) == ("old", True)
    assert client.hlen("unacked") == 2
    assert not client.exists("unacked_mutex")


def test_the_sweep_leaves_alone_what_a_taskctl_owner_holds(
    open_redis: Open, client: redis.Redis
) -> None:
    broker = open_redis(owner="one", visibility_timeout=1)
    broker.publish([publication("a")])
    (loan,) = collect(broker, 1)
    client.zadd("unacked_index", {loan.tag: time.time() - 5000})

    open_redis(owner="two", visibility_timeout=1).reclaim()

    assert client.llen("q") == 0
    broker.register("one@host", {}, 30.0)
    assert time.time() - client.zscore("unacked_index", loan.tag) < 60


def test_the_sweep_waits_while_another_sweeps(open_redis: Open, client: redis.Redis) -> None:
    celery_took(client, "old", age=3700)
    client.set("unacked_mutex", "somebody")

    open_redis(owner="one").reclaim()

    assert client.llen("q") == 0
    assert client.get("unacked_mutex") == b"somebody"


def test_unreadable_leftovers_are_kept_and_do_not_stop_the_sweep(
    open_redis: Open, client: redis.Redis
) -> None:
    client.zadd("unacked_index", {"bad": 1.0, "gone": 2.0})
    client.hset("unacked", "bad", "no json")
    celery_took(client, "old", age=3700)

    open_redis(owner="one").reclaim()

    assert client.llen("q") == 1
    assert client.hgetall("unacked") == {b"bad": b"no json"}
    assert not client.exists("unacked_index")


def test_a_sleeper_does_not_touch_a_loan_that_others_took_over(
    open_redis: Open, client: redis.Redis
) -> None:
    """The owner slept past the visibility timeout: Celery restored and took its message."""
    sleeper = open_redis(owner="sleeper", lease=0.05)
    sleeper.publish([publication("a"), publication("b")])
    first, second = collect(sleeper, 2)
    eventually(lambda: not sleeper.nodes()[0].alive)
    client.zadd("unacked_index", {first.tag: time.time() + 60})  # taken later than the lease ended

    sleeper.ack([first.tag, second.tag])

    assert client.hkeys("unacked") == [first.tag.encode()]
    assert sleeper.reclaim() in ([], ["sleeper@host"])
    assert client.llen("q") == 0


def test_reclaim_leaves_alone_what_others_took_over(open_redis: Open, client: redis.Redis) -> None:
    dead, peer = open_redis(owner="dead", lease=0.05), open_redis(owner="two")
    dead.publish([publication("a")])
    (loan,) = collect(dead, 1)
    client.zadd("unacked_index", {loan.tag: time.time() + 60})

    assert eventually(peer.reclaim) == ["dead@host"]

    assert client.llen("q") == 0
    assert client.hlen("unacked") == 1


def test_an_owner_that_never_registered_is_reclaimed_too(
    open_redis: Open, client: redis.Redis, redis_url: str
) -> None:
    dead = RedisBroker(redis_url, owner="dead")
    dead.open()
    dead.subscribe(direct_queue("q"))
    dead.publish([publication("a")])
    (loan,) = collect(dead, 1)
    dead.close()
    assert open_redis().reclaim() == []
    client.zadd("unacked_index", {loan.tag: 1.0})  # a minute later
    client.zadd("taskctl.leases", {"dead": 2.0})

    assert open_redis().reclaim() == ["dead"]

    assert client.llen("q") == 1


def test_many_loans_are_given_back_in_order(open_redis: Open) -> None:
    broker = open_redis(owner="one")
    broker.publish([publication(str(n)) for n in range(1500)])
    loans = collect(broker, 1500, limit=1500)

    broker.reject(tags(loans), requeue=True)

    assert texts(collect(broker, 1500, limit=1500)) == [str(n) for n in range(1500)]


def test_the_last_owner_leaves_held_messages_where_celery_finds_them(
    open_redis: Open, client: redis.Redis
) -> None:
    one, two = open_redis(owner="one"), open_redis(owner="two")
    one.publish([publication(text) for text in "abc"])
    for loan in collect(one, 3):
        one.park(loan.tag, time.time() + ord(text_of(loan.envelope)), "t")

    one.retire()
    assert client.llen("q") == 0
    two.retire()

    assert [text_of(e) for e in two.peek("q")] == ["a", "b", "c"]
    assert not client.keys("taskctl.due*")


def test_messages_held_under_one_tag_or_task_are_all_kept(
    open_redis: Open, client: redis.Redis
) -> None:
    broker = open_redis(owner="one")
    same = envelope("a")
    for n in range(3):
        client.lpush("q", same)
        broker.park(collect(broker, 1)[0].tag, time.time() + 60 + n, "task")

    assert len(broker.parked()) == 3
    assert stat(broker) == (0, 0, 3)
    assert broker.cancel_parked(["task"]) == [same] * 3
    assert not client.keys("taskctl.due*")


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


# --- when things go wrong ------------------------------------------------------------------------


def test_nobody_listening_at_the_port_is_said_in_one_line() -> None:
    broker = RedisBroker("redis://user:s3cret@127.0.0.1:1/0")

    with pytest.raises(BrokerConnectionError, match="cannot reach redis:") as caught:
        broker.open()

    assert "redis://127.0.0.1:1/0" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_password_is_said_and_never_shown(own_server: RedisServer) -> None:
    with redis.Redis(port=own_server.port) as client:
        client.config_set("requirepass", "right")

    for credentials in (":wr0ng@", ""):
        broker = RedisBroker(own_server.url.replace("//", f"//{credentials}"))
        with pytest.raises(BrokerError, match="refuses access") as caught:
            broker.open()
        assert not isinstance(caught.value, BrokerConnectionError)
        assert "wr0ng" not in str(caught.value)
    good = RedisBroker(own_server.url.replace("//", "//:right@"))
    good.open()
    good.close()


def test_a_frozen_server_is_given_up_in_time(own_server: RedisServer, open_redis: Open) -> None:
    broker = open_redis(owner="one", url=own_server.url, socket_timeout=0.3)
    own_server.pause()
    started = time.monotonic()

    with pytest.raises(BrokerConnectionError, match="did not answer in time"):
        broker.receive(1)
    with pytest.raises(BrokerConnectionError):
        RedisBroker(own_server.url).open(timeout=0.3)

    assert time.monotonic() - started < 3
    own_server.resume()
    broker.open()
    broker.subscribe(direct_queue("q"))
    assert broker.receive(1) == []


@pytest.mark.parametrize("kind", ["normal", "pubsub"])
def test_after_a_lost_connection_loans_are_still_owned(
    open_redis: Open, own_server: RedisServer, kind: str
) -> None:
    broker = open_redis(owner="one", url=own_server.url)
    broker.publish([publication("a")])
    loans = collect(broker, 1)
    assert broker.receive(1) == []
    with redis.Redis(port=own_server.port) as client:
        client.client_kill_filter(_type=kind, skipme=True)

    with pytest.raises(BrokerConnectionError):
        eventually(lambda: broker.receive(1) and False, within=5)
    broker.open()
    broker.subscribe(direct_queue("q"))

    assert stat(broker) == (0, 1, 0)
    broker.ack(tags(loans))
    assert stat(broker) == (0, 0, 0)
    broker.publish([publication("b")])
    assert texts(collect(broker, 1)) == ["b"]


def test_a_batch_whose_answer_was_lost_goes_back(open_redis: Open, own_server: RedisServer) -> None:
    broker = open_redis(owner="one", url=own_server.url, socket_timeout=0.3)
    broker.publish([publication(text) for text in "abc"])
    (kept,) = broker.receive(1)
    own_server.pause()
    with pytest.raises(BrokerConnectionError):
        broker.receive(10)
    own_server.resume()  # now it carries out what nobody waits for any more
    other = open_redis(url=own_server.url)
    eventually(lambda: stat(other) == (0, 3, 0))

    broker.open()
    broker.subscribe(direct_queue("q"))

    assert texts(collect(broker, 2)) == ["b", "c"]
    assert stat(broker) == (0, 3, 0)
    broker.ack([kept.tag])


def test_a_batch_taken_by_a_late_fetch_goes_back_with_the_lease(
    open_redis: Open, own_server: RedisServer
) -> None:
    broker = open_redis(owner="one", url=own_server.url, socket_timeout=0.3)
    own_server.pause()
    with pytest.raises(BrokerConnectionError):
        broker.receive(10)
    own_server.resume()
    broker.open()
    broker.subscribe(direct_queue("q"))
    assert broker.receive(10) == []
    late = open_redis(owner="one", url=own_server.url)  # stands for the line that was given up
    late.publish([publication("a")])
    collect(late, 1)

    broker.register("one@host", {}, 30.0)

    assert texts(collect(broker, 1)) == ["a"]


def test_a_full_server_refuses_publications_and_keeps_the_loan(
    open_redis: Open, own_server: RedisServer
) -> None:
    broker = open_redis(owner="one", url=own_server.url)
    broker.publish([publication("a")])
    loans = collect(broker, 1)
    with redis.Redis(port=own_server.port) as client:
        client.config_set("maxmemory", "1mb")

        with pytest.raises(BrokerError, match="out of memory"):
            broker.publish([publication("b")])
        with pytest.raises(BrokerError, match="out of memory"):
            broker.publish([publication("b"), publication("c", "other")])
        with pytest.raises(BrokerError, match="out of memory"):
            broker.ack(tags(loans), [publication("b")])
        assert stat(broker) == (0, 1, 0)
        broker.ack(tags(loans))

        client.config_set("maxmemory", "0")
    assert stat(broker) == (0, 0, 0)


def test_a_key_of_another_kind_is_named_as_the_cause(open_redis: Open, client: redis.Redis) -> None:
    broker = open_redis(owner="one")
    client.set("q", "a string")

    with pytest.raises(BrokerError, match="something else under the name of a queue"):
        broker.receive(1)
    with pytest.raises(BrokerError, match="something else"):
        broker.publish([publication("a")])

    client.delete("q")
    broker.publish([publication("b")])
    assert texts(collect(broker, 1)) == ["b"]


@pytest.mark.parametrize("table", ["unacked", "unacked_index", "taskctl.owned.one", "r"])
def test_nothing_is_lost_to_a_key_of_another_kind(
    open_redis: Open, client: redis.Redis, table: str
) -> None:
    broker = open_redis(owner="one")
    broker.subscribe(direct_queue("r"))
    broker.publish([publication("a"), publication("b", priority=9)])
    client.set(table, "a string")

    if table != "r":
        with pytest.raises(BrokerError, match="something else"):
            broker.receive(10)
        client.delete(table)

    assert texts(broker.receive(10)) == ["a", "b"]
    client.delete(table)


def test_what_cannot_be_given_back_stays_on_loan(open_redis: Open, client: redis.Redis) -> None:
    broker = open_redis(owner="one")
    broker.publish([publication("a"), publication("b")])
    first, second = collect(broker, 2)
    broker.park(second.tag, time.time() - 1, "b")
    client.set("q", "a string")

    with pytest.raises(BrokerError, match="something else"):
        broker.reject([first.tag], requeue=True)
    with pytest.raises(BrokerError, match="something else"):
        broker.receive(1)

    client.delete("q")
    assert stat(broker) == (0, 1, 1)
    broker.reject([first.tag], requeue=True)
    assert texts(collect(broker, 2)) == ["b", "a"]


def test_a_lease_goes_on_and_messages_are_taken_on_a_full_server(
    open_redis: Open, own_server: RedisServer
) -> None:
    broker = open_redis(owner="one", url=own_server.url, lease=0.05)
    broker.publish([publication(text) for text in "abc"])
    with redis.Redis(port=own_server.port) as client:
        client.config_set("maxmemory", "1mb")
        eventually(lambda: not broker.nodes()[0].alive)

        first, second, third = collect(broker, 3)
        broker.register("one@host", {}, 30.0)
        broker.reject([first.tag], requeue=True, lost=True)
        broker.park(second.tag, time.time() + 60, "b")
        broker.ack([third.tag])

        assert stat(broker) == (1, 0, 1)
        assert broker.nodes()[0].alive
        assert broker.purge("q") == 1
        assert broker.delete("q") == 0
        client.config_set("maxmemory", "0")


def test_a_replica_asks_to_try_again(open_redis: Open, own_server: RedisServer) -> None:
    broker = open_redis(url=own_server.url)
    with redis.Redis(port=own_server.port) as client:
        client.replicaof("127.0.0.1", "1")

    with pytest.raises(BrokerConnectionError, match="try again"):
        broker.publish([publication("a")])


def test_a_refused_note_is_logged_and_does_not_shift_the_answers(
    open_redis: Open, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    broker = open_redis(owner="one")
    broker.publish([publication("a")])
    loans = collect(broker, 1)
    client.set("taskctl.started.one", "a string")

    broker.started(tags(loans))

    assert broker.size("q") == 0
    assert "a note was not taken" in caplog.text
    assert broker.nodes()[0].name == "one@host"


def test_the_listening_connection_is_probed(open_redis: Open, own_server: RedisServer) -> None:
    broker = open_redis(owner="one", url=own_server.url, health_check_interval=0.05)
    broker.receive(1)

    def probed() -> bool:
        broker.register("one@host", {}, 30.0)
        with redis.Redis(port=own_server.port) as client:
            return "cmdstat_ping" in client.info("commandstats")

    eventually(probed)
    for _ in range(5):
        time.sleep(0.03)
        broker.register("one@host", {}, 30.0)
        broker.receive(1)


def test_marks_are_understood_as_kombu_writes_them(open_redis: Open, client: redis.Redis) -> None:
    broker = open_redis(owner="one")
    client.lpush("q", mark_redelivered(envelope("a"), 2))

    (loan,) = collect(broker, 1)

    assert (loan.deliveries, loan.redelivered) == (2, True)
