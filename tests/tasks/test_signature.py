"""Signatures: calls that are made later, elsewhere, or with more arguments."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Iterator
from typing import Any

import pytest

from taskctl import App, Signature, chain, maybe_signature, signature
from taskctl.core import current
from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.messaging.producer import gather
from taskctl.core.wire.message import decode_envelope
from tests.support.draining import drain


@pytest.fixture
def app() -> Iterator[App]:
    before = current.get_app(make=False)
    with App("proj", broker="memory://signature") as app:
        app.control.purge()
        yield app
    current.set_app(before)


@pytest.fixture
def add(app: App) -> Any:
    return app.task(lambda *args, **kwargs: [list(args), kwargs], name="proj.add")


def _arguments(call: Any) -> list[Any]:
    """Return the arguments of the message that `call` sends."""
    with gather() as publications:
        call()
    return list(json.loads(decode_envelope(publications[0].envelope).body)[:2])


def test_a_signature_has_celerys_six_keys(add: Any) -> None:
    made = add.signature((2, 5), {"z": 1}, countdown=10)

    assert dict(made) == {
        "task": "proj.add",
        "args": (2, 5),
        "kwargs": {"z": 1},
        "options": {"countdown": 10},
        "subtask_type": None,
        "immutable": False,
    }
    assert list(made) == ["task", "args", "kwargs", "options", "subtask_type", "immutable"]
    assert add.s(2, 5, z=1) == add.signature((2, 5), {"z": 1})
    assert add.si(1)["immutable"] is True


def test_arguments_given_later_come_first_and_keywords_win(add: Any) -> None:
    partial = add.s(3, z=1)

    assert _arguments(lambda: partial.delay(1, 2)) == [[1, 2, 3], {"z": 1}]
    assert _arguments(lambda: partial.apply_async((1,), {"z": 2})) == [[1, 3], {"z": 2}]
    assert _arguments(lambda: add.si(3).delay(1, 2)) == [[3], {}]
    assert partial(1) == [[1, 3], {"z": 1}]
    assert partial.apply((1,)).get() == [[1, 3], {"z": 1}]
    assert partial == add.s(3, z=1)


def test_options_given_later_win_unless_they_are_none(add: Any) -> None:
    made = add.s(1).set(queue="own", priority=3)

    with gather() as publications:
        made.apply_async(queue="given", priority=None)

    assert (publications[0].routing_key, publications[0].priority) == ("given", 3)


def test_a_group_once_set_stays(add: Any) -> None:
    made = add.s().set(group_id="g-1")

    with gather() as publications:
        made.apply_async(group_id="g-2")

    assert decode_envelope(publications[0].envelope).headers["group"] == "g-1"


def test_a_signature_is_sent_and_waited_for(app: App, add: Any) -> None:
    app.conf.task_always_eager = True

    assert ~add.s(1) == [[1], {}]


def test_a_signature_is_made_of_a_task_a_name_a_dict_or_another(app: App, add: Any) -> None:
    of_name = signature("proj.add", args=(1,), countdown=3)
    of_dict = signature({"task": "proj.add", "args": [1], "options": {"countdown": 3}})

    assert of_name == of_dict == add.signature((1,), countdown=3) == signature(of_dict)
    assert signature(of_name) is not of_name
    assert maybe_signature(of_name) is of_name
    assert maybe_signature(of_name, clone=True) is not of_name
    assert maybe_signature(None) is None
    assert app.signature("proj.add").app is app


def test_a_task_that_is_not_known_here_is_sent_by_name(app: App) -> None:
    with gather() as publications:
        result = signature("elsewhere.task", (1,), app=app).delay()

    headers = decode_envelope(publications[0].envelope).headers
    assert (headers["task"], headers["id"]) == ("elsewhere.task", result.id)
    assert headers["ignore_result"] is None


def test_a_copy_shares_nothing_that_changes(add: Any) -> None:
    made = add.s({"deep": 1}).set(headers={"a": 1})
    made.link(add.s())

    for twin in (made.clone(), copy.deepcopy(made)):
        twin.link(add.s(9))
        twin.options["headers"]["b"] = 2
        twin.options["link"][0].link(add.s(8))
    assert made.options["headers"] == {"a": 1}
    assert made.options["link"] == [add.s()]
    assert made.clone((0,), queue="q").args == (0, {"deep": 1})
    assert made.replace(args=(5,), kwargs={"k": 1}, options={}).args == (5,)


def test_a_frozen_signature_keeps_its_id(app: App, add: Any) -> None:
    made = add.s(1)

    result = made.freeze()

    assert made.freeze().id == result.id == made.id
    assert made.delay().id == result.id
    drain(app)
    assert result.get(timeout=1) == [[1], {}]
    named = add.s()
    named.freeze("t-1", group_id="g", group_index=0, root_id="r", parent_id="p")
    assert (named.id, named.root_id, named.parent_id) == ("t-1", "r", "p")
    assert list(named.options) == [
        "task_id", "root_id", "parent_id", "reply_to", "group_id", "group_index",
    ]  # fmt: skip


def test_links_are_kept_once_and_called_with_the_value(app: App, add: Any) -> None:
    made = add.s(1)
    callback = made.link(add.s(2))
    made.link(add.s(2))
    assert made.on_error(add.s(3)) is made

    assert callback == add.s(2)
    assert made.options == {"link": [add.s(2)], "link_error": [add.s(3)]}
    callback.link(add.s(4))
    assert made.flatten_links() == [made, callback, add.s(4)]
    result = made.delay()
    assert len(drain(app)) == 3
    (called,) = result.children
    assert called.get(timeout=1) == [[[[1], {}], 2], {}]
    assert called.children[0].get(timeout=1) == [[[[[[1], {}], 2], {}], 4], {}]


def test_a_signature_reads_as_the_call_it_is(add: Any) -> None:
    assert repr(add.s(1, "two", z=[3])) == "proj.add(1, 'two', z=[3])"
    assert add.s(2).reprcall(1) == "proj.add(1, 2)"
    assert add.s().name == "proj.add"


def test_a_signature_travels(add: Any) -> None:
    made = add.s(1).set(queue="q")

    assert signature(json.loads(json.dumps(made))) == made
    assert pickle.loads(pickle.dumps(made)) == made
    assert type(pickle.loads(pickle.dumps(chain(made, made)))) is chain


def test_kinds_that_are_not_known_are_refused(add: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="unknown kind of signature 'star'"):
        signature({"task": "x", "subtask_type": "star"})

    @Signature.register_type("star")
    class Star(Signature):
        """A kind of the user's."""

        @classmethod
        def from_dict(cls, fields: Any, app: Any = None) -> Signature:
            return cls(fields, app=app)

    try:
        assert type(signature({"task": "x", "subtask_type": "star"})) is Star
    finally:
        del Signature.TYPES["star"]
