"""What goes over RabbitMQ's wire is what Celery's peers put there, and is read back as it was."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.brokers import amqp_codec as codec
from taskctl.core.brokers.amqp_codec import Content
from taskctl.core.brokers.amqp_delay import delayed_key, topology
from taskctl.core.brokers.amqp_envelope import pack, still, unpack
from taskctl.core.errors import EncodeError
from taskctl.core.wire.message import encode_envelope

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def published() -> list[Any]:
    found = []
    for path in sorted(GOLDEN.glob("*.json")):
        case = json.loads(path.read_text())
        words = case.get("amqp") if isinstance(case, dict) else None
        for number, one in enumerate(words if isinstance(words, list) else []):
            if "properties" in one and "body_base64" in one:
                found.append(pytest.param(one, id=f"{path.stem}-{number}"))
    return found


@pytest.mark.parametrize("captured", published())
def test_every_captured_message_survives_the_way_out_and_in(captured: dict[str, Any]) -> None:
    properties = dict(captured["properties"])
    body = base64.b64decode(captured["body_base64"])
    envelope = encode_envelope(
        body,
        content_type=properties.pop("content_type"),
        content_encoding=properties.pop("content_encoding"),
        headers=properties.pop("headers", {}),
        priority=properties.pop("priority", 0),
        properties=properties,
        exchange=captured["exchange"],
        routing_key=captured["routing_key"],
    )

    content = unpack(envelope)

    assert content.body == body, "bare, without base64"
    content_type, encoding, headers, found = codec.read_properties(content.properties)
    found.update(content_type=content_type, content_encoding=encoding, headers=headers)
    assert found == {"headers": {}, "priority": 0, **captured["properties"]}


def test_the_levels_of_delayed_delivery_are_celerys() -> None:
    captured = json.loads((GOLDEN / "amqp_quorum_delayed_topology.json").read_text())["methods"]
    wanted = [one for one in captured if "celery_delayed" in one and "task" not in one]

    ours = set(map(_told, topology("quorum")))

    theirs = {_plain(one) for one in wanted if not _is_binding_of_a_task_queue(one)}
    assert theirs <= ours
    assert len(ours) == 28 * 4 + 1


def _told(method: Any) -> str:
    names = {"type": "exchange_type"}
    fields = {names.get(name, name): value for name, value in vars(method).items()}
    fields["arguments"] = fields["arguments"] or {}
    fields.pop("ticket", None)
    fields.pop("internal", None)
    return f"{method.NAME} {json.dumps(fields, sort_keys=True)}"


def _plain(told: str) -> str:
    name, _, fields = told.partition(" ")
    known = json.loads(fields)
    known.pop("internal", None)
    return f"{name} {json.dumps({'arguments': {}, **known}, sort_keys=True)}"


def _is_binding_of_a_task_queue(told: str) -> bool:
    fields = json.loads(told.partition(" ")[2])
    return str(fields.get("routing_key", "")).startswith("#.")


def test_the_key_of_a_delayed_message_is_its_bits_and_the_key_behind() -> None:
    key = delayed_key(5.9, "celery")

    assert key == "0." * 25 + "1.0.1.celery"
    assert delayed_key(1, key) == "0." * 27 + "1.celery", "an earlier delay is taken off"


keys = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(keys, values, max_size=8))
def test_tables_are_read_back_as_they_were_written(table: dict[str, Any]) -> None:
    assert codec.read_table(codec.encode_table(table)) == table


@given(st.binary(max_size=300))
def test_torn_properties_are_told_and_never_break_anything(data: bytes) -> None:
    envelope, _, properties = pack(Content(data, b"body"), "", "q", "tag")

    assert msgspec.json.decode(envelope)["properties"]["delivery_tag"] == "tag"
    assert properties["delivery_info"]["routing_key"] == "q"


@given(st.binary(max_size=5000), st.integers(64, 4096))
def test_a_body_is_cut_into_frames_that_fit(body: bytes, frame_max: int) -> None:
    content = Content(codec.encode_properties("a/b", "binary", {}, {}), body)

    frames = codec.content_frames(7, codec.publish_method("", "q", True), content, frame_max)

    at, pieces = 0, []
    while at < len(frames):
        size = int.from_bytes(frames[at + 3 : at + 7], "big")
        assert size + 8 <= frame_max and frames[at + 7 + size] == 0xCE
        pieces.append((frames[at], frames[at + 7 : at + 7 + size]))
        at += size + 8
    assert b"".join(part for kind, part in pieces if kind == codec.BODY) == body
    assert int.from_bytes(pieces[1][1][4:12], "big") == len(body)


def test_a_waiting_message_looks_the_same_each_time() -> None:
    counted = {"id": "a", "x-delivery-count": 1}
    again = {"id": "a", "x-delivery-count": 2}
    one, two = (
        Content(codec.encode_properties("text/plain", "utf-8", headers, {}), b"x")
        for headers in (counted, again)
    )

    assert still(one, "", "q") == still(two, "", "q")


def test_names_longer_than_amqp_has_are_refused() -> None:
    with pytest.raises(EncodeError, match="255 bytes are the most"):
        codec.publish_method("", "q" * 256, True)
