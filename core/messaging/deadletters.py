"""Dead letters: messages that nobody may run again, kept with the reason why.

`bury` writes one, `read` tells what it says, `revive` makes the message that it once was.
"""

from __future__ import annotations

import base64
import binascii
import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec

from ..wire.message import Publication

#: Reasons a message is buried.
WORKER_LOST = "worker-lost"
MALFORMED = "malformed"
UNREGISTERED = "unregistered"
REJECTED = "rejected"
REFUSED = "refused"
#: The header that holds the facts of a burial.
HEADER = "taskctl-dead"
#: Marks of a broker on a message that was given back; a revived one begins anew.
_MARKS = ("redelivered", "x-delivery-count")
#: Longest traceback that is kept: its end, where the error is.
_TRACEBACK_KEPT = 20_000


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """What a dead letter says.

    `id` is the task's; for a message without one it is the tag of the letter itself.  `attempts`
    counts the deliveries it had.  `exception` is what went wrong, in words; what nobody knows of
    a letter (one that was put there by hand has no header) is None.
    """

    id: str
    task: str | None
    queue: str | None
    reason: str | None
    failed_at: float | None
    attempts: int | None
    node: str | None
    exception: str | None
    traceback: str | None
    envelope: bytes


def bury(
    envelope: bytes,
    *,
    reason: str,
    detail: str,
    source: str,
    node: str,
    queue: str,
    deliveries: int = 0,
    attempts: int | None = None,
    traceback: str | None = None,
    task_id: str | None = None,
) -> Publication:
    """Return the message on its way to the dead-letter `queue`.

    The envelope is kept whole with one more header; bytes that are no envelope are wrapped into
    one as raw data, so that not even these are lost.  `source` is the queue it came from,
    `deliveries` how often it was lost before, `attempts` how often it was delivered in all.
    """
    facts: dict[str, Any] = {
        "reason": reason,
        "detail": detail,
        "queue": source,
        "node": node,
        "deliveries": deliveries,
        "attempts": deliveries + 1 if attempts is None else attempts,
        "at": time.time(),
    }
    if traceback:
        facts["traceback"] = traceback[-_TRACEBACK_KEPT:]
    place = {"exchange": "", "routing_key": queue}
    try:
        parts = json.loads(envelope)
        properties = parts["properties"]
        facts["delivery_info"] = properties.get("delivery_info")
        parts["headers"][HEADER] = facts
        properties["delivery_info"] = place
        properties["delivery_tag"] = str(uuid4())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        facts["raw"] = True
        facts.pop("delivery_info", None)
        parts = _wrapped(envelope, facts, place)
    return Publication(
        exchange="", routing_key=queue, envelope=json.dumps(parts).encode(), task_id=task_id
    )


def _wrapped(raw: bytes, facts: dict[str, Any], place: dict[str, str]) -> dict[str, Any]:
    return {
        "body": base64.b64encode(raw).decode("ascii"),
        "content-encoding": "binary",
        "content-type": "application/data",
        "headers": {HEADER: facts},
        "properties": {
            "delivery_info": place,
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),
        },
    }


def read(envelope: bytes) -> Letter:
    """Return what a letter says; never fails, whatever lies in the dead-letter queue."""
    parts = _parts(envelope)
    headers, facts = _dict(parts, "headers"), _dict(_dict(parts, "headers"), HEADER)
    tag = _dict(parts, "properties").get("delivery_tag")
    return Letter(
        id=_text(headers.get("id")) or _text(tag) or f"unreadable-{binascii.crc32(envelope):08x}",
        task=_text(headers.get("task")),
        queue=_text(facts.get("queue")),
        reason=_text(facts.get("reason")),
        failed_at=_number(facts.get("at")),
        attempts=_attempts(facts),
        node=_text(facts.get("node")),
        exception=_text(facts.get("detail")),
        traceback=_text(facts.get("traceback")),
        envelope=envelope,
    )


def _attempts(facts: dict[str, Any]) -> int | None:
    found = facts.get("attempts")
    if isinstance(found, int):
        return found
    before = facts.get("deliveries")  # a letter of an older version
    return before + 1 if isinstance(before, int) else None


def headers(letter: Letter) -> dict[str, Any]:
    """Return the headers of a letter's message, without the facts of its burial."""
    found = _dict(_parts(letter.envelope), "headers")
    return {key: value for key, value in found.items() if key != HEADER}


def claim(letter: Letter, queue: str) -> Publication:
    """Return the same letter with a mark of its own: whoever puts it in its place owns it."""
    parts = _parts(letter.envelope)
    _dict(_dict(parts, "headers"), HEADER)["claim"] = str(uuid4())
    return Publication(exchange="", routing_key=queue, envelope=json.dumps(parts).encode())


def revive(letter: Letter, now: float | None = None) -> Publication | None:
    """Return the message on its way back to its queue: the same id, no attempt counted.

    A time of expiry that has passed is dropped: whoever revives it wants it to run.  None for a
    letter that does not say where it came from, or was tampered with.
    """
    parts = _parts(letter.envelope)
    headers, facts = _dict(parts, "headers"), _dict(_dict(parts, "headers"), HEADER)
    queue = letter.queue
    if not queue:
        return None
    if facts.get("raw") is True:
        return _unwrapped(parts.get("body"), queue)
    for mark in (HEADER, *_MARKS):
        headers.pop(mark, None)
    if _has_passed(headers.get("expires"), time.time() if now is None else now):
        headers["expires"] = None
    properties = _dict(parts, "properties")
    properties["delivery_info"] = _origin(facts, queue)
    properties["delivery_tag"] = str(uuid4())
    return Publication(
        exchange="",
        routing_key=queue,
        envelope=json.dumps(parts).encode(),
        priority=_priority(properties.get("priority")),
        task_id=_text(headers.get("id")),
    )


def _unwrapped(body: Any, queue: str) -> Publication | None:
    try:
        raw = base64.b64decode(body, validate=True)
    except (ValueError, TypeError):
        return None  # not wrapped by us
    return Publication(exchange="", routing_key=queue, envelope=raw)


def _origin(facts: dict[str, Any], queue: str) -> dict[str, Any]:
    known = _dict(facts, "delivery_info")
    known.pop("redelivered", None)
    return known or {"exchange": "", "routing_key": queue}


def _has_passed(expires: Any, now: float) -> bool:
    if not isinstance(expires, str):
        return False
    try:
        when = datetime.fromisoformat(expires)
    except ValueError:
        return False
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() <= now


def _parts(envelope: bytes) -> dict[str, Any]:
    try:
        parts = json.loads(envelope)
    except (ValueError, RecursionError):
        return {}
    return parts if isinstance(parts, dict) else {}


def _dict(parts: dict[str, Any], key: str) -> dict[str, Any]:
    found = parts.get(key)
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _priority(value: Any) -> int:
    return value if isinstance(value, int) and 0 <= value <= 255 else 0
