"""Envelopes and AMQP messages: the same thing, unpacked for RabbitMQ's wire and packed again.

On the wire the body is bare and properties and headers are AMQP's own (protocol "AMQP
transport"); above the broker every message is an envelope.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from ..errors import DecodeError
from ..wire.message import decode_envelope
from .amqp_codec import Content, encode_properties, read_properties

#: What RabbitMQ writes into headers by itself: how often a quorum queue delivered a message.
COUNTS = ("x-delivery-count", "x-acquired-count")
#: The routing key of a message that went through the delayed-delivery levels starts with these.
_BITS = re.compile(r"^(?:[01]\.){28}")
#: Before the name of a queue: the key of a message that was parked for that queue.
STRAIGHT = "taskctl-queue."
_json = msgspec.json.Encoder()


class _Envelope(msgspec.Struct):
    body: str
    content_encoding: str = msgspec.field(name="content-encoding")
    content_type: str = msgspec.field(name="content-type")
    headers: dict[str, Any]
    properties: dict[str, Any]


def unpack(envelope: bytes, priority: int = 0) -> Content:
    """Return the AMQP message of an envelope; a `priority` other than 0 wins over its own.

    What is no envelope travels as the bytes it is.  Raises EncodeError for headers AMQP cannot
    carry.
    """
    try:
        message = decode_envelope(envelope)
    except DecodeError:
        raw = encode_properties("application/data", "binary", {}, {"delivery_mode": 2})
        return Content(raw, envelope)
    if priority:
        message.properties["priority"] = priority
    properties = encode_properties(
        message.content_type, message.content_encoding, message.headers, message.properties
    )
    return Content(properties, message.body)


def pack(
    content: Content,
    exchange: str,
    routing_key: str,
    tag: str | None,
    redelivered: bool = False,
    queue: str = "",
) -> tuple[bytes, dict[str, Any], dict[str, Any]]:
    """Return (envelope, headers, properties) of a message that came.

    `tag` becomes the envelope's delivery_tag; None derives one from the message itself, the same
    each time it is looked at.  `queue` is where it came from, if that is known.
    """
    try:
        content_type, encoding, headers, properties = read_properties(content.properties)
    except ValueError as exc:
        # Properties of a kind nobody knows: what is left is the body, for the dead-letter queue.
        content_type, encoding, headers = "application/data", "binary", {"x-unreadable": str(exc)}
        properties = {}
    if exchange.startswith("celery_delayed") or (
        routing_key[1:2] == "." and _BITS.match(routing_key)
    ):
        # It waited for its time, and nobody knows any more which exchange it was meant for.
        exchange, routing_key = "", queue or _BITS.sub("", routing_key).removeprefix(STRAIGHT)
    info: dict[str, Any] = {"exchange": exchange, "routing_key": routing_key}
    if redelivered:
        info["redelivered"] = True
    properties.setdefault("priority", 0)
    properties["delivery_info"] = info
    properties["body_encoding"] = "base64"
    properties["delivery_tag"] = tag if tag is not None else _fingerprint(content)
    parts = _Envelope(
        base64.b64encode(content.body).decode("ascii"), encoding, content_type, headers, properties
    )
    return _json.encode(parts), headers, properties


def _fingerprint(content: Content) -> str:
    digest = hashlib.blake2b(content.body, digest_size=16)
    digest.update(content.properties)
    return str(UUID(bytes=digest.digest()))


def still(content: Content, exchange: str, routing_key: str) -> bytes:
    """Return the envelope of a waiting message, without what changes when somebody looks at it."""
    envelope, headers, _ = pack(content, exchange, routing_key, "")
    if not any(name in headers for name in COUNTS):
        return pack(content, exchange, routing_key, None)[0]
    parts = msgspec.json.decode(envelope)
    for name in COUNTS:
        parts["headers"].pop(name, None)
    parts["properties"]["delivery_tag"] = str(
        UUID(bytes=hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).digest())
    )
    return msgspec.json.encode(parts)


def identity(headers: Mapping[str, Any], properties: Mapping[str, Any]) -> str:
    """Return what stays the same when RabbitMQ delivers a message again: its task, and which try.

    Empty for a message without an id.
    """
    found = headers.get("id") or properties.get("correlation_id") or properties.get("message_id")
    return f"{found}|{headers.get('retries') or 0}|{headers.get('eta') or ''}" if found else ""
