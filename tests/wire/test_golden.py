"""Whatever Celery was captured to send is read without loss, and written again as it was.

Each message of both brokers, RabbitMQ's in the envelope in which its broker hands it up.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from taskctl.core.wire import codecs
from taskctl.core.wire.command_message import (
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
)
from taskctl.core.wire.event_message import decode_events, encode_events
from taskctl.core.wire.message import decode_envelope
from taskctl.core.wire.queues import Queue, topic_matches
from taskctl.core.wire.result_meta import decode_meta, encode_exception, encode_meta
from taskctl.core.wire.task_message import (
    TaskHeaders,
    custom_headers,
    decode_body,
    decode_task,
    encode_body,
)

from . import captures
from .captures import TRANSPORT, Sent

JSON = codecs.accepted_types(["json"])
ALL = codecs.accepted_types(["json", "pickle", "yaml", "msgpack"])
#: Marks that a broker puts on a message it gives back.
MARKS = {"redelivered"}


def of_kind(kind: str) -> list[Any]:
    counts: dict[str, int] = {}
    found = []
    for one in captures.sent():
        if one.kind == kind:
            counts[one.file] = counts.get(one.file, 0) + 1
            found.append(pytest.param(one, id=f"{one.file}-{one.broker}-{counts[one.file]}"))
    return found


def without_transport(envelope: bytes) -> dict[str, Any]:
    """Return an envelope's parts without what names this one copy of it."""
    parts: dict[str, Any] = json.loads(envelope)
    del parts["properties"]["delivery_tag"]
    return parts


@pytest.mark.parametrize("sent", of_kind("task"))
def test_no_header_of_a_task_is_lost(sent: Sent) -> None:
    headers = sent.parts["headers"]
    body = sent.body if "task" not in headers else {}

    task = decode_task(sent.envelope, ALL)

    known = set(TaskHeaders.__struct_fields__)
    for name, value in {**body, **headers}.items():
        if name in known:
            assert getattr(task.headers, name) == value, name
    custom = custom_headers(headers)
    assert set(headers) == (set(headers) & known) | set(custom) | (MARKS & set(headers))
    properties = sent.parts["properties"]
    assert task.properties.correlation_id == properties["correlation_id"]
    assert task.properties.reply_to == properties["reply_to"]
    assert task.properties.priority == properties["priority"]
    info = task.properties.delivery_info
    assert (info.exchange, info.routing_key) == (sent.exchange, sent.routing_key)


@pytest.mark.parametrize("sent", of_kind("task"))
def test_no_argument_and_no_signature_of_a_task_is_lost(sent: Sent) -> None:
    message = decode_envelope(sent.envelope)
    data = message.body
    if compression := message.headers.get("compression"):
        data = codecs.decompress(data, compression)

    read = decode_body(message, ALL)

    serializer = message.content_type
    if not message.headers.get("task"):  # protocol 1, which is not written
        assert [read.args, read.kwargs] == [sent.body["args"], sent.body["kwargs"]]
        assert read.callbacks == sent.body["callbacks"]
        assert (read.errbacks, read.chord) == (sent.body["errbacks"], sent.body["chord"])
        return
    embed = {
        "callbacks": read.callbacks,
        "errbacks": read.errbacks,
        "chain": read.chain,
        "chord": read.chord,
    }
    again = encode_body(read.args, read.kwargs, serializer=serializer, **embed)[2]
    if serializer in ("application/json", "application/x-msgpack"):
        assert again == data
    else:  # tuples of a pickle are lists now, signatures plain, and YAML has its own order
        reread = codecs.decode(data, serializer, message.content_encoding)
        assert plain(reread) == plain([read.args, read.kwargs, embed])
        assert plain(codecs.decode(again, serializer, "binary")) == plain(reread)


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    return json.loads(json.dumps(value))


@pytest.mark.parametrize("sent", of_kind("command"))
def test_a_command_is_read_and_written_as_it_was(sent: Sent) -> None:
    request = decode_request(sent.envelope, JSON)

    again = encode_request(request, sent.exchange.removesuffix(".pidbox"))

    assert without_transport(again) == without_transport(sent.envelope)
    assert decode_envelope(again).body == decode_envelope(sent.envelope).body


@pytest.mark.parametrize("sent", of_kind("reply"))
def test_a_reply_is_read_and_written_as_it_was(sent: Sent) -> None:
    (reply,) = decode_reply(sent.envelope, JSON)

    again = encode_reply(
        reply, {"exchange": sent.exchange, "routing_key": sent.routing_key}, "json"
    )

    assert (again.exchange, again.routing_key) == (sent.exchange, sent.routing_key)
    assert without_transport(again.envelope) == without_transport(sent.envelope)
    assert {reply.node: reply.value} == sent.body


@pytest.mark.parametrize("sent", of_kind("event"))
def test_events_are_read_and_written_as_they_were(sent: Sent) -> None:
    events = decode_events(sent.envelope, JSON)

    again = encode_events(
        events if isinstance(sent.body, list) else events[0],
        exchange=sent.exchange,
        key=sent.routing_key,
        hostname=sent.parts["headers"]["hostname"],
    )

    assert events == (sent.body if isinstance(sent.body, list) else [sent.body])
    assert without_transport(again) == without_transport(sent.envelope)


def written_again(meta: dict[str, Any]) -> bytes:
    """Return what we write of the result that a captured meta tells of."""
    usual = "status result traceback children date_done group_id parent_id task_id".split()
    extended = {k: v for k, v in meta.items() if k not in usual}
    read = decode_meta(json.dumps(meta).encode())
    done = meta["date_done"]
    return encode_meta(
        task_id=meta["task_id"],
        state=meta["status"],
        result=read["result"],
        traceback=meta["traceback"],
        children=meta["children"],
        date_done=done and datetime.fromisoformat(done),
        group_id=meta.get("group_id"),
        parent_id=meta.get("parent_id"),
        extended=extended,
    )


@pytest.mark.parametrize("sent", of_kind("result"))
def test_a_result_that_travels_is_read_and_written_as_it_was(sent: Sent) -> None:
    assert written_again(sent.body) == decode_envelope(sent.envelope).body


@pytest.mark.parametrize(
    "meta",
    [pytest.param(meta, id=f"{name}-{n}") for n, (name, meta) in enumerate(captures.stored())],
)
def test_a_result_that_was_stored_is_read_and_written_as_it_was(meta: dict[str, Any]) -> None:
    assert written_again(meta) == json.dumps(meta).encode()


def test_the_rows_of_the_database_backend_hold_what_json_reads() -> None:
    found = json.loads((captures.GOLDEN / "result_database.json").read_text())

    for row in found["celery_taskmeta"]:
        result = codecs.json_decode(row["result"].encode())
        if row["status"] == "FAILURE":
            meta = {"status": "FAILURE", "result": result, "task_id": row["task_id"]}
            exc = decode_meta(json.dumps(meta).encode())["result"]
            assert encode_exception(exc) == result
        assert codecs.json_encode(result).decode() == row["result"]
    assert found["celery_tasksetmeta"]
    for row in found["celery_tasksetmeta"]:
        assert (
            codecs.json_encode(codecs.json_decode(row["result"].encode())).decode()
            == (row["result"])
        )


def test_a_saved_group_is_read_as_ids() -> None:
    found = json.loads((captures.GOLDEN / "result_redis_group.json").read_text())

    for entry in found["redis"]:
        (key, parent), parts = entry["value_decoded"]["result"]
        assert entry["key"] == f"celery-taskset-meta-{key}"
        assert parent is None
        assert [part[1] for part in parts] == [None] * len(parts)


def test_transport_properties_are_the_ones_an_envelope_has() -> None:
    for one in captures.sent():
        assert set(TRANSPORT) <= set(one.parts["properties"])


def test_the_topology_of_delayed_delivery_is_declared_in_terms_we_have() -> None:
    found = json.loads((captures.GOLDEN / "amqp_quorum_delayed_topology.json").read_text())
    calls = [line.partition(" ") for line in found["methods"]]
    declared = [json.loads(text) for method, _, text in calls if method == "Queue.Declare"]

    for fields in declared:
        queue = Queue(
            name=fields["queue"],
            durable=fields["durable"],
            exclusive=fields["exclusive"],
            auto_delete=fields["auto_delete"],
            queue_arguments=fields["arguments"],
        )
        assert queue.describe()["queue_arguments"] == fields["arguments"]
    delayed = [fields["queue"] for fields in declared if "delayed" in fields["queue"]]
    assert delayed == [f"celery_delayed_{level}" for level in range(27, -1, -1)]
    levels = {key: binding_level(key) for key in ("1.#", "*.1.#", "*.*.1.#")}
    assert levels == {"1.#": 27, "*.1.#": 26, "*.*.1.#": 25}


def binding_level(key: str) -> int:
    """Return the highest level whose bit in a delay of that many seconds the key takes."""
    for level in range(27, -1, -1):
        bits = ".".join(f"{1 << level:028b}")
        if topic_matches(key, f"{bits}.celery"):
            return level
    raise AssertionError(key)
