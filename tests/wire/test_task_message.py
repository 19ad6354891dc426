"""Task messages of both protocols are read; malformed ones end in the two errors they may."""

from __future__ import annotations

import base64
import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.errors import ContentDisallowed, DecodeError, InvalidTaskError
from taskctl.core.wire import codecs
from taskctl.core.wire.message import Message, decode_envelope
from taskctl.core.wire.task_message import (
    TaskBody,
    TaskMessage,
    custom_headers,
    decode_body,
    decode_task,
    encode_body,
)

from . import captures, values

JSON = codecs.accepted_types(["json"])


def envelope(
    body: Any, headers: dict[str, Any] | None = None, properties: dict[str, Any] | None = None
) -> bytes:
    return json.dumps(
        {
            "body": base64.b64encode(json.dumps(body).encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": headers or {},
            "properties": {"body_encoding": "base64", **(properties or {})},
        }
    ).encode()


def _tasks() -> list[Any]:
    return [
        param for param in captures.envelopes() if "task" in (param.values[0].get("headers") or {})
    ]


class TestGolden:
    @pytest.mark.parametrize(("captured", "body"), _tasks())
    def test_captured_headers_are_read(self, captured: Any, body: Any) -> None:
        task = decode_task(json.dumps(captured).encode())

        headers = captured["headers"]
        for name in ("task", "id", "retries", "eta", "expires", "root_id", "parent_id", "group"):
            assert getattr(task.headers, name) == headers[name]
        assert task.headers.limits() == tuple(headers["timelimit"])
        assert task.properties.correlation_id == captured["properties"]["correlation_id"]
        assert task.properties.delivery_info.routing_key is not None

    @pytest.mark.parametrize(("captured", "body"), _tasks())
    def test_captured_bodies_are_read_and_written_again_exactly(
        self, captured: Any, body: Any
    ) -> None:
        message = decode_envelope(json.dumps(captured).encode())
        data = message.body
        if compression := message.headers.get("compression"):
            data = codecs.decompress(data, compression)

        read = decode_body(message, None)

        serializer = codecs.codec_named(message.content_type)
        if "python-serialize" in message.content_type:
            return  # signatures come back as dicts
        *_, written = encode_body(
            read.args,
            read.kwargs,
            serializer=serializer.content_type,
            callbacks=read.callbacks,
            errbacks=read.errbacks,
            chain=read.chain,
            chord=read.chord,
        )
        assert written == data

    def test_protocol_1_is_read(self) -> None:
        found = json.loads((captures.GOLDEN / "task_protocol1.json").read_text())
        captured = json.dumps(found["redis"][0]["envelope"]).encode()

        task = decode_task(captured)
        body = decode_body(decode_envelope(captured), JSON)

        assert task.headers.task == "proj.add"
        assert task.headers.id == "00003401-0000-4000-8000-000000003401"
        assert task.headers.eta == "2026-11-22T06:45:12.287523+00:00"
        assert (body.args, body.kwargs) == ([2], {"y": 3})
        assert body.callbacks is not None
        assert body.callbacks[0]["task"] == "proj.mul"

    def test_a_pickled_chain_is_read_as_plain_signatures(self) -> None:
        found = json.loads((captures.GOLDEN / "task_serializer_pickle_chain.json").read_text())
        captured = json.dumps(found["redis"][0]["envelope"]).encode()

        body = decode_body(decode_envelope(captured), None)

        assert body.chain
        assert {type(step) for step in body.chain} == {dict}


class TestProtocol2:
    def test_task_and_id_suffice(self) -> None:
        task = decode_task(envelope([[], {}, None], {"task": "t", "id": "1"}))

        assert task.headers.retries == 0
        assert task.headers.limits() == (None, None)
        assert task.headers.ignore_result is None
        assert task.properties.priority == 0

    def test_the_body_may_lack_its_last_part(self) -> None:
        for embed in (None, {}):
            body = decode_body(decode_envelope(envelope([[1], {"a": 2}, embed])), JSON)
            assert body == TaskBody(args=[1], kwargs={"a": 2})

    def test_custom_headers_are_the_ones_the_protocol_does_not_know(self) -> None:
        headers = {
            "id": "1",
            "task": "t",
            "tenant": "acme",
            "x-death": [],
            "x-first-death-queue": "q",
            "x-delivery-count": 2,
            "redelivered": True,
        }

        assert custom_headers(headers) == {"tenant": "acme"}

    @given(
        st.lists(values.extended, max_size=3),
        st.dictionaries(st.text(max_size=5), values.extended, max_size=3),
    )
    def test_arguments_come_back(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        content_type, encoding, data = encode_body(args, kwargs, serializer="json")

        message = Message(body=data, content_type=content_type, content_encoding=encoding)

        assert decode_body(message, JSON) == TaskBody(args=args, kwargs=kwargs)


class TestProtocol1:
    def test_only_task_and_id_are_required(self) -> None:
        raw = envelope({"task": "t", "id": "1"})

        assert decode_task(raw).headers.task == "t"
        assert decode_body(decode_envelope(raw), JSON) == TaskBody(args=[], kwargs={})

    def test_taskset_wins_over_group(self) -> None:
        raw = envelope({"task": "t", "id": "1", "group": "g", "taskset": "s"})

        assert decode_task(raw).headers.group == "s"

    def test_a_hybrid_takes_from_its_body_what_its_headers_do_not_say(self) -> None:
        raw = envelope(
            {"task": "other", "id": "2", "args": [1], "kwargs": {"a": 2}, "retries": 7, "eta": "x"},
            {"task": "t", "id": "1", "eta": None},
        )

        task, body = decode_task(raw), decode_body(decode_envelope(raw), JSON)

        headers = task.headers
        assert (headers.task, headers.id, headers.retries, headers.eta) == ("t", "1", 7, None)
        assert (body.args, body.kwargs) == ([1], {"a": 2})

    def test_a_local_eta_is_given_this_machines_offset(self, monkeypatch: Any) -> None:
        raw = envelope({"task": "t", "id": "1", "utc": False, "eta": "2030-01-02T03:04:05"})

        eta = decode_task(raw).headers.eta

        assert eta is not None
        assert eta.startswith("2030-01-02T03:04:05")
        assert len(eta) > len("2030-01-02T03:04:05")


class TestMalformed:
    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            ([1, 2], {}),
            ({}, {}),
            ({"task": 5, "id": "1"}, {}),
            ({"task": "t"}, {}),
            (None, {}),
            ([[], {}, {}], {"task": "t"}),
            ([[], {}, {}], {"task": "t", "id": ""}),
        ],
    )
    def test_what_names_no_task_is_an_invalid_task(self, body: Any, headers: Any) -> None:
        with pytest.raises(InvalidTaskError):
            decode_task(envelope(body, headers))

    @pytest.mark.parametrize(
        "headers",
        [
            {"task": 5, "id": "1"},
            {"task": "t", "id": 5},
            {"task": "t", "id": "1", "retries": "many"},
            {"task": "t", "id": "1", "timelimit": 5},
            {"task": "t", "id": "1", "eta": 17},
        ],
    )
    def test_a_header_of_the_wrong_type_is_a_decode_error(self, headers: Any) -> None:
        with pytest.raises(DecodeError, match="task message"):
            decode_task(envelope([[], {}, {}], headers))

    @pytest.mark.parametrize(
        "body",
        [
            5,
            "abc",
            [],
            [[], {}],
            [[], {}, {}, {}],
            ["args", {}, {}],
            [{}, {}, {}],
            [[], [], {}],
            [[], {}, [1]],
            [[], {}, {"callbacks": 5}],
            [[], {}, {"errbacks": ["x"]}],
            [[], {}, {"chain": {"task": "t"}}],
            [[], {}, {"chord": []}],
            {"args": 5},
            {"kwargs": [1]},
        ],
    )
    def test_a_body_of_the_wrong_shape_is_an_invalid_task(self, body: Any) -> None:
        message = Message(body=json.dumps(body).encode())

        with pytest.raises(InvalidTaskError, match="task "):
            decode_body(message, JSON)

    def test_a_body_that_is_not_accepted_is_refused(self) -> None:
        message = Message(body=b"", content_type="application/x-python-serialize")

        with pytest.raises(ContentDisallowed):
            decode_body(message, JSON)

    @pytest.mark.parametrize("compression", ["rar", "zlib", 5, ["zlib"]])
    def test_a_body_that_cannot_be_inflated_is_a_decode_error(self, compression: Any) -> None:
        message = Message(body=b"[[], {}, {}]", headers={"compression": compression})

        with pytest.raises(DecodeError):
            decode_body(message, JSON)

    @pytest.mark.parametrize("depth", [*range(150, 1100, 50), 50_000])
    @pytest.mark.parametrize("place", ["stamps", "unknown", "properties", "body"])
    def test_a_nest_of_any_depth_is_read_or_one_of_two_errors(self, depth: int, place: str) -> None:
        nest = b"[" * depth + b"]" * depth
        parts = {"stamps": b'{"x": 1}', "unknown": b"2", "properties": b"3", "body": b"4"}
        parts[place] = b'{"x": ' + nest + b"}"
        raw = (
            b'{"headers": {"task": "t", "id": "1", "lang": "py", "stamps": %(stamps)s, '
            b'"x": %(unknown)s}, "properties": {"x": %(properties)s}, "body": %(body)s}'
        ) % {name.encode(): text for name, text in parts.items()}

        with contextlib.suppress(DecodeError, InvalidTaskError):
            decode_task(raw)
        with contextlib.suppress(DecodeError, InvalidTaskError):
            decode_body(decode_envelope(raw), JSON)

    @given(values.plain, st.dictionaries(st.sampled_from(["task", "id", "eta"]), values.plain))
    def test_any_message_is_a_task_or_one_of_two_errors(
        self, body: Any, headers: dict[str, Any]
    ) -> None:
        raw = envelope(body, headers)
        with contextlib.suppress(DecodeError, InvalidTaskError):
            assert isinstance(decode_task(raw), TaskMessage)
        with contextlib.suppress(DecodeError, InvalidTaskError):
            assert isinstance(decode_body(decode_envelope(raw), JSON), TaskBody)

    @given(
        st.dictionaries(
            st.sampled_from("task id args kwargs eta utc taskset callbacks chord retries".split()),
            values.plain,
        )
    )
    def test_any_protocol_1_body_is_a_task_or_one_of_two_errors(self, body: Any) -> None:
        raw = envelope(body)
        with contextlib.suppress(DecodeError, InvalidTaskError):
            assert isinstance(decode_task(raw), TaskMessage)
        with contextlib.suppress(DecodeError, InvalidTaskError):
            assert isinstance(decode_body(decode_envelope(raw), JSON), TaskBody)

    @given(st.binary(max_size=60))
    def test_any_bytes_are_a_task_or_one_of_two_errors(self, data: bytes) -> None:
        with contextlib.suppress(DecodeError, InvalidTaskError):
            decode_task(data)
        for content_type in ("application/json", "application/x-msgpack"):
            with contextlib.suppress(DecodeError, InvalidTaskError):
                decode_body(Message(body=data, content_type=content_type), None)
