"""What the golden captures hold, picked out by shape."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from taskctl.core.wire.message import encode_envelope

GOLDEN = Path(__file__).parent.parent / "golden"


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every JSON object inside `value`, outermost first."""
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _objects(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _objects(inner)


def _everywhere() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(GOLDEN.glob("*.json")):
        for number, found in enumerate(_objects(json.loads(path.read_text()))):
            yield f"{path.stem}-{number}", found


def envelopes() -> list[Any]:
    """Return (envelope, decoded body) of every captured message, as parameters."""
    return [
        pytest.param(found["envelope"], found.get("body_decoded"), id=name)
        for name, found in _everywhere()
        if isinstance(found.get("envelope"), dict) and "body" in found["envelope"]
    ]


def metas() -> list[Any]:
    """Return every captured result meta, as parameters."""
    return [
        pytest.param(found, id=name)
        for name, found in _everywhere()
        if {"status", "result", "task_id", "children"} <= found.keys()
        and "id" not in found  # that is a row of a database
    ]


#: Properties of an envelope that Redis needs, and what AMQP says elsewhere.
TRANSPORT = ("delivery_info", "priority", "body_encoding", "delivery_tag")


class Sent(NamedTuple):
    """One message that Celery sent: `body` is what the capture says stands in it."""

    file: str
    broker: str
    exchange: str
    routing_key: str
    envelope: bytes
    body: Any

    @property
    def parts(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.envelope)
        return found

    @property
    def kind(self) -> str:
        """What it is: task, command, reply, event or result."""
        if self.exchange.startswith("reply."):
            return "reply"
        if self.exchange.endswith(".pidbox"):
            return "command"
        if self.exchange == "celeryev":
            return "event"
        is_old = isinstance(self.body, dict) and "task" in self.body
        return "task" if is_old or "task" in self.parts["headers"] else "result"


def _sent(file: str, found: dict[str, Any]) -> Sent | None:
    if isinstance(found.get("envelope"), dict) and "body" in found["envelope"]:
        envelope = found["envelope"]
        place = envelope["properties"]["delivery_info"]
        raw = json.dumps(envelope).encode()
        return Sent(
            file, "redis", place["exchange"], place["routing_key"], raw, found["body_decoded"]
        )
    if "body_base64" not in found:
        return None
    properties = dict(found["properties"])
    raw = encode_envelope(
        base64.b64decode(found["body_base64"]),
        content_type=properties.pop("content_type"),
        content_encoding=properties.pop("content_encoding"),
        headers=properties.pop("headers"),
        priority=properties.pop("priority", 0),
        properties=properties,
        exchange=found["exchange"],
        routing_key=found["routing_key"],
    )
    return Sent(
        file, "amqp", found["exchange"], found["routing_key"], raw, found.get("body_decoded")
    )


def sent(prefix: str = "") -> list[Sent]:
    """Return every message in the files whose names begin so, from both brokers."""
    return [
        message
        for path in sorted(GOLDEN.glob(f"{prefix}*.json"))
        for found in _objects(json.loads(path.read_text()))
        if (message := _sent(path.stem, found)) is not None
    ]


def stored(prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    """Return every result meta that was stored, with the name of its file."""
    return [
        (path.stem, found["value_decoded"])
        for path in sorted(GOLDEN.glob(f"{prefix}*.json"))
        for found in _objects(json.loads(path.read_text()))
        if "status" in (found.get("value_decoded") or ())
    ]
