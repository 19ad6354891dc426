"""Loans on Redis find their way back: from the dead, the sleeping, and from Celery."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import redis

from taskctl.core.brokers.redis import RedisBroker
from taskctl.core.wire.queues import direct_queue

from ..support.waiting import eventually
from .cases import collect, stat, tags, texts
from .peer import envelope, publication, text_of

Open = Callable[..., RedisBroker]


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
