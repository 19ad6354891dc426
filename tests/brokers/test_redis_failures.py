"""The Redis broker when things go wrong, and with messages nobody should have sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskctl.core.brokers.redis import RedisBroker
from taskctl.core.errors import BrokerConnectionError, BrokerError
from taskctl.core.wire.message import mark_redelivered
from taskctl.core.wire.queues import Exchange, Queue, direct_queue

from ..support.servers import RedisServer
from ..support.waiting import eventually
from .cases import collect, stat, tags, texts
from .peer import envelope, publication

Open = Callable[..., RedisBroker]


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


# --- when things go wrong ------------------------------------------------------------------------


def test_nobody_listening_at_the_port_is_said_in_one_line() -> None:
    broker = RedisBroker("redis://user:s3cret@127.0.0.1:1/0")

    with pytest.raises(BrokerConnectionError, match="broker redis:") as caught:
        broker.open()

    assert "redis://user:********@127.0.0.1:1/0" in str(caught.value)
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
        assert broker.delete("q") == 1, "the one that was held"
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


def test_a_declaration_that_was_cut_off_is_made_again() -> None:
    server = RedisServer().start()
    broker = RedisBroker(server.url)
    private = Queue(name="x.reply", exchange=Exchange(name="reply"), routing_key="x", expires=10.0)
    try:
        broker.open()
        server.stop()
        with pytest.raises(BrokerConnectionError):
            broker.declare(private)

        server = RedisServer(port=server.port).start()
        eventually(lambda: opens(broker))
        assert broker.take("x.reply") == []

        with redis.Redis(port=server.port) as client:
            assert client.exists("_kombu.binding.reply")
    finally:
        broker.close()
        server.stop()


def opens(broker: RedisBroker) -> bool:
    try:
        broker.open()
    except BrokerConnectionError:
        return False
    return True
