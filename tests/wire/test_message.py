"""The envelope is Celery's text, byte for byte, and survives whatever is put in its place."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.errors import DecodeError
from taskctl.core.wire import codecs
from taskctl.core.wire.message import (
    Message,
    decode_envelope,
    encode_envelope,
    mark_redelivered,
    unpack_body,
)

from . import captures, values

#: Added by the transport; the rest are the sender's.
TRANSPORT = ("delivery_info", "priority", "body_encoding", "delivery_tag")


def encoded_again(message: Message) -> bytes:
    properties = dict(message.properties)
    info = properties["delivery_info"]
    return encode_envelope(
        message.body,
        content_type=message.content_type,
        content_encoding=message.content_encoding,
        headers=message.headers,
        properties={name: value for name, value in properties.items() if name not in TRANSPORT},
        exchange=info["exchange"],
        routing_key=info["routing_key"],
        priority=properties["priority"],
        delivery_tag=properties["delivery_tag"],
    )


@pytest.mark.parametrize(("envelope", "body"), captures.envelopes())
def test_a_captured_message_is_written_again_exactly(envelope: Any, body: Any) -> None:
    captured = json.dumps(envelope).encode()
    message = decode_envelope(captured)

    written = encoded_again(message)
    if "redelivered" in envelope["properties"]["delivery_info"]:
        written = mark_redelivered(written)

    assert written == captured


@pytest.mark.parametrize(("envelope", "body"), captures.envelopes())
def test_a_captured_body_is_read_as_it_was_meant(envelope: Any, body: Any) -> None:
    message = decode_envelope(json.dumps(envelope).encode())
    data = message.body
    if compression := message.headers.get("compression"):
        data = codecs.decompress(data, compression)
    if message.content_type not in ("application/json", "application/x-msgpack"):
        pytest.skip(f"{message.content_type} was captured undecoded")

    read = codecs.decode(data, message.content_type, message.content_encoding)

    if message.content_type == "application/json" and b'"__type__"' in data:
        assert codecs.json_encode(read) == data
    elif body is not None:
        assert read == body


@given(
    body=st.binary(max_size=50),
    headers=st.dictionaries(st.text(max_size=8), values.plain, max_size=4),
    priority=st.integers(0, 9),
    routing_key=st.text(max_size=8),
)
def test_every_message_comes_back(
    body: bytes, headers: dict[str, Any], priority: int, routing_key: str
) -> None:
    envelope = encode_envelope(
        body,
        content_type="application/x-msgpack",
        content_encoding="binary",
        headers=headers,
        properties={"correlation_id": "a"},
        exchange="x",
        routing_key=routing_key,
        priority=priority,
    )

    message = decode_envelope(envelope)

    assert (message.body, message.headers) == (body, headers)
    assert message.properties["priority"] == priority
    assert message.properties["delivery_info"] == {"exchange": "x", "routing_key": routing_key}


def test_each_message_has_a_delivery_tag_of_its_own() -> None:
    def tag() -> str:
        envelope = encode_envelope(
            b"",
            content_type="application/json",
            content_encoding="utf-8",
            headers={},
            properties={},
            exchange="",
            routing_key="celery",
        )
        return str(decode_envelope(envelope).properties["delivery_tag"])

    assert tag() != tag()


def test_fields_that_are_missing_or_null_have_their_defaults() -> None:
    message = decode_envelope(b'{"body": "x", "content-encoding": null, "more": 1}')

    assert message == Message(body=b"x")


@pytest.mark.parametrize(
    "envelope",
    [
        b"",
        b"not json",
        b"[]",
        b"null",
        b"5",
        b'{"headers": []}',
        b'{"properties": null, "body": ""}',
        b'{"body": 5}',
        b'{"body": "%%%", "properties": {"body_encoding": "base64"}}',
        b'{"body": "\\ud800"}',
        b'{"body": "x", "content-encoding": "no such"}',
        b'{"body": "x", "content-encoding": "idna\\u0000"}',
        b'{"body": "' + b"." * 100 + b'", "content-encoding": "idna"}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
)
def test_what_is_no_envelope_is_a_decode_error(envelope: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_envelope(envelope)


@given(st.binary(max_size=60) | values.plain.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_a_message_or_a_decode_error(data: bytes) -> None:
    with contextlib.suppress(DecodeError):
        assert isinstance(decode_envelope(data), Message)
    assert isinstance(mark_redelivered(data), bytes)


@given(values.plain, st.none() | st.text(max_size=6) | st.just("base64"), st.text(max_size=8))
def test_any_body_is_bytes_or_a_decode_error(body: Any, kind: str | None, encoding: str) -> None:
    with contextlib.suppress(DecodeError):
        assert isinstance(unpack_body(body, kind, encoding), bytes)


def test_a_hand_written_body_may_be_json_itself() -> None:
    message = decode_envelope(b'{"body": [[2, 3], {}, null], "headers": {"task": "t", "id": "1"}}')

    assert json.loads(message.body) == [[2, 3], {}, None]


def test_a_redelivered_message_bears_kombus_marks_and_its_count() -> None:
    envelope = json.dumps(
        {"body": "", "headers": {"id": "1"}, "properties": {"delivery_info": {"exchange": ""}}}
    ).encode()

    marked = json.loads(mark_redelivered(envelope, deliveries=2))

    assert marked["headers"] == {"id": "1", "redelivered": True, "x-delivery-count": 2}
    assert marked["properties"]["delivery_info"] == {"exchange": "", "redelivered": True}
