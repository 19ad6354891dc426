"""A message in its envelope: the one shape in which messages travel and wait.

The envelope is the JSON text that Celery keeps in Redis (kombu virtual transport).  Every broker
of taskctl hands this text up and takes it down; only RabbitMQ, whose wire knows properties and
headers of its own, unpacks it.
"""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import uuid4

import msgspec

from ..errors import DecodeError, EncodeError

#: Persistent and transient, as AMQP numbers them.
PERSISTENT, TRANSIENT = 2, 1


class Message(msgspec.Struct, kw_only=True):
    """A decoded envelope: raw body bytes, headers and properties."""

    body: bytes
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    headers: dict[str, Any] = {}
    properties: dict[str, Any] = {}


class Publication(msgspec.Struct, array_like=True, kw_only=True):
    """One message ready to publish: where to, and the envelope.

    `exchange` "" routes straight to the queue named by `routing_key`.  `due` (unix time,
    float) asks the broker to hold the message until then; a broker that cannot, publishes it
    at once and the worker holds it.  `task_id` lets a held message be found again.

    `queue_expires` (seconds, float) marks an answer for a queue that its reader alone declares: a
    broker that knows that this queue is not there (any more) drops the message, one that cannot
    know keeps the queue for so long.
    """

    exchange: str
    routing_key: str
    envelope: bytes
    priority: int = 0
    due: float | None = None
    task_id: str | None = None
    queue_expires: float | None = None


def encode_envelope(
    body: bytes,
    *,
    content_type: str,
    content_encoding: str,
    headers: dict[str, Any],
    properties: dict[str, Any],
    exchange: str,
    routing_key: str,
    priority: int = 0,
    delivery_tag: str | None = None,
) -> bytes:
    """Return the envelope text; key order and separators are Celery's.

    `properties` may hold correlation_id, reply_to, delivery_mode, expiration and others; the
    transport's own four are added here.  `priority` 0-9 travels as given.

    Raises EncodeError for a header or property that JSON has no word for.
    """
    properties = {
        **properties,
        "delivery_info": {"exchange": exchange, "routing_key": routing_key},
        "priority": priority,
        "body_encoding": "base64",
        "delivery_tag": delivery_tag or str(uuid4()),
    }
    envelope = {
        "body": base64.b64encode(body).decode("ascii"),
        "content-encoding": content_encoding,
        "content-type": content_type,
        "headers": headers,
        "properties": properties,
    }
    try:
        return json.dumps(envelope).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        raise EncodeError(_what_is_wrong(headers, properties)) from None


def _what_is_wrong(headers: dict[str, Any], properties: dict[str, Any]) -> str:
    """Return which header or property cannot travel, and why."""
    for kind, values in (("header", headers), ("property", properties)):
        for name, value in values.items():
            try:
                json.dumps({name: value})
            except (TypeError, ValueError) as exc:
                reason = str(exc).partition("\n")[0]
                return f"{kind} {str(name)[:80]!r} cannot travel: {reason} (send text)"
            except RecursionError:
                return f"{kind} {str(name)[:80]!r} cannot travel: it is nested too deep"
    return "the headers cannot travel: they are nested too deep"


class _Envelope(msgspec.Struct):
    body: Any = ""
    content_encoding: str | None = msgspec.field(name="content-encoding", default="utf-8")
    content_type: str | None = msgspec.field(name="content-type", default="application/json")
    headers: dict[str, Any] = {}
    properties: dict[str, Any] = {}


_decoder = msgspec.json.Decoder(_Envelope)


def decode_envelope(envelope: bytes) -> Message:
    """Return the message in an envelope.

    Raises DecodeError if the text is not an envelope.
    """
    try:
        parts = _decoder.decode(envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        parts = _decode_leniently(envelope)
    encoding = parts.content_encoding or "utf-8"
    body = unpack_body(parts.body, parts.properties.get("body_encoding"), encoding)
    return Message(
        body=body,
        content_type=parts.content_type or "application/data",
        content_encoding=encoding,
        headers=parts.headers,
        properties=parts.properties,
    )


def _decode_leniently(envelope: bytes) -> _Envelope:
    """Take what Python's json takes (NaN, lone surrogates) before giving up."""
    try:
        parts = json.loads(envelope)
        return msgspec.convert(parts, _Envelope)
    except (ValueError, RecursionError, msgspec.MsgspecError) as exc:
        raise DecodeError(f"not a message envelope: {exc}") from exc


def unpack_body(body: Any, body_encoding: str | None, content_encoding: str) -> bytes:
    """Return the raw body bytes of an envelope's `body` field.

    Raises DecodeError if it is neither base64 (when it says so) nor text.
    """
    if isinstance(body, str):
        if body_encoding == "base64":
            try:
                return base64.b64decode(body, validate=True)
            except ValueError as exc:
                raise DecodeError(f"message body is not base64: {exc}") from exc
        try:
            return body.encode("utf-8" if content_encoding == "binary" else content_encoding)
        except (LookupError, ValueError) as exc:
            raise DecodeError(f"message body is not {content_encoding}: {exc}") from exc
    if isinstance(body, dict | list):  # a hand-written message: the decoded body itself
        try:
            return json.dumps(body).encode()
        except RecursionError as exc:
            raise DecodeError(f"message body is nested too deep: {exc}") from exc
    raise DecodeError(f"message body is {type(body).__name__}, text expected")


def mark_redelivered(envelope: bytes, deliveries: int | None = None) -> bytes:
    """Return the envelope with kombu's two redelivery marks set.

    `deliveries`, when given, is kept in the header `x-delivery-count`, the name RabbitMQ's
    quorum queues use.  An envelope that cannot be read is returned as it is.
    """
    try:
        parts = json.loads(envelope)
        parts["headers"]["redelivered"] = True
        parts["properties"]["delivery_info"]["redelivered"] = True
        if deliveries is not None:
            parts["headers"]["x-delivery-count"] = deliveries
        return json.dumps(parts).encode("ascii")
    except (ValueError, KeyError, TypeError, RecursionError):
        return envelope
