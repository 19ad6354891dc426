"""Protocol 1 and the hybrid are read in every serializer and compression, and run no code."""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
from datetime import UTC, datetime
from typing import Any

import celery
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.errors import DecodeError, InvalidTaskError
from taskctl.core.wire import codecs
from taskctl.core.wire.compression import compress
from taskctl.core.wire.message import decode_envelope
from taskctl.core.wire.task_message import TaskMessage, decode_body, decode_task

from . import values

ALL = codecs.accepted_types(["json", "pickle", "yaml", "msgpack"])
JSON = codecs.accepted_types(["json"])


def envelope(
    fields: Any,
    serializer: str = "json",
    compression: str | None = None,
    headers: dict[str, Any] | None = None,
) -> bytes:
    content_type, encoding, body = codecs.encode(fields, serializer)
    headers = dict(headers or {})
    if compression:
        headers["compression"], body = compress(body, compression)
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": encoding,
            "content-type": content_type,
            "headers": headers,
            "properties": {"body_encoding": "base64"},
        }
    ).encode()


FIELDS = {
    "task": "proj.add",
    "id": "one",
    "args": [1, 2],
    "kwargs": {"z": 3},
    "retries": 2,
    "timelimit": [30, 20.5],
    "taskset": "g",
    "group": None,
    "eta": None,
    "callbacks": [{"task": "proj.mul", "args": [], "kwargs": {}, "options": {"link": []}}],
}


@pytest.mark.parametrize("compression", [None, "zlib", "zstd"])
@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_headers_and_body_are_found_in_every_form(serializer: str, compression: str | None) -> None:
    raw = envelope(FIELDS, serializer, compression)

    task, body = decode_task(raw, ALL), decode_body(decode_envelope(raw), ALL)

    headers = task.headers
    assert (headers.task, headers.id, headers.retries, headers.group) == ("proj.add", "one", 2, "g")
    assert headers.limits() == (30, 20.5)
    assert (headers.argsrepr, headers.kwargsrepr) == ("[1, 2]", "{'z': 3}")
    assert headers.compression == compress(b"", compression)[0] if compression else True
    assert (body.args, body.kwargs, body.callbacks) == ([1, 2], {"z": 3}, FIELDS["callbacks"])


def test_a_pickle_of_celerys_runs_nothing_before_it_is_executed() -> None:
    app = celery.Celery("old", broker="memory://", task_protocol=1, set_as_current=False)
    link = app.signature("proj.mul", (Bang(),), link=app.signature("proj.sub"))
    message = app.amqp.as_task_v1(
        "one", "proj.add", (Bang(), datetime(2030, 1, 2, tzinfo=UTC)), callbacks=[link], countdown=9
    )
    raw = envelope(None)
    parts = json.loads(raw)
    parts["body"] = base64.b64encode(pickle.dumps(message.body, 2)).decode()
    parts["content-type"] = "application/x-python-serialize"
    Bang.made = 0

    task = decode_task(json.dumps(parts).encode(), ALL)

    assert Bang.made == 0
    assert (task.headers.task, task.headers.id, bool(task.headers.eta)) == ("proj.add", "one", True)
    assert task.headers.argsrepr is not None
    assert "2030" in task.headers.argsrepr
    body = decode_body(decode_envelope(json.dumps(parts).encode()), ALL)
    assert Bang.made == 2
    assert body.callbacks is not None
    assert type(body.callbacks[0]) is dict
    assert body.callbacks[0]["options"]["link"]["task"] == "proj.sub"


class Bang:
    """Counts how often it is made of a pickle."""

    made = 0

    def __reduce__(self) -> Any:
        return _bang, ()


def _bang() -> Bang:
    Bang.made += 1
    return Bang()


def test_a_type_that_is_not_accepted_is_not_opened() -> None:
    for serializer in ("pickle", "yaml", "msgpack"):
        with pytest.raises(InvalidTaskError, match="which is not in accept_content"):
            decode_task(envelope(FIELDS, serializer), JSON)


def test_a_hybrid_in_a_type_that_is_not_accepted_is_left_to_whoever_runs_it() -> None:
    raw = envelope(FIELDS, "pickle", headers={"task": "t", "id": "1"})

    assert decode_task(raw, JSON).headers.retries == 0
    assert decode_task(raw, ALL).headers.retries == 2


def test_a_message_of_protocol_2_is_not_opened() -> None:
    raw = envelope(FIELDS, headers={"task": "t", "id": "1", "lang": "py"})

    assert decode_task(raw, ALL).headers.retries == 0


@pytest.mark.parametrize("field", ["eta", "expires"])
@pytest.mark.parametrize("when", ["2030-01-02T03:04:05", "0001-01-01T00:00:00", "soon", 5, None])
def test_a_time_that_is_not_utc_is_this_machines(field: str, when: Any) -> None:
    raw = envelope({"task": "t", "id": "1", "utc": False, field: when})

    with contextlib.suppress(DecodeError):
        found = getattr(decode_task(raw).headers, field)
        assert found == when or datetime.fromisoformat(found).tzinfo is not None


@given(
    st.dictionaries(
        st.sampled_from("task id args kwargs eta utc taskset timelimit retries group".split()),
        values.extended,
    ),
    st.dictionaries(st.sampled_from(["task", "id", "compression", "x"]), values.plain),
    st.sampled_from(["json", "pickle"]),
)
def test_any_body_under_any_headers_is_a_task_or_one_of_two_errors(
    fields: Any, headers: dict[str, Any], serializer: str
) -> None:
    with contextlib.suppress(DecodeError, InvalidTaskError):
        assert isinstance(
            decode_task(envelope(fields, serializer, None, headers), ALL), TaskMessage
        )


_names = st.sampled_from(
    "task id lang eta expires group group_index retries timelimit root_id parent_id argsrepr "
    "origin ignore_result stamped_headers stamps compression replaced_task_nesting shadow".split()
)


@given(st.dictionaries(_names | st.text(max_size=5), values.plain, max_size=8))
def test_random_headers_are_read_or_one_of_two_errors(headers: dict[str, Any]) -> None:
    raw = envelope([[], {}, {}], headers={"task": "t", "id": "1", **headers})

    try:
        task = decode_task(raw, ALL)
    except (DecodeError, InvalidTaskError) as exc:
        assert "\n" not in str(exc)
    else:
        assert task.headers.limits()


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_who_only_looks_sees_every_kind(serializer: str) -> None:
    headers = decode_task(envelope(FIELDS, serializer)).headers

    assert (headers.task, headers.argsrepr) == ("proj.add", "[1, 2]")
