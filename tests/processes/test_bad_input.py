"""What nobody should have sent: the worker stays up, says one clear line, and loses nothing."""

from __future__ import annotations

import base64
import json
import pickle
from typing import Any

import pytest

from taskctl import App
from taskctl.core.errors import NotRegistered
from taskctl.core.wire.message import Publication

from ..support.waiting import eventually
from ..support.workers import Farm, Node


def envelope(
    body: bytes = b'[["key"], {}, {}]', content_type: str = "application/json", **headers: Any
) -> bytes:
    """Return a task message as another program may have written it."""
    return json.dumps(
        {
            "body": base64.b64encode(body).decode(),
            "content-encoding": "utf-8",
            "content-type": content_type,
            "headers": {"task": "trial.mark", "id": "bad", **headers},
            "properties": {
                "delivery_info": {"exchange": "", "routing_key": "celery"},
                "delivery_tag": "tag-of-bad",
                "body_encoding": "base64",
                "priority": 0,
            },
        }
    ).encode()


def put(farm: Farm, *envelopes: bytes) -> None:
    with farm.app.connection() as connection:
        connection.publish([Publication(exchange="", routing_key="celery", envelope=e)
                            for e in envelopes])  # fmt: skip


def still_works(farm: Farm, node: Node) -> None:
    assert farm.send("add", 2, 3).get(timeout=10) == 5
    assert node.process.poll() is None
    eventually(lambda: farm.size() == farm.unacked() == 0)


MALFORMED = {
    "no JSON": (b"\xff\x00 not json", "cannot be read"),
    "no object": (b"[1, 2]", "cannot be read"),
    "no task": (envelope(b"[1]", task=None), "cannot be read"),
    "an id of the wrong type": (envelope(id=7), "cannot be read"),
    "an unreadable eta": (envelope(eta="soon"), "soon"),
    "an unreadable expires": (envelope(expires="9999-99-99T00:00:00"), "9999-99-99"),
    "time limits of the wrong type": (envelope(timelimit=["a", "b"]), "cannot be read"),
    "an eta beyond all years": (envelope(eta="99999-01-01T00:00:00"), "99999-01-01"),
    "pickle": (
        envelope(pickle.dumps((["key"], {}, {})), "application/x-python-serialize"),
        "application/x-python-serialize",
    ),
    "a body that is no JSON": (envelope(b"{{{"), "bad"),
    "a body of the wrong shape": (envelope(b'"text"'), "bad"),
}


def test_messages_that_cannot_be_read_become_dead_letters(service: Farm) -> None:
    (node,) = service.nodes

    put(service, *(message for message, _ in MALFORMED.values()))

    letters = eventually(lambda: len(found := service.dead()) >= len(MALFORMED) and found)
    assert len(letters) == len(MALFORMED)
    assert {letter["taskctl-dead"]["reason"] for letter in letters} == {"malformed"}
    errors = [line for line in node.log.splitlines() if " ERROR " in line]
    assert len(errors) == len(MALFORMED), "\n".join(errors)
    for name, (_, word) in MALFORMED.items():
        assert any(word in line and "dead-letter queue" in line for line in errors), name
    assert "Traceback" not in node.log
    assert service.runs() == {}
    still_works(service, node)


def test_an_unregistered_task_fails_and_becomes_a_dead_letter(service: Farm) -> None:
    (node,) = service.nodes

    result = service.send("unheard_of", 1)

    with pytest.raises(NotRegistered, match=r"trial\.unheard_of"):
        result.get(timeout=10)
    assert [letter["taskctl-dead"]["reason"] for letter in eventually(service.dead)] == [
        "unregistered"
    ]
    assert "unknown task 'trial.unheard_of' on queue 'celery'" in node.log
    still_works(service, node)


def test_arguments_that_do_not_match_fail_the_task(service: Farm) -> None:
    (node,) = service.nodes

    result = service.send("add", 1, 2, 3)

    with pytest.raises(TypeError, match="add"):
        result.get(timeout=10)
    assert service.dead() == []
    still_works(service, node)


def test_a_result_that_no_serializer_takes_fails_the_task(service: Farm) -> None:
    (node,) = service.nodes

    result = service.send("unserialisable", "key")

    with pytest.raises(Exception, match="object"):
        result.get(timeout=10)
    assert service.runs()["key"] == 1
    still_works(service, node)


def test_an_unserialisable_argument_is_refused_by_the_caller(farm: Farm) -> None:
    with pytest.raises(Exception, match="object"):
        farm.send("mark", object())

    assert farm.size() == 0


def test_bytes_of_another_program_survive_in_the_dead_letter(service: Farm) -> None:
    put(service, b"\xffnot json")

    eventually(service.dead)
    with service.app.connection() as connection:
        letter = json.loads(connection.broker.peek("celery.dead")[0])
    assert base64.b64decode(letter["body"]) == b"\xffnot json"


def test_a_module_to_include_that_does_not_exist_is_named() -> None:
    from taskctl.core.errors import AppNotFound
    from taskctl.core.worker.options import resolve
    from taskctl.core.worker.worker import Worker

    app = App("x", broker="memory://", include=["no_such_module"], set_as_current=False)

    with pytest.raises(AppNotFound, match="no_such_module"):
        Worker(app, resolve(app))
