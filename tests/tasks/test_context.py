"""The request context: what a running task may ask about its own call."""

from __future__ import annotations

from typing import Any

import pytest

from taskctl.core.errors import ContentDisallowed, InvalidTaskError
from taskctl.core.tasks.context import Context, open_body
from taskctl.core.wire import codecs
from taskctl.core.wire.message import encode_envelope
from taskctl.core.wire.task_message import decode_task, encode_body

HEADERS: dict[str, Any] = {
    "lang": "py",
    "task": "proj.add",
    "id": "id-1",
    "shadow": None,
    "eta": None,
    "expires": "2030-01-01T00:00:00+00:00",
    "group": "group-1",
    "group_index": 3,
    "retries": 2,
    "timelimit": [30, 20],
    "root_id": "root-1",
    "parent_id": "parent-1",
    "argsrepr": "(1, 2)",
    "kwargsrepr": "{'z': 3}",
    "origin": "gen1@host",
    "ignore_result": None,
    "replaced_task_nesting": 1,
    "stamped_headers": ["tenant"],
    "stamps": {"tenant": "blue"},
}


def envelope(custom: dict[str, Any] | None = None, **embed: Any) -> bytes:
    content_type, encoding, body = encode_body([1, 2], {"z": 3}, serializer="json", **embed)
    return encode_envelope(
        body,
        content_type=content_type,
        content_encoding=encoding,
        headers={**HEADERS, **(custom or {})},
        properties={"correlation_id": "id-1", "reply_to": "replies", "delivery_mode": 2},
        exchange="",
        routing_key="hipri",
        priority=6,
    )


def context(data: bytes, **delivery: Any) -> Context:
    message = decode_task(data)
    return Context.of_message(message, open_body(message, None), data, "w1@host", **delivery)


def test_every_field_of_the_message_can_be_read() -> None:
    request = context(envelope(callbacks=[{"task": "a"}], chain=[{"task": "b"}]))

    assert (request.id, request.task, request.args, request.kwargs) == (
        "id-1",
        "proj.add",
        [1, 2],
        {"z": 3},
    )
    assert (request.root_id, request.parent_id) == ("root-1", "parent-1")
    assert (request.group, request.taskset, request.group_index) == ("group-1", "group-1", 3)
    assert (request.retries, request.replaced_task_nesting) == (2, 1)
    assert (request.timelimit, request.time_limit, request.soft_time_limit) == ([30, 20], 30, 20)
    assert (request.callbacks, request.chain) == ([{"task": "a"}], [{"task": "b"}])
    assert (request.errbacks, request.chord) == (None, None)
    assert (request.correlation_id, request.reply_to) == ("id-1", "replies")
    assert (request.origin, request.hostname) == ("gen1@host", "w1@host")
    assert (request.stamped_headers, request.stamps) == (["tenant"], {"tenant": "blue"})
    assert request.properties["delivery_mode"] == 2
    assert (request.called_directly, request.is_eager) == (False, False)
    assert request.expires == "2030-01-01T00:00:00+00:00"


def test_delivery_says_where_it_came_from_and_how_often() -> None:
    request = context(envelope(), deliveries=2, redelivered=True)

    assert request.delivery_info == {
        "exchange": "",
        "routing_key": "hipri",
        "priority": 6,
        "redelivered": True,
    }
    assert (request.deliveries, request.redelivered) == (2, True)


def test_limits_in_force_win_over_those_of_the_message() -> None:
    request = context(envelope(), hard=5.0, soft=None)

    assert (request.time_limit, request.soft_time_limit) == (5.0, 20)
    assert request.timelimit == [30, 20]


def test_custom_headers_read_as_attributes_also_with_hyphens() -> None:
    request = context(envelope({"trace": "t-1", "x-tenant": "blue", "x-death": []}))

    assert request.headers == {"trace": "t-1", "x-tenant": "blue"}
    assert request.trace == "t-1"
    assert request.get("x-tenant") == "blue"
    assert request.get("absent", "default") == "default"


def test_a_custom_header_never_covers_a_field() -> None:
    request = context(envelope({"called_directly": True, "hostname": "elsewhere"}))

    assert (request.called_directly, request.hostname) == (False, "w1@host")


def test_an_unknown_name_is_an_attribute_error_naming_the_task() -> None:
    with pytest.raises(AttributeError, match=r"proj\.add\[id-1\] has no 'nonsense'"):
        _ = context(envelope()).nonsense


def test_a_task_can_cut_its_own_chain() -> None:
    request = context(envelope(chain=[{"task": "b"}]))

    request.chain = None

    assert request.chain is None
    assert request.as_execution_options()["chain"] is None


def test_execution_options_make_the_same_call_again() -> None:
    options = context(envelope({"trace": "t-1"}, errbacks=[{"task": "e"}])).as_execution_options()

    assert options == {
        "task_id": "id-1",
        "root_id": "root-1",
        "parent_id": "parent-1",
        "group_id": "group-1",
        "group_index": 3,
        "shadow": None,
        "chord": None,
        "chain": None,
        "link": None,
        "link_error": [{"task": "e"}],
        "expires": "2030-01-01T00:00:00+00:00",
        "soft_time_limit": 20,
        "time_limit": 30,
        "headers": {"trace": "t-1"},
        "retries": 2,
        "reply_to": "replies",
        "ignore_result": None,
        "replaced_task_nesting": 1,
        "origin": "gen1@host",
        "stamped_headers": ["tenant"],
        "tenant": "blue",
    }


def test_a_context_without_a_message_has_celerys_defaults() -> None:
    request = Context()

    assert (request.called_directly, request.is_eager, request.retries) == (True, False, 0)
    assert (request.id, request.args, request.headers, request.children) == (None, None, None, [])


def test_a_context_of_a_dict_splits_the_time_limit_and_finds_custom_headers() -> None:
    request = Context({"id": "1", "timelimit": [9, 8], "tenant": "blue"})

    assert (request.time_limit, request.soft_time_limit) == (9, 8)
    assert request.headers == {"tenant": "blue"}


def test_repr_shows_the_whole_request() -> None:
    text = repr(context(envelope({"trace": "t-1"})))

    assert text.startswith("<Context: {'lang': 'py', 'task': 'proj.add', 'id': 'id-1'")
    assert "'trace': 't-1'" in text
    assert "_message" not in text


def test_children_are_kept_in_order() -> None:
    request = context(envelope())

    request.children.append("first")
    request.children.append("second")

    assert request.children == ["first", "second"]


def test_a_message_of_protocol_1_has_the_defaults() -> None:
    body = b'{"task": "proj.add", "id": "old", "args": [1], "kwargs": {}, "taskset": "g"}'
    data = encode_envelope(
        body,
        content_type="application/json",
        content_encoding="utf-8",
        headers={},
        properties={},
        exchange="",
        routing_key="celery",
    )

    request = context(data)

    assert (request.task, request.id, request.args) == ("proj.add", "old", [1])
    assert (request.group, request.root_id, request.retries) == ("g", "old", 0)


def test_content_that_is_not_accepted_is_refused() -> None:
    message = decode_task(envelope())

    with pytest.raises(ContentDisallowed, match="application/json"):
        open_body(message, codecs.accepted_types(["msgpack"]))


def test_arguments_of_the_wrong_shape_are_refused() -> None:
    data = encode_envelope(
        b'["no list", {}, null]',
        content_type="application/json",
        content_encoding="utf-8",
        headers={"task": "proj.add", "id": "1"},
        properties={},
        exchange="",
        routing_key="celery",
    )

    with pytest.raises(InvalidTaskError, match="args are str"):
        open_body(decode_task(data), None)
