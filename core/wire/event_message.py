"""Events, as Celery's event dispatcher puts them on the wire.

Source: protocol "events".  Task events travel as an array on `task.multi`, worker events alone.
"""

from __future__ import annotations

from typing import Any

from . import codecs
from .message import TRANSIENT, decode_envelope, encode_envelope

#: How Celery names the software of a worker.
SOFTWARE = "py-taskctl"
#: Routing key of a batch of task events.
MULTI = "task.multi"


def routing_key(event_type: str) -> str:
    """Return the key an event is published with: `task-received` gives `task.received`."""
    return event_type.replace("-", ".")


def encode_events(
    events: dict[str, Any] | list[dict[str, Any]],
    *,
    exchange: str,
    key: str,
    hostname: str,
    serializer: str = "json",
) -> bytes:
    """Return the envelope of one event (a dict) or a batch (a list)."""
    content_type, encoding, data = codecs.encode(events, serializer)
    return encode_envelope(
        data,
        content_type=content_type,
        content_encoding=encoding,
        headers={"hostname": hostname},
        properties={"delivery_mode": TRANSIENT},
        exchange=exchange,
        routing_key=key,
    )


def decode_events(envelope: bytes, accept: frozenset[str]) -> list[dict[str, Any]]:
    """Return the events of an envelope, one or a batch; what is no event is left out.

    Raises DecodeError or ContentDisallowed.
    """
    message = decode_envelope(envelope)
    body = codecs.decode(message.body, message.content_type, message.content_encoding, accept)
    events = body if isinstance(body, list) else [body]
    return [e for e in events if isinstance(e, dict) and isinstance(e.get("type"), str)]
