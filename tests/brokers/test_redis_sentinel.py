"""Redis behind real sentinels: the master is found, and found again when it has died."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection, Consumer, Producer
from kombu import Exchange as KombuExchange
from kombu import Queue as KombuQueue

from taskctl import App
from taskctl.core.brokers import open_broker
from taskctl.core.brokers.base import Broker, Heard
from taskctl.core.brokers.redis import RedisBroker
from taskctl.core.errors import BrokerConnectionError, BrokerError, ImproperlyConfigured
from taskctl.core.messaging.connection import Connection as OurConnection
from taskctl.core.wire.message import mark_redelivered
from taskctl.core.wire.queues import direct_queue

from ..support.redis_servers import Sentinels
from ..support.servers import free_port
from ..support.waiting import eventually
from ..support.workers import Farm
from .cases import collect, texts
from .peer import envelope, publication

OPTIONS = {"master_name": Sentinels.NAME, "sentinel_kwargs": {"password": "of-sentinels"}}
Open = Callable[..., Broker]


@pytest.fixture(scope="module")
def sentinels() -> Iterator[Sentinels]:
    """Two sentinels with a password, a master and its replica with another."""
    group = Sentinels(password="of-sentinels", master_password="of-redis")
    try:
        yield group.start()
    finally:
        group.stop()


@pytest.fixture
def open_one(sentinels: Sentinels) -> Iterator[Open]:
    made: list[Broker] = []

    def make(owner: str | None = None, url: str = sentinels.url, **options: Any) -> Broker:
        broker = open_broker(url, options={**OPTIONS, **options}, owner=owner)
        made.append(broker)
        broker.open()
        return broker

    yield make
    for broker in made:
        broker.close()


def test_sentinels_lead_to_the_master(open_one: Open, sentinels: Sentinels) -> None:
    broker = open_one(owner="one")
    broker.register("one@host", {}, 30.0)
    broker.subscribe(direct_queue("q"))
    broker.publish([publication("a")])

    assert texts(collect(broker, 1)) == ["a"]
    told = broker.diagnose()
    assert (told["host"], told["port"]) == ("127.0.0.1", sentinels.master.port)
    broker.retire()


def test_a_sentinel_that_is_gone_is_passed_over(open_one: Open, sentinels: Sentinels) -> None:
    dead = f"sentinel://:of-redis@127.0.0.1:{free_port()}/0"

    assert open_one(url=f"{dead};{sentinels.url}").size("none") == 0


def test_the_urls_of_sentinels_are_one_broker_of_a_connection(sentinels: Sentinels) -> None:
    with OurConnection(f"{sentinels.url};redis://127.0.0.1:1/0", options=OPTIONS) as connection:
        assert connection.urls == [sentinels.url, "redis://127.0.0.1:1/0"]
        assert connection.url == sentinels.url


@pytest.mark.parametrize(
    ("options", "kind", "reason"),
    [
        ({"master_name": "other"}, BrokerError, r"knows no master 'other', check master_name"),
        ({"sentinel_kwargs": {}}, BrokerError, r"refuses access, set sentinel_kwargs"),
        ({"sentinel_kwargs": {"password": "no"}}, BrokerError, r"refuses access, set sentinel_kw"),
        ({"min_other_sentinels": 5}, BrokerConnectionError, r"knows 1 other sentinels, min_other"),
        ({"master_name": None}, ImproperlyConfigured, r"needs the name of the master"),
        ({"sentinel_kwargs": {"pasword": 1}}, ImproperlyConfigured, r"unknown option 'pasword'"),
    ],
)
def test_what_sentinels_answer_is_said_in_one_line(
    open_one: Open, options: dict[str, Any], kind: type[Exception], reason: str
) -> None:
    with pytest.raises(kind, match=reason) as caught:
        open_one(**options)

    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert "of-redis" not in str(caught.value)


def test_no_sentinel_at_all_is_said_with_each_place(sentinels: Sentinels) -> None:
    port = free_port()
    broker = RedisBroker(f"sentinel://127.0.0.1:{port}", options={"master_name": "mine"})

    with pytest.raises(BrokerConnectionError, match=f"'mine' that is up: 127.0.0.1:{port} conn"):
        broker.open()


def test_a_sentinel_named_as_a_server_is_told_apart(sentinels: Sentinels) -> None:
    port = sentinels.sentinels[0].port

    with pytest.raises(BrokerError, match="is a sentinel: write sentinel://host:port"):
        RedisBroker(f"redis://:of-sentinels@127.0.0.1:{port}/0").open()


def test_a_replica_is_refused_with_the_place_of_its_master(sentinels: Sentinels) -> None:
    url = f"redis://:of-redis@127.0.0.1:{sentinels.replica.port}/0"

    with pytest.raises(BrokerConnectionError, match=f"its master is .*:{sentinels.master.port}"):
        RedisBroker(url, owner="one").open()
    reader = RedisBroker(url)
    reader.open()
    assert reader.size("none") == 0
    with pytest.raises(BrokerConnectionError, match="is a replica and takes no writes"):
        reader.publish([publication("a")])
    reader.close()


# --- broadcasts beside kombu ---------------------------------------------------------------------


@pytest.mark.parametrize("compat", [False, True])
def test_broadcasts_cross_with_kombu_at_sentinels(
    open_one: Open, sentinels: Sentinels, compat: bool
) -> None:
    """With the option both kinds use the channel of old kombu too, and nobody hears twice."""
    options = {"sentinel_fanout_compat": compat}
    listener, sender = open_one(**options), open_one(**options)
    listener.listen("everyone", "#")
    heard: list[Any] = []
    exchange = KombuExchange("everyone", type="fanout")
    with Connection(sentinels.url, transport_options={**OPTIONS, **options}) as connection:
        queue = KombuQueue("theirs", exchange, routing_key="task.#", auto_delete=True)
        with Consumer(
            connection, [queue], callbacks=[lambda body, _: heard.append(body)], no_ack=True
        ):
            drain(connection)
            producer = Producer(connection, exchange=exchange, serializer="json")
            producer.publish({"from": "kombu"}, routing_key="task.sent", declare=[queue])
            (theirs,) = eventually(listener.hear)
            ours = json.loads(theirs.envelope)
            ours["properties"]["delivery_tag"] = "ours"
            count = sender.broadcast("everyone", "task.sent", json.dumps(ours).encode())
            eventually(lambda: drain(connection) or len(heard) == 2)
            sender.broadcast("everyone", "task.end", envelope("end"))

    assert count == 2
    assert heard == [{"from": "kombu"}] * 2
    assert [key_of(heard) for heard in until_end(listener)] == ["task.sent", "task.end"]


def until_end(listener: Broker) -> list[Heard]:
    found: list[Heard] = []
    eventually(lambda: found.extend(listener.hear()) or "task.end" in map(key_of, found))
    return found


def key_of(heard: Heard) -> str:
    return heard.routing_key


def drain(connection: Connection) -> None:
    try:
        connection.drain_events(timeout=0.1)
    except TimeoutError:
        return


def test_old_kombu_is_heard_and_spoken_to_with_the_option(
    open_one: Open, sentinels: Sentinels
) -> None:
    broker = open_one(sentinel_fanout_compat=True)
    broker.listen("ev", "#")
    with sentinels.master.client() as client, client.pubsub() as pubsub:
        pubsub.psubscribe("/{db}.ev/*")
        eventually(pubsub.get_message)

        client.publish("/{db}.ev/a", envelope("old"))
        broker.broadcast("ev", "b", mark_redelivered(envelope("new")))

        first, second = eventually(lambda: pubsub.get_message()), eventually(pubsub.get_message)
        assert [first["channel"], second["channel"]] == [b"/{db}.ev/a", b"/{db}.ev/b"]
    heard: list[str] = []
    eventually(lambda: heard.extend(h.routing_key for h in broker.hear()) or "b" in heard)
    assert sorted(set(heard)) == ["a", "b"]


# --- the master dies: this test comes last, for it takes one ------------------------------------


def test_workers_and_clients_go_on_at_the_new_master(
    sentinels: Sentinels, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    farm = Farm(
        tmp_path,
        sentinels.url,
        broker_transport_options=OPTIONS,
        result_backend=f"sqlite:///{tmp_path}/results.db",
    )
    try:
        node = farm.start(concurrency=1).ready()
        results = [farm.send("mark", f"k{n}", 0.02) for n in range(20)]
        slow = farm.send("mark", "over", 4.0)
        eventually(lambda: farm.runs()["over"], within=20)
        eventually(sentinels.settled, within=20)

        sentinels.fail_over()
        results += [patiently_sent(farm, f"n{n}") for n in range(20)]

        assert [one.get(timeout=40) for one in results] == [
            *(f"k{n}" for n in range(20)), *(f"n{n}" for n in range(20))
        ]  # fmt: skip
        assert slow.get(timeout=40) == "over"
        runs = farm.runs()
        assert set(runs) == {*(f"k{n}" for n in range(20)), *(f"n{n}" for n in range(20)), "over"}
        moved = rf"the master mymaster is at 127\.0\.0\.1:{sentinels.replica.port} now, and no "
        assert re.search(moved, node.log), node.log
        assert re.search(moved, caplog.text), "the client says so too"
        eventually(lambda: farm.unacked() == 0, within=20)
    finally:
        farm.close()


def patiently_sent(farm: Farm, key: str) -> Any:
    """Send until the broker takes it, as a caller with retries of its own would."""
    deadline = time.monotonic() + 30
    while True:
        try:
            return farm.send("mark", key)
        except BrokerConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_an_app_gives_tls_to_the_server_that_sentinels_name() -> None:
    app = App("a", broker="sentinel://h", set_as_current=False)
    app.conf.broker_use_ssl = True

    assert app.broker_options()["ssl"] == {}
