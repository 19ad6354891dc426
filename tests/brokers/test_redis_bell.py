"""An idle Redis broker is told what comes, and asks nothing meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable

import redis

from taskctl.core.brokers.redis import RedisBroker
from taskctl.core.wire.queues import Queue

from ..support.servers import RedisServer
from ..support.waiting import eventually
from .cases import collect, texts
from .peer import envelope, publication, text_of, wait_readable

Open = Callable[..., RedisBroker]


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
