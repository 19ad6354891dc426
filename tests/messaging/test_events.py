"""Events from sender to receiver, on every broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl import App
from taskctl.core.clock import LamportClock
from taskctl.core.errors import BrokerConnectionError
from taskctl.core.messaging.connection import Connection
from taskctl.core.messaging.event_receiver import EventReceiver
from taskctl.core.messaging.events import EventDispatcher
from taskctl.core.wire.event_message import encode_events

Event = dict[str, Any]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[App]:
    """An app on an empty broker of each kind."""
    url = {"memory": f"memory://{tmp_path.name}", "sqlite": f"sqlite:///{tmp_path}/queue.db"}.get(
        request.param
    )
    app = App("proj", broker=url or request.getfixturevalue("redis_url"), set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def hear(app: App) -> Iterator[Callable[..., EventReceiver]]:
    """Starts receivers that hear from now on: hear(handlers, **of Receiver)."""
    connections = []

    def start(handlers: Any, **options: Any) -> EventReceiver:
        connections.append(app.connection())
        receiver = app.events.Receiver(connections[-1], handlers, **options)
        # A generator runs to its first message: what it does before that is to listen.
        receiver.connection.open().listen("celeryev", receiver.routing_key)
        return receiver

    yield start
    for connection in connections:
        connection.close()


def test_what_a_dispatcher_sends_a_receiver_hears(app: App, hear: Any) -> None:
    events: list[Event] = []
    receiver = hear({"*": events.append})

    with app.events.default_dispatcher(hostname="me@h") as dispatcher:
        dispatcher.send("shop-sold", item="book")
    receiver.capture(limit=1, timeout=5, wakeup=False)

    (event,) = events
    assert (event["type"], event["hostname"], event["item"]) == ("shop-sold", "me@h", "book")
    assert event["local_received"] == pytest.approx(event["timestamp"], abs=5)
    assert {"pid", "clock", "utcoffset"} <= set(event)


def test_a_batch_is_handed_over_one_by_one(app: App, hear: Any) -> None:
    events: list[str] = []
    receiver = hear({"task-started": lambda event: events.append(event["uuid"])})
    node = EventDispatcher("w1@h", clock=LamportClock(), task_events=True)
    for uuid in ("a", "b", "c"):
        node.task("task-started", uuid=uuid)

    with app.connection() as connection:
        node.flush(connection.broker)
    receiver.capture(limit=1, timeout=5, wakeup=False)

    assert events == ["a", "b", "c"]


def test_a_handler_of_its_own_comes_before_the_star(app: App, hear: Any) -> None:
    own: list[str] = []
    rest: list[str] = []
    receiver = hear(
        {"a-b": lambda event: own.append(event["type"]), "*": lambda e: rest.append(e["type"])}
    )

    with app.events.default_dispatcher() as dispatcher:
        dispatcher.send("a-b")
        dispatcher.send("a-c")
    receiver.capture(limit=2, timeout=5, wakeup=False)

    assert (own, rest) == (["a-b"], ["a-c"])


def test_a_routing_key_leaves_out_the_others(app: App, hear: Any) -> None:
    types: list[str] = []
    receiver = hear({"*": lambda event: types.append(event["type"])}, routing_key="worker.#")

    with app.events.default_dispatcher() as dispatcher:
        dispatcher.send("task-sent", uuid="x")
        dispatcher.send("worker-online")
    receiver.capture(limit=1, timeout=5, wakeup=False)

    assert types == ["worker-online"]


def test_what_one_capture_leaves_the_next_one_takes(app: App, hear: Any) -> None:
    numbers: list[int] = []
    receiver = hear({"*": lambda event: numbers.append(event["number"])})
    with app.events.default_dispatcher() as dispatcher:
        for number in range(5):
            dispatcher.send("a-b", number=number)

    for _ in range(5):
        receiver.capture(limit=1, timeout=5, wakeup=False)

    assert numbers == [0, 1, 2, 3, 4]


def test_a_receiver_gives_up_after_its_time(app: App, hear: Any) -> None:
    receiver = hear({})
    began = time.monotonic()

    with pytest.raises(TimeoutError, match=r"no event within 0\.1 s"):
        receiver.capture(timeout=0.1, wakeup=False)

    assert time.monotonic() - began < 2


def test_another_thread_can_end_a_receiver(app: App, hear: Any) -> None:
    receiver = hear({})
    thread = threading.Thread(target=lambda: receiver.capture(wakeup=False))
    thread.start()

    receiver.should_stop = True
    thread.join(5)

    assert not thread.is_alive()


def test_waking_asks_every_node_for_a_heartbeat(app: App, hear: Any) -> None:
    node = app.connection()
    node.open().listen("celery.pidbox", "")
    receiver = hear({})

    with pytest.raises(TimeoutError):
        receiver.capture(timeout=0.1)

    (heard,) = node.broker.hear()
    node.close()
    assert heard.exchange == "celery.pidbox"


def test_what_is_no_event_is_left_out(app: App, hear: Any, caplog: Any) -> None:
    events: list[Event] = []
    receiver = hear({"*": events.append})
    texts: list[Any] = [[1, "x", {"no": "type"}, {"type": "a-b"}], {"type": 7}]
    with app.connection() as connection:
        for body in texts:
            envelope = encode_events(body, exchange="celeryev", key="x", hostname="h")
            connection.broker.broadcast("celeryev", "x", envelope)
        pickled = encode_events({"type": "p"}, exchange="celeryev", key="x", hostname="h",
                                serializer="pickle")  # fmt: skip
        connection.broker.broadcast("celeryev", "x", pickled)
        connection.broker.broadcast("celeryev", "x", b"rubbish")

    receiver.capture(limit=4, timeout=5, wakeup=False)

    assert [event["type"] for event in events] == ["a-b"]
    assert caplog.text.count("dropped an event") == 2


# -- clocks, buffers and groups: one broker tells


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[App]:
    app = App("proj", broker=f"memory://{tmp_path.name}", set_as_current=False)
    yield app
    app.close()


def test_the_logical_clock_follows_what_is_heard(desk: App) -> None:
    receiver = EventReceiver(desk.connection(), clock=desk.clock)

    _, event = receiver.event_from_message({"type": "worker-online", "clock": 41})
    _, without = receiver.event_from_message({"type": "worker-online"})
    _, sent = receiver.event_from_message({"type": "task-sent", "clock": 9000})

    assert (event["clock"], without["clock"]) == (41, 43)
    assert sent["clock"] == 42
    assert desk.clock.value < 9000


def test_the_time_of_an_event_is_left_alone_whatever_zone_it_comes_from(desk: App) -> None:
    receiver = EventReceiver(desk.connection())

    _, event = receiver.event_from_message({"type": "a", "timestamp": 100.5, "utcoffset": -9.0})

    assert event["timestamp"] == 100.5


def test_a_disabled_dispatcher_is_silent_and_tells_who_asked(desk: App) -> None:
    told: list[str] = []
    dispatcher = desk.events.Dispatcher(enabled=False)
    dispatcher.on_enabled.add(lambda: told.append("on"))
    dispatcher.on_disabled.add(lambda: told.append("off"))
    listener = desk.connection()
    listener.open().listen("celeryev", "#")

    dispatcher.send("a-b")
    dispatcher.enable()
    dispatcher.send("a-c")
    dispatcher.disable()
    dispatcher.disable()
    dispatcher.send("a-d")

    assert [heard.routing_key for heard in listener.broker.hear()] == ["a.c"]
    assert told == ["on", "off"]


def test_groups_choose_what_is_sent(desk: App) -> None:
    dispatcher = desk.events.Dispatcher(groups={"worker"})
    listener = desk.connection()
    listener.open().listen("celeryev", "#")

    dispatcher.send("task-sent", uuid="x")
    dispatcher.send("worker-online")

    assert [heard.routing_key for heard in listener.broker.hear()] == ["worker.online"]


def test_events_are_kept_while_the_broker_is_away() -> None:
    away = App("proj", broker="redis://127.0.0.1:1/0", set_as_current=False)
    here = App("proj", broker="memory://kept", set_as_current=False)
    listener = here.connection()
    listener.open().listen("celeryev", "#")
    dispatcher = away.events.Dispatcher()
    strict = away.events.Dispatcher(buffer_while_offline=False)

    dispatcher.send("a-b")
    with pytest.raises(BrokerConnectionError):
        strict.send("a-b")
    dispatcher.connection = here.connection()
    dispatcher.flush()

    assert [heard.routing_key for heard in listener.broker.hear()] == ["a.b"]
    away.close()
    here.close()


class _Breaking:
    """A broker whose line breaks at the second message."""

    def __init__(self) -> None:
        self.said = 0

    def broadcast(self, exchange: str, key: str, envelope: bytes) -> None:
        self.said += 1
        if self.said == 2:
            raise BrokerConnectionError("gone")


def test_a_batch_that_could_not_be_sent_stays_noted() -> None:
    node = EventDispatcher("w1@h", clock=LamportClock(), task_events=True)
    for number in range(50):
        node.task("task-started", uuid=str(number))
    broker: Any = _Breaking()

    with pytest.raises(BrokerConnectionError):
        node.flush(broker)
    node.flush(broker)

    assert broker.said == 4  # 24, a break, 24 again, 2


def test_a_task_that_wants_no_events_has_none(desk: App) -> None:
    node = EventDispatcher("w1@h", clock=LamportClock(), task_events=True)

    @desk.task(send_events=False)
    def shy() -> None: ...

    broker: Any = _Breaking()
    node.task("task-started", shy, uuid="x")
    node.flush(broker)

    assert broker.said == 0


def test_a_call_does_not_fail_for_want_of_its_event(tmp_path: Path, monkeypatch: Any) -> None:
    app = App("proj", broker=f"memory://{tmp_path.name}", set_as_current=False,
              task_send_sent_event=True)  # fmt: skip

    def broken(*_: Any) -> None:
        raise BrokerConnectionError("gone")

    monkeypatch.setattr(EventDispatcher, "broadcast", broken)

    app.send_task("proj.add", [2, 3])

    assert app.count_waiting(["celery"]) == {"celery": 1}
    app.close()


def test_a_connection_is_the_callers_own(desk: App) -> None:
    connection = desk.connection()

    receiver = desk.events.Receiver(connection)

    assert isinstance(connection, Connection)
    assert receiver.connection is connection
