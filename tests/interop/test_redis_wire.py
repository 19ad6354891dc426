"""Real Celery at the other end of the Redis keys."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from kombu import Connection, Consumer, Producer
from kombu import Exchange as KombuExchange
from kombu import Queue as KombuQueue

from taskctl.core.brokers.redis import RedisBroker
from taskctl.core.wire.message import Publication
from taskctl.core.wire.queues import Exchange, Queue, direct_queue
from taskctl.core.wire.task_message import decode_task

from ..support.waiting import eventually

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def broker(redis_url: str) -> Iterator[RedisBroker]:
    broker = RedisBroker(redis_url, owner="one")
    broker.open()
    broker.register("one@host", {}, 30.0)
    broker.subscribe(direct_queue("celery"))
    yield broker
    broker.close()


@pytest.fixture
def celery_app(redis_url: str) -> Iterator[Celery]:
    app = Celery("peer", broker=redis_url, backend=redis_url, set_as_current=False)
    yield app
    app.close()


def captured(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((GOLDEN / f"{name}.json").read_text())["redis"]
    return found


@pytest.mark.parametrize(
    "name", ["task_plain", "task_priority_3", "task_priority_5", "task_priority_9"]
)
def test_a_task_goes_to_the_list_that_celery_used(
    broker: RedisBroker, client: redis.Redis, name: str
) -> None:
    sent = next(entry for entry in captured(name) if entry["command"] == "LPUSH")
    envelope = json.dumps(sent["envelope"]).encode()
    properties = sent["envelope"]["properties"]

    broker.publish(
        [
            Publication(
                exchange=properties["delivery_info"]["exchange"],
                routing_key=properties["delivery_info"]["routing_key"],
                envelope=envelope,
                priority=properties["priority"],
            )
        ]
    )

    assert client.lrange(sent["key"], 0, -1) == [envelope]


def test_a_command_and_its_reply_travel_where_celery_sends_them(
    broker: RedisBroker, client: redis.Redis
) -> None:
    request, reply = captured("control_ping")
    channel = request["channel"].replace(
        "/0.", f"/{client.connection_pool.connection_kwargs['db']}."
    )
    reply_queue = reply["key"]
    key = reply["envelope"]["properties"]["delivery_info"]["routing_key"]
    exchange = Exchange(name="reply.celery.pidbox")
    broker.declare(Queue(name=reply_queue, exchange=exchange, routing_key=key, expires=10.0))
    broker.listen("celery.pidbox")
    with client.pubsub() as pubsub:
        pubsub.subscribe(channel)
        eventually(pubsub.get_message)

        broker.broadcast("celery.pidbox", "", b"command")
        broker.publish([Publication(exchange=exchange.name, routing_key=key, envelope=b"reply")])

        assert eventually(pubsub.get_message)["data"] == b"command"
    assert [heard.envelope for heard in eventually(broker.hear)] == [b"command"]
    assert client.lrange(reply_queue, 0, -1) == [b"reply"]


@pytest.mark.parametrize(
    ("kind", "routing_key", "expires"),
    [
        ("direct", "media", None),
        ("topic", "media.*.x.#", None),
        ("fanout", "", None),
        ("direct", "reply", 10.0),
    ],
)
def test_a_declaration_leaves_what_kombu_leaves(
    redis_url: str,
    broker: RedisBroker,
    client: redis.Redis,
    kind: str,
    routing_key: str,
    expires: float | None,
) -> None:
    def tables() -> dict[bytes, Any]:
        return {
            key: client.smembers(key) if b"deadlines" not in key else client.zrange(key, 0, -1)
            for key in client.keys("_kombu.*ex") + client.keys("_kombu.binding_deadlines")
        }

    with Connection(redis_url) as connection:
        exchange = KombuExchange("ex", type=kind)
        KombuQueue("media", exchange, routing_key=routing_key, expires=expires).declare(
            channel=connection.channel()
        )
    theirs = tables()
    client.flushdb()

    broker.declare(
        Queue(
            name="media",
            exchange=Exchange(name="ex", type=kind),
            routing_key=routing_key,
            expires=expires,
        )
    )

    assert theirs
    assert tables() == theirs


def test_a_task_sent_by_celery_is_received(broker: RedisBroker, celery_app: Celery) -> None:
    sent = celery_app.send_task("proj.add", args=(2, 3), priority=6)

    (loan,) = eventually(lambda: broker.receive(10))

    message = decode_task(loan.envelope)
    assert (message.headers.task, message.headers.id) == ("proj.add", sent.id)
    assert message.properties.delivery_tag == loan.tag
    assert (loan.queue, loan.deliveries, loan.redelivered) == ("celery", 0, False)


def test_celery_restores_our_loans_to_the_queue_they_came_from(
    redis_url: str, broker: RedisBroker, celery_app: Celery, client: redis.Redis
) -> None:
    celery_app.send_task("proj.add", priority=9)
    (loan,) = eventually(lambda: broker.receive(10))
    client.zadd("unacked_index", {loan.tag: time.time() - 5000})
    client.delete("taskctl.owned.one")  # nobody of ours is left

    with Connection(redis_url) as connection:
        connection.default_channel.qos.restore_visible()

    assert client.llen("celery\x06\x169") == 1
    (back,) = eventually(lambda: broker.receive(10))
    assert back.redelivered
    assert decode_task(back.envelope).headers.task == "proj.add"


def test_what_we_give_back_celery_takes_as_redelivered(
    redis_url: str, broker: RedisBroker, celery_app: Celery
) -> None:
    celery_app.send_task("proj.add")
    (loan,) = eventually(lambda: broker.receive(10))
    broker.reject([loan.tag], requeue=True, lost=True)

    with Connection(redis_url) as connection:
        message = connection.SimpleQueue("celery").get(timeout=5)

    assert message.delivery_info["redelivered"]
    assert message.headers["x-delivery-count"] == 1


def test_the_sweep_restores_what_kombu_left_behind(
    redis_url: str, broker: RedisBroker, celery_app: Celery, client: redis.Redis
) -> None:
    broker.unsubscribe("celery")
    celery_app.send_task("proj.add", priority=3)
    with Connection(redis_url) as connection:
        message = connection.SimpleQueue("celery").get(timeout=5)
        client.zadd("unacked_index", {message.delivery_tag: time.time() - 5000})

        broker.reclaim()

        assert client.llen("celery\x06\x163") == 1
        assert not client.exists("unacked", "unacked_index")
        message.ack()


def test_broadcasts_cross_in_both_directions(redis_url: str, broker: RedisBroker) -> None:
    events = KombuExchange("everyone", type="fanout")
    heard: list[Any] = []
    broker.listen("everyone", "#")
    with Connection(redis_url) as connection:
        queue = KombuQueue("theirs", events, routing_key="task.#", auto_delete=True)
        with Consumer(
            connection, [queue], callbacks=[lambda body, message: heard.append(body)], no_ack=True
        ):
            # the subscription is on its way once the connection has been drained
            drain(connection)
            producer = Producer(connection, exchange=events, serializer="json")
            producer.publish({"from": "kombu"}, routing_key="task.sent", declare=[queue])
            (ours,) = eventually(broker.hear)
            broker.broadcast("everyone", "task.sent", ours.envelope)
            eventually(lambda: drain(connection) or len(heard) == 2)

    assert (ours.exchange, ours.routing_key) == ("everyone", "task.sent")
    assert heard == [{"from": "kombu"}] * 2


def drain(connection: Connection) -> None:
    try:
        connection.drain_events(timeout=0.1)
    except TimeoutError:
        return


WORKER = """
from celery import Celery
app = Celery("peer", broker="{url}", backend="{url}")
@app.task(name="proj.add")
def add(x, y):
    return x + y
"""


@pytest.fixture
def start_celery_worker(tmp_path: Path, redis_url: str) -> Iterator[Callable[[], None]]:
    """A function that starts a real Celery worker (solo), ended at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        (tmp_path / "peer_app.py").write_text(WORKER.format(url=redis_url))
        command = [sys.executable, "-m", "celery", "-A", "peer_app", "worker", "--pool=solo"]
        command += ["--without-mingle", "--without-gossip", "--loglevel=ERROR"]
        started.append(
            subprocess.Popen(
                command,
                cwd=tmp_path,
                env={**os.environ, "C_FORCE_ROOT": "1"},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    yield start
    for process in started:
        process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def test_a_celery_worker_runs_what_we_publish_give_back_and_leave_held(
    broker: RedisBroker,
    celery_app: Celery,
    client: redis.Redis,
    start_celery_worker: Callable[[], None],
) -> None:
    results = [celery_app.send_task("proj.add", args=(n, 1)) for n in range(3)]
    loans = eventually(lambda: broker.receive(3))
    while len(loans) < 3:
        loans += broker.receive(3 - len(loans))
    copied, given_back, held = loans
    broker.ack(
        [copied.tag],
        [Publication(exchange="", routing_key="celery", envelope=copied.envelope)],
    )
    broker.reject([given_back.tag], requeue=True, lost=True)
    broker.park(held.tag, time.time() + 3600, "held")
    broker.retire()

    start_celery_worker()

    assert [result.get(timeout=30) for result in results] == [1, 2, 3]
    eventually(lambda: not client.exists("celery", "unacked", "unacked_index"))
