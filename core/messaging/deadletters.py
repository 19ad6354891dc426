"""Dead letters: messages that nobody may run again, kept with the reason why."""

from __future__ import annotations

import json
import time
from typing import Any
from uuid import uuid4

from ..wire.message import Publication

#: Reasons a message is buried.
WORKER_LOST = "worker-lost"
MALFORMED = "malformed"
UNREGISTERED = "unregistered"
REJECTED = "rejected"
REFUSED = "refused"
#: The header that holds the facts of a burial.
HEADER = "taskctl-dead"


def bury(
    envelope: bytes,
    *,
    reason: str,
    detail: str,
    source: str,
    node: str,
    queue: str,
    deliveries: int = 0,
    task_id: str | None = None,
) -> Publication:
    """Return the message on its way to the dead-letter `queue`.

    The envelope is kept whole with one more header; bytes that are no envelope are wrapped into
    one as raw data, so that not even these are lost.  `source` is the queue it came from.
    """
    facts: dict[str, Any] = {
        "reason": reason,
        "detail": detail,
        "queue": source,
        "node": node,
        "deliveries": deliveries,
        "at": time.time(),
    }
    try:
        parts = json.loads(envelope)
        parts["headers"][HEADER] = facts
        parts["properties"]["delivery_info"] = {"exchange": "", "routing_key": queue}
        parts["properties"]["delivery_tag"] = str(uuid4())
    except (ValueError, TypeError, KeyError):
        parts = {
            "body": envelope.decode("utf-8", "replace"),
            "content-encoding": "utf-8",
            "content-type": "text/plain",
            "headers": {HEADER: facts},
            "properties": {
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": None,
                "delivery_tag": str(uuid4()),
            },
        }
    return Publication(
        exchange="", routing_key=queue, envelope=json.dumps(parts).encode(), task_id=task_id
    )
