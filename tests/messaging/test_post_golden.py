"""Commands and events as our mailbox and dispatcher send them, beside those Celery sent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from taskctl.core.clock import LamportClock
from taskctl.core.messaging.connection import Connection
from taskctl.core.messaging.events import EventDispatcher
from taskctl.core.messaging.mailbox import ClientMailbox
from taskctl.core.wire.message import decode_envelope

from ..wire import captures
from ..wire.captures import Sent


@pytest.fixture
def connection() -> Iterator[Connection]:
    connection = Connection(["memory://post-golden"])
    yield connection
    connection.close()


def cases(prefix: str, kind: str) -> list[Any]:
    found = [one for one in captures.sent(prefix) if one.kind == kind]
    return [pytest.param(one, id=f"{one.file}-{one.broker}-{n}") for n, one in enumerate(found)]


def comparable(envelope: bytes) -> list[Any]:
    """Return envelope and body, keys in order, without what differs from call to call."""
    parts = json.loads(envelope)
    body = json.loads(decode_envelope(envelope).body)
    del parts["body"], parts["properties"]["delivery_tag"]
    for fields in (parts["headers"], *(body if isinstance(body, list) else [body])):
        for name in ("clock", "ticket", "timestamp", "pid", "utcoffset"):
            if fields.get(name):
                fields[name] = type(fields[name]).__name__
        if "expires" in fields:  # 0 where the caller gave no time
            fields["expires"] = isinstance(fields["expires"], int | float)
        if fields.get("reply_to"):
            fields["reply_to"]["routing_key"] = "ours"
    return [list(parts.items()), list(body.items()) if isinstance(body, dict) else body]


@pytest.mark.parametrize("sent", [*cases("control_", "command"), *cases("worker_", "command")])
def test_a_command_is_sent_as_celery_sends_it(connection: Connection, sent: Sent) -> None:
    body = sent.body
    clock = LamportClock()
    mailbox = ClientMailbox(connection, forward_clock=clock.forward)
    connection.call(lambda broker: broker.listen("celery.pidbox"))
    options = {name: body[name] for name in ("destination", "pattern", "matcher")}

    if body.get("reply_to"):
        mailbox.call(body["method"], body["arguments"], timeout=0.02, **options)
    else:
        mailbox.cast(body["method"], body["arguments"], **options)

    (heard,) = connection.call(lambda broker: broker.hear())
    assert (heard.exchange, heard.routing_key) == (sent.exchange, sent.routing_key)
    assert comparable(heard.envelope) == comparable(sent.envelope)


@pytest.mark.parametrize("sent", [*cases("event_", "event"), *cases("worker_", "event")])
def test_an_event_is_sent_as_celery_sends_it(connection: Connection, sent: Sent) -> None:
    events = sent.body if isinstance(sent.body, list) else [sent.body]
    hostname = events[0]["hostname"]
    dispatcher = EventDispatcher(hostname, clock=LamportClock(), task_events=True)
    broker = connection.open()
    broker.listen("celeryev", "#")
    own = {"hostname", "utcoffset", "pid", "clock", "timestamp", "type"}

    for event in events:
        fields = {name: value for name, value in event.items() if name not in own}
        if isinstance(sent.body, list):
            dispatcher.task(event["type"], **fields)
        else:
            dispatcher.send(broker, event["type"], **fields)
    dispatcher.flush(broker)

    (heard,) = broker.hear()
    assert (heard.exchange, heard.routing_key) == (sent.exchange, sent.routing_key)
    assert comparable(heard.envelope) == comparable(sent.envelope)
