"""Every option of kombu's Redis transport, with kombu itself on the other side of the keys."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection, Consumer, Producer
from kombu import Exchange as KombuExchange
from kombu import Queue as KombuQueue
from kombu.common import Broadcast

from taskctl.core.brokers.base import Delivery
from taskctl.core.brokers.redis import RedisBroker
from taskctl.core.messaging.routes import Queues, as_queue
from taskctl.core.wire.message import Publication, decode_envelope, encode_envelope
from taskctl.core.wire.queues import Exchange, Queue, direct_queue

from ..support.waiting import eventually

Open = Callable[..., RedisBroker]
OTHER_NAMES = {
    "global_keyprefix": "shop:",
    "sep": ":",
    "priority_steps": list(range(10)),
    "unacked_key": "held",
    "unacked_index_key": "held_since",
    "unacked_mutex_key": "held_lock",
}


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def open_ours(redis_url: str) -> Iterator[Open]:
    made: list[RedisBroker] = []

    def make(owner: str | None = None, queue: str = "q", **options: Any) -> RedisBroker:
        broker = RedisBroker(redis_url, options=options, owner=owner)
        made.append(broker)
        broker.open()
        if owner is not None:
            broker.register(f"{owner}@host", {}, 30.0)
            broker.subscribe(direct_queue(queue))
        return broker

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def open_theirs(redis_url: str) -> Iterator[Callable[..., Connection]]:
    made: list[Connection] = []

    def make(url: str = redis_url, **options: Any) -> Connection:
        made.append(Connection(url, transport_options=options))
        return made[-1]

    yield make
    for connection in made:
        connection.release()


def message(text: str, queue: str = "q", exchange: str = "", **options: Any) -> Publication:
    """Return a message whose body is `text`, for an exchange or straight to a queue."""
    envelope = encode_envelope(
        json.dumps(text).encode(),
        content_type="application/json",
        content_encoding="utf-8",
        headers={},
        properties={"priority": options.get("priority", 0)},
        exchange=exchange,
        routing_key=queue,
    )
    return Publication(exchange=exchange, routing_key=queue, envelope=envelope, **options)


def text_of(envelope: bytes) -> Any:
    """Return the text of a message; kombu does not put a bare one into JSON."""
    return decode_envelope(envelope).body.decode().strip('"')


def taken(broker: RedisBroker, count: int) -> list[Delivery]:
    found: list[Delivery] = []
    eventually(lambda: found.extend(broker.receive(count - len(found))) or len(found) == count)
    return found


def drain(connection: Connection, timeout: float = 0.1) -> None:
    try:
        connection.drain_events(timeout=timeout)
    except TimeoutError:
        return


# --- queues --------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, OTHER_NAMES, {"priority_steps": [0, 5]}])
def test_priorities_are_served_in_one_order_on_both_sides(
    open_ours: Open, open_theirs: Callable[..., Connection], options: dict[str, Any]
) -> None:
    ours = open_ours(owner="one", **options)
    mixed = [5, 9, 0, 3, 7, 1, 9]
    with open_theirs(**options) as theirs, theirs.SimpleQueue("q") as queue:
        for number in mixed:
            queue.put(f"kombu {number}", priority=number)
        first = [text_of(loan.envelope) for loan in taken(ours, len(mixed))]
        ours.publish([message(f"ours {number}", priority=number) for number in mixed])
        second = [queue.get(timeout=5).payload for _ in mixed]

    steps = sorted(options.get("priority_steps", [0, 3, 6, 9]))

    def step(text: str) -> int:
        return max(one for one in steps if one <= int(text.split()[1]))

    assert [step(text) for text in first] == sorted(step(f"x {n}") for n in mixed)
    assert [step(text) for text in second] == sorted(step(f"x {n}") for n in mixed)
    assert [text.split()[1] for text in first] == [text.split()[1] for text in second]


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [("sorted", "aabbcc"), ("priority", "ccaabb"), ("round_robin", "cabcab")],
)
def test_queues_are_served_in_the_order_that_kombu_serves_them(
    open_ours: Open,
    open_theirs: Callable[..., Connection],
    strategy: str,
    expected: str,
) -> None:
    ours = open_ours(owner="one", queue="c", queue_order_strategy=strategy)
    for name in "ab":
        ours.subscribe(direct_queue(name))
    for name in "abc":
        ours.publish([message(name, name), message(name, name)])
    seen = [text_of(ours.receive(1)[0].envelope) for _ in range(6)]

    for name in "abc":
        ours.publish([message(name, name), message(name, name)])
    theirs: list[str] = []
    with open_theirs(queue_order_strategy=strategy) as connection:
        consumer = Consumer(
            connection,
            [KombuQueue(name) for name in "cab"],
            callbacks=[lambda body, one: (theirs.append(body), one.ack())],
        )
        consumer.qos(prefetch_count=1)
        with consumer:
            eventually(lambda: drain(connection) or len(theirs) == 6)

    assert "".join(seen) == expected
    assert "".join(theirs) == expected


def test_a_batch_is_filled_in_strict_order(open_ours: Open) -> None:
    ours = open_ours(owner="one", queue="b", queue_order_strategy="sorted")
    ours.subscribe(direct_queue("a"))
    ours.publish([message(str(n), "b") for n in range(5)] + [message(str(n), "a") for n in "567"])

    assert [text_of(one.envelope) for one in ours.receive(5)] == ["5", "6", "7", "0", "1"]


def test_names_of_keys_are_those_of_kombu(
    open_ours: Open, open_theirs: Callable[..., Connection], client: redis.Redis
) -> None:
    ours = open_ours(owner="one", **OTHER_NAMES)
    with open_theirs(**OTHER_NAMES) as theirs, theirs.SimpleQueue("q") as queue:
        queue.put("a", priority=4)
        held = queue.get(timeout=5)
        ours.publish([message("b")])
        taken(ours, 1)

        assert {key for key in every_key(client) if "taskctl" not in key} == {
            "shop:held", "shop:held_since", "shop:_kombu.binding.q",
            "shop:_kombu.binding_permanent.q",
        }  # fmt: skip
        assert client.hlen("shop:held") == 2
        assert [(found.name, found.unacked) for found in ours.queues()] == [("q", 2)]
        held.ack()
    assert all(key.startswith("shop:") for key in every_key(client))


def test_what_no_binding_takes_goes_where_kombu_would_put_it(
    open_ours: Open, client: redis.Redis
) -> None:
    ours = open_ours(deadletter_queue="unrouted")
    ours.declare(Queue(name="q", exchange=Exchange(name="x"), routing_key="known"))

    ours.publish([message("a", "known", "x"), message("b", "unknown", "x")])

    assert [text_of(one) for one in ours.peek("q")] == ["a"]
    assert [text_of(one) for one in ours.peek("unrouted")] == ["b"]


# --- fanout and topic ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"fanout_prefix": False},
        {"fanout_prefix": "/mine-{db}."},
        {"fanout_patterns": False},
        {"fanout_prefix": False, "fanout_patterns": False},
        {"global_keyprefix": "shop:"},
    ],
    ids=str,
)
def test_broadcasts_cross_under_every_option(
    open_ours: Open, open_theirs: Callable[..., Connection], options: dict[str, Any]
) -> None:
    listener, sender = open_ours(**options), open_ours(**options)
    listener.listen("everyone", "task.#")
    heard: list[Any] = []
    exchange = KombuExchange("everyone", type="fanout")
    with open_theirs(**options) as theirs:
        queue = KombuQueue("theirs", exchange, routing_key="task.#", auto_delete=True)
        with Consumer(theirs, [queue], callbacks=[lambda body, _: heard.append(body)], no_ack=True):
            drain(theirs)
            Producer(theirs, exchange=exchange, serializer="json").publish(
                "kombu", routing_key="task.sent", declare=[queue]
            )
            sender.broadcast(
                "everyone", "task.end", message("ours", "task.end", "everyone").envelope
            )
            eventually(lambda: drain(theirs) or len(heard) == 2)
    ours: list[Any] = []
    eventually(lambda: ours.extend(listener.hear()) or len(ours) == 2)

    assert heard == ["kombu", "ours"]
    assert [(one.exchange, one.routing_key) for one in ours] == [
        ("everyone", "task.sent"), ("everyone", "task.end"),
    ]  # fmt: skip


def test_a_broadcast_queue_hears_celery_whether_it_declared_the_exchange_or_not(
    open_ours: Open,
    open_theirs: Callable[..., Connection],
    client: redis.Redis,
    redis_url: str,
) -> None:
    """A client of Celery's that only sends takes the exchange for a direct one, and pushes to the
    list of each bound queue; there Celery's own workers never look."""
    ours = open_ours(owner="one")
    (named,) = Queues([Broadcast("all_nodes")]).selected  # as an app makes it known
    ours.subscribe(named)
    app = Celery("sender", broker=redis_url, set_as_current=False)
    app.conf.task_queues = [Broadcast("all_nodes")]
    try:
        app.send_task("by.list", queue="all_nodes")
        (by_list,) = taken(ours, 1)
        with open_theirs() as theirs:
            exchange = KombuExchange("all_nodes", type="fanout")
            Producer(theirs, exchange=exchange).publish(
                {}, headers={"task": "by.channel"}, declare=[exchange]
            )
            (by_channel,) = taken(ours, 1)
    finally:
        app.close()

    tasks = [json.loads(one.envelope)["headers"]["task"] for one in (by_list, by_channel)]
    assert tasks == ["by.list", "by.channel"]
    assert by_list.queue == by_channel.queue == named.name
    ours.ack([by_list.tag, by_channel.tag])


def test_a_broadcast_queue_leaves_nothing_behind(open_ours: Open, client: redis.Redis) -> None:
    ears = [open_ours(owner=name) for name in ("one", "two")]
    for number, ear in enumerate(ears):
        ear.subscribe(as_queue(Broadcast("all_nodes", queue=f"ear{number}")))
    sender = open_ours()
    sender.declare(as_queue(Broadcast("all_nodes", queue="sender")))

    sender.publish([message("hello", "", "all_nodes")])

    assert [text_of(taken(ear, 1)[0].envelope) for ear in ears] == ["hello", "hello"]
    assert client.smembers("_kombu.binding.all_nodes") == {
        "\x06\x16\x06\x16ear0", "\x06\x16\x06\x16ear1",
    }  # fmt: skip
    assert client.zscore("_kombu.binding_deadlines", "all_nodes") / 1000 > time.time() + 3000
    assert client.smembers("taskctl.queues") == {"q"}
    ears[0].unsubscribe("ear0")
    ears[1].retire()
    assert not client.exists("_kombu.binding.all_nodes")


def test_a_topic_exchange_that_was_never_declared_here_routes_by_its_bindings(
    open_ours: Open, open_theirs: Callable[..., Connection]
) -> None:
    exchange = KombuExchange("media", type="topic")
    with open_theirs() as theirs:
        queue = KombuQueue("films", exchange, routing_key="film.*.#")(theirs.default_channel)
        queue.declare()
        stranger = open_ours()

        stranger.publish([message("yes", "film.new.x", "media"), message("no", "book", "media")])

        assert queue.get(no_ack=True).payload == "yes"
        assert queue.get() is None
    ours = open_ours(owner="one")
    ours.subscribe(
        Queue(name="books", exchange=Exchange(name="media", type="topic"), routing_key="book.#")
    )
    with open_theirs() as theirs:
        Producer(theirs, exchange=exchange).publish("b", routing_key="book.x", declare=[exchange])
    assert [text_of(one.envelope) for one in taken(ours, 1)] == ["b"]


# --- giving back ---------------------------------------------------------------------------------

HOLDER = """
import sys
from kombu import Connection
connection = Connection(sys.argv[1])
queue = connection.SimpleQueue("q")
for _ in range(3):
    queue.get(timeout=10)
print("held", flush=True)
sys.stdin.read()
"""


def test_what_a_killed_celery_process_held_comes_back_in_order(
    open_ours: Open, redis_url: str, client: redis.Redis
) -> None:
    sender = open_ours()
    sender.publish([message(text) for text in "abcd"])
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, redis_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    holder.stdout.close()
    holder.stdin.close()
    quick = {"visibility_timeout": 1, "unacked_restore_interval": 0.1,
             "unacked_restore_throttle": 1}  # fmt: skip
    ours = open_ours(owner="one", **quick)
    eventually(lambda: ours.reclaim() or client.llen("q") == 4)

    back = taken(ours, 4)

    assert [text_of(one.envelope) for one in back] == ["a", "b", "c", "d"]
    assert [one.redelivered for one in back] == [True, True, True, False]


def test_one_sweep_gives_back_no_more_than_the_limit(
    open_ours: Open, open_theirs: Callable[..., Connection], client: redis.Redis
) -> None:
    open_ours().publish([message(text) for text in "abc"])
    with open_theirs() as theirs:
        for _ in range(3):
            theirs.SimpleQueue("q").get(timeout=5)
        for place, tag in enumerate(client.hkeys("unacked")):
            client.zadd("unacked_index", {tag: time.time() - 5000 - place})
        ours = open_ours(unacked_restore_limit=2, unacked_restore_interval=0)

        ours.reclaim()
        assert client.llen("q") == 2
        ours.reclaim()

        assert client.llen("q") == 3
        theirs.default_channel.qos._delivered.clear()


def test_celerys_sweep_leaves_alone_what_a_living_owner_holds(
    open_ours: Open, open_theirs: Callable[..., Connection], client: redis.Redis
) -> None:
    ours = open_ours(owner="one")
    ours.publish([message("a")])
    (loan,) = taken(ours, 1)
    began = time.monotonic()
    with open_theirs(visibility_timeout=1) as theirs:
        qos = theirs.default_channel.qos

        while time.monotonic() - began < 2.5:
            ours.register("one@host", {}, 30.0)
            qos.restore_visible(interval=1)
            time.sleep(0.1)  # the owner's own pace, quicker than the timeout

        assert client.hlen("unacked") == 1
        assert client.llen("q") == 0
        ours.ack([loan.tag])


def test_a_loan_from_a_topic_exchange_is_restored_by_whoever_never_declared_it(
    open_ours: Open, open_theirs: Callable[..., Connection], client: redis.Redis
) -> None:
    exchange = KombuExchange("media", type="topic")
    with open_theirs() as theirs:
        queue = KombuQueue("films", exchange, routing_key="film.#")(theirs.default_channel)
        queue.declare()
        Producer(theirs, exchange=exchange).publish("a", routing_key="film.x")
        held = theirs.SimpleQueue(queue, queue_opts={}).get(timeout=5)
        client.zadd("unacked_index", {held.delivery_tag: time.time() - 5000})

        open_ours().reclaim()

        assert client.llen("films") == 1
        assert not client.exists("unacked")
        theirs.default_channel.qos._delivered.clear()


# --- queues and bindings that end ----------------------------------------------------------------


def test_a_private_queue_lives_as_long_as_kombus(
    open_ours: Open, open_theirs: Callable[..., Connection], client: redis.Redis
) -> None:
    """Each publication and each fetch winds all lists of the queue up again, on both sides."""

    def lives() -> dict[str, bool]:
        return {key: client.pttl(key) > 8000 for key in client.keys("mine*")}

    def age() -> None:
        for key in client.keys("mine*"):
            client.pexpire(key, 5000)

    with open_theirs() as theirs:
        queue = KombuQueue("mine", KombuExchange("x"), routing_key="mine", expires=10.0)
        bound = queue(theirs.default_channel)
        bound.declare()
        producer = Producer(theirs, exchange=KombuExchange("x"), routing_key="mine")
        for number in (0, 9, 9):
            producer.publish("a", priority=number)
        by_kombu = lives()
        client.delete(*client.keys("mine*"))

        ours = open_ours()
        ours.declare(as_queue(bound))
        ours.publish([message("a", "mine", "x", priority=number) for number in (0, 9, 9)])
        assert lives() == by_kombu == {"mine": True, "mine\x06\x169": True}
        age()
        ours.publish([message("b", "mine", "x")])
        assert lives() == by_kombu, "a publication winds up all lists, not only its own"
        age()
        assert len(ours.take("mine", 1)) == 1
        assert lives() == by_kombu
        age()
        assert bound.get(no_ack=True) is not None
        assert all(lives().values())


def test_kombus_sweep_keeps_what_we_bound_for_good(
    open_ours: Open, open_theirs: Callable[..., Connection], client: redis.Redis
) -> None:
    ours = open_ours()
    shared = Exchange(name="shared")
    ours.declare(Queue(name="lasting", exchange=shared, routing_key="lasting"))
    for name, exchange in (("private", shared), ("other", Exchange(name="gone"))):
        ours.declare(Queue(name=name, exchange=exchange, routing_key=name, expires=10.0))
    client.zadd("_kombu.binding_deadlines", {"shared": 1, "gone": 1})

    with open_theirs() as theirs:
        assert theirs.default_channel.sweep_bindings() == 2

    assert client.keys("_kombu.binding.*") == ["_kombu.binding.shared"]
    ours.publish([message("a", "lasting", "shared")])
    assert ours.size("lasting") == 1


def test_our_sweep_does_what_kombus_does_under_a_prefix(
    open_ours: Open, open_theirs: Callable[..., Connection], client: redis.Redis
) -> None:
    options = {"global_keyprefix": "shop:"}
    with open_theirs(**options) as theirs:
        for name, exchange, expires in (("a", "x", 10.0), ("b", "x", None), ("c", "y", 10.0)):
            KombuQueue(name, KombuExchange(exchange), routing_key=name, expires=expires)(
                theirs.default_channel
            ).declare()
    client.zadd("shop:_kombu.binding_deadlines", {"x": 1, "y": 1})
    ours = open_ours(**options)
    ours.declare(Queue(name="mine", exchange=Exchange(name="z"), routing_key="m", expires=10.0))

    ours.take("mine")

    assert set(client.keys("*_kombu.binding.*")) == {
        "shop:_kombu.binding.x", "shop:_kombu.binding.z",
    }  # fmt: skip
    assert client.zrange("shop:_kombu.binding_deadlines", 0, -1) == ["z"]


def test_a_deleted_queue_leaves_what_kombu_leaves(
    open_ours: Open, open_theirs: Callable[..., Connection], client: redis.Redis
) -> None:
    def declare(ours: RedisBroker) -> None:
        for name in ("one", "two"):
            exchange = Exchange(name="media", type="topic")
            ours.declare(Queue(name=name, exchange=exchange, routing_key="film.#"))
            ours.publish([message("a", name, priority=9)])

    ours = open_ours()
    declare(ours)
    with open_theirs() as theirs:
        queue = KombuQueue("one", KombuExchange("media", type="topic"), routing_key="film.#")
        bound = queue(theirs.default_channel)
        bound.declare()
        bound.delete()
    theirs_left = left(client)
    client.flushdb()

    declare(ours)
    ours.delete("one")

    assert left(client) == theirs_left
    assert theirs_left["_kombu.binding_permanent.media"] == {
        "film.#\x06\x16^film\\..*?$\x06\x16two"
    }


def every_key(client: redis.Redis) -> list[str]:
    return list(client.keys())


def left(client: redis.Redis) -> dict[str, Any]:
    keys = [key for key in every_key(client) if not key.startswith("taskctl")]
    return {
        key: client.smembers(key) if key.startswith("_kombu") else client.llen(key) for key in keys
    }
