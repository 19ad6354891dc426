"""Mailbox, events, registry and dead letters."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.brokers.base import Broker
from taskctl.core.clock import LamportClock
from taskctl.core.messaging import deadletters
from taskctl.core.messaging.connection import Connection
from taskctl.core.messaging.events import BATCH, EventDispatcher
from taskctl.core.messaging.mailbox import ClientMailbox, NodeMailbox
from taskctl.core.messaging.nodes import Registration, live_nodes, new_owner
from taskctl.core.wire.message import decode_envelope

from ..support.waiting import eventually


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/queue.db"


@pytest.fixture
def broker(url: str) -> Iterator[Broker]:
    with Connection(url, owner=new_owner("n@h")) as connection:
        yield connection.broker


class Node(threading.Thread):
    """A node that answers commands with its own name, and after `delay` seconds."""

    def __init__(self, url: str, name: str, value: Any = None, delay: float = 0.0) -> None:
        super().__init__(daemon=True)
        self.url, self.node, self.value, self.delay = url, name, value, delay
        self.listening, self.over = threading.Event(), threading.Event()
        self.heard: list[str] = []
        self.start()
        self.listening.wait(5)

    def run(self) -> None:
        with Connection(self.url) as connection:
            mailbox = NodeMailbox(self.node)
            mailbox.open(connection.broker)
            self.listening.set()
            while not self.over.is_set():
                for heard in connection.broker.hear():
                    self._obey(connection.broker, mailbox, heard)
                self.over.wait(0.002)

    def _obey(self, broker: Broker, mailbox: NodeMailbox, heard: Any) -> None:
        request = mailbox.read(heard)
        if request is None or not request.is_for(self.node):
            return
        self.heard.append(request.method)
        self.over.wait(self.delay)
        reply = mailbox.answer(request, self.value or {"ok": self.node}, clock=1)
        if reply is not None:
            broker.publish([reply])


@pytest.fixture
def nodes(url: str) -> Iterator[Any]:
    made: list[Node] = []

    def make(name: str, **options: Any) -> Node:
        made.append(Node(url, name, **options))
        return made[-1]

    yield make
    for node in made:
        node.over.set()
        node.join(5)


def test_all_who_hear_a_question_answer_it(url: str, nodes: Any) -> None:
    nodes("a@h"), nodes("b@h")
    with Connection(url) as connection:
        replies, _ = ClientMailbox(connection).call("ping", timeout=3.0, limit=2)

    assert sorted((reply.node, reply.value["ok"]) for reply in replies) == [
        ("a@h", "a@h"),
        ("b@h", "b@h"),
    ]


def test_only_the_destination_answers(url: str, nodes: Any) -> None:
    silent, _ = nodes("a@h"), nodes("b@h")
    with Connection(url) as connection:
        replies, _ = ClientMailbox(connection).call(
            "ping", destination=["b@h"], timeout=3.0, limit=1
        )

    assert [reply.node for reply in replies] == ["b@h"]
    assert silent.heard == []


def test_waiting_ends_with_its_time_and_leaves_no_queue_behind(url: str, nodes: Any) -> None:
    nodes("slow@h", delay=30.0)
    with Connection(url) as connection:
        began = time.monotonic()
        replies, _ = ClientMailbox(connection).call("ping", timeout=0.3)
        took = time.monotonic() - began
        left = connection.broker.queues()

    assert replies == []
    assert 0.3 <= took < 0.8
    assert left == []


def test_a_cast_is_heard_and_not_answered(url: str, nodes: Any) -> None:
    node = nodes("a@h")
    with Connection(url) as connection:
        ClientMailbox(connection).cast("heartbeat")

    eventually(lambda: node.heard == ["heartbeat"])


def test_an_answer_that_cannot_be_encoded_becomes_an_error(url: str, nodes: Any) -> None:
    nodes("a@h", value={"ok": object()})
    with Connection(url) as connection:
        (reply,), _ = ClientMailbox(connection).call("ping", timeout=3.0, limit=1)

    assert "object" in reply.value["error"]


def test_a_request_that_cannot_be_read_is_dropped_with_a_line(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    mailbox = NodeMailbox("a@h")
    mailbox.open(broker)
    broker.broadcast(mailbox.exchange, "", b"no envelope")

    (heard,) = eventually(broker.hear)

    assert mailbox.read(heard) is None
    assert "dropped a request" in caplog.text


def test_task_events_are_gathered_into_batches(broker: Broker) -> None:
    broker.listen("celeryev", "#")
    events = EventDispatcher("n@h", clock=LamportClock(), task_events=True)
    for number in range(BATCH + 1):
        events.task("task-received", uuid=str(number))

    events.flush(broker)

    heard = eventually(broker.hear)
    assert [one.routing_key for one in heard] == ["task.multi", "task.multi"]
    batch = json.loads(decode_envelope(heard[0].envelope).body)
    assert [event["uuid"] for event in batch] == [str(number) for number in range(BATCH)]
    assert batch[0].keys() >= {"type", "hostname", "timestamp", "utcoffset", "pid", "clock"}
    assert batch[0]["clock"] < batch[1]["clock"]


def test_task_events_that_nobody_wants_are_not_made(broker: Broker) -> None:
    broker.listen("celeryev", "#")
    events = EventDispatcher("n@h", clock=LamportClock())

    events.task("task-received", uuid="1")
    events.flush(broker)
    events.send(broker, "worker-online")

    (heard,) = eventually(broker.hear)
    assert heard.routing_key == "worker.online"
    assert json.loads(decode_envelope(heard.envelope).body)["type"] == "worker-online"


def test_a_node_is_in_the_registry_until_it_retires(url: str, broker: Broker) -> None:
    registration = Registration("n@h", lease=5.0)
    registration.renew(broker, {"state": "ok"})

    with Connection(url) as connection:
        (node,) = live_nodes(connection)
        assert (node.name, node.alive, node.record["state"]) == ("n@h", True, "ok")
        registration.retire(broker)
        assert live_nodes(connection) == []


def test_a_restarted_node_owns_nothing_of_its_past() -> None:
    assert new_owner("n@h") != new_owner("n@h")


def test_a_dead_letter_keeps_the_message_and_says_why() -> None:
    envelope = json.dumps(
        {"body": "e30=", "headers": {"id": "1", "task": "t"}, "properties": {"priority": 3}}
    ).encode()

    letter = deadletters.bury(
        envelope, reason="worker-lost", detail="killed", source="q", node="n@h", queue="dead"
    )

    parts = json.loads(letter.envelope)
    assert (letter.routing_key, parts["body"], parts["headers"]["id"]) == ("dead", "e30=", "1")
    facts = parts["headers"]["taskctl-dead"]
    assert (facts["reason"], facts["detail"], facts["queue"]) == ("worker-lost", "killed", "q")
    assert parts["properties"]["delivery_info"] == {"exchange": "", "routing_key": "dead"}


@given(st.one_of(st.binary(), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["headers", "properties", "body", "x"]), inner),
).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_whatever_comes_can_be_buried_and_read_again(envelope: bytes) -> None:
    letter = deadletters.bury(
        envelope, reason="malformed", detail="", source="q", node="n@h", queue="dead"
    )

    assert deadletters.read(letter.envelope).reason == "malformed"
