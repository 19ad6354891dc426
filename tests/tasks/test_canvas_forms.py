"""Every form a canvas can be written in: generators, lists, nothing at all; here and as sent.

A task returns what it was called with, so that values show the whole course of a workflow: what
ran, in what order, and with which values.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any
from uuid import uuid4

import celery
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import taskctl
from taskctl import App
from taskctl.core import current
from taskctl.core.errors import ImproperlyConfigured
from tests.support.celery_sender import CelerySender
from tests.support.draining import drain

_CHAINS = ("|", "chain of arguments", "chain of a list", "chain of a generator")
_GROUPS = ("group of arguments", "group of a list", "group of a generator")
_CHORDS = ("chord of a list", "chord of a generator", "chord of a group")


def _forms(smallest: int) -> Any:
    """Return shapes: a number is a task, a tuple has its form first, a chord its body last."""
    return st.recursive(
        st.integers(0, 9),
        lambda inner: st.one_of(
            st.tuples(st.sampled_from(_CHAINS), st.lists(inner, min_size=1, max_size=3)),
            st.tuples(st.sampled_from(_GROUPS), st.lists(inner, min_size=smallest, max_size=3)),
            st.tuples(st.sampled_from(_CHORDS), st.lists(inner, min_size=smallest, max_size=3),
                      inner),
        ),
        max_leaves=8,
    )  # fmt: skip


_shapes = _forms(0)
#: A group of none or one is a group on the left of a pipe, and none, or its task, in a chain: as
#: in Celery, and no law of brackets can hold for it.
_true_groups = _forms(2)
_many = settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def told(*args: Any) -> list[Any]:
    return ["told", *args]


class Side:
    """One of the two packages, and how it makes a shape."""

    def __init__(self, api: Any, app: Any) -> None:
        self.api, self.app = api, app
        self.told = app.task(told, name="forms.told", typing=False)

    def make(self, shape: Any) -> Any:
        if isinstance(shape, int):
            return self.told.s(shape)
        form, members, *body = shape
        made = [self.make(member) for member in members]
        if form == "|":
            return reduce(or_, made)
        kind = getattr(self.api, form.split()[0])
        if body:
            assume(_has_tasks(body[0]))
            header: Any = made
            if form == "chord of a generator":
                header = (one for one in made)
            elif form == "chord of a group":
                header = self.api.group(made, app=self.app)
            return kind(header, self.make(body[0]), app=self.app)
        if form.endswith("arguments"):
            return kind(*made, app=self.app)
        return kind((one for one in made) if form.endswith("generator") else made, app=self.app)


@pytest.fixture
def ours() -> Iterator[Side]:
    before, name = current.get_app(make=False), uuid4()
    with App("forms", broker=f"memory://{name}", backend=f"memory://{name}") as app:
        yield Side(taskctl, app)
    current.set_app(before)


@pytest.fixture
def theirs() -> Iterator[Side]:
    app = celery.Celery("forms", set_as_current=False)
    yield Side(celery, app)
    app.close()


def value(result: Any) -> Any:
    """Return a result's value, tuples as the lists they become on the way."""
    return None if result is None else json.loads(json.dumps(result.get(timeout=10)))


@_many
@given(shape=_shapes)
def test_whatever_is_sent_takes_the_course_it_takes_here(ours: Side, shape: Any) -> None:
    made = ours.make(shape)

    sent = made.apply_async()
    drain(ours.app)

    assert value(sent) == value(made.apply())


@_many
@given(a=_true_groups, b=_true_groups, c=_true_groups)
def test_brackets_around_pipes_change_nothing(ours: Side, a: Any, b: Any, c: Any) -> None:
    left = (ours.make(a) | ours.make(b)) | ours.make(c)
    right = ours.make(a) | (ours.make(b) | ours.make(c))

    assert value(left.apply()) == value(right.apply())


@_many
@given(shape=_shapes, frozen=st.booleans())
def test_a_shape_that_travelled_as_json_takes_the_same_course(
    ours: Side, shape: Any, frozen: bool
) -> None:
    made = ours.make(shape)
    if frozen and not _is_empty_chain(made):
        made.freeze()
    text = json.dumps(made)

    again = ours.app.signature(json.loads(text))

    assert json.loads(json.dumps(again)) == json.loads(text)
    assert value(again.apply()) == value(made.apply())


@_many
@given(shape=_shapes)
def test_what_celerys_client_sends_takes_the_same_course(
    ours: Side, theirs: Side, shape: Any
) -> None:
    assume(not _differs_on_purpose(shape))
    sender = CelerySender(theirs.app, ours.app)

    from_ours = ours.make(shape).apply_async()
    from_theirs = sender.send(theirs.make(shape))
    drain(ours.app)

    assert value(from_theirs) == value(from_ours)


def _has_tasks(shape: Any) -> bool:
    """Return whether a body is more than chains of nothing."""
    return isinstance(shape, int) or bool(shape[2:]) or any(map(_has_tasks, shape[1]))


def _is_empty_chain(made: Any) -> bool:
    return made["subtask_type"] == "chain" and not made["kwargs"]["tasks"]


def _differs_on_purpose(shape: Any) -> bool:
    """Return whether Celery 5.7 does with a shape what nobody can want.

    It turns the members of a group inside of a group or header round, and nests their values or
    not, as it falls; of a chord that ends in a group, a chain that follows gets the first value
    alone; where a group of one is unrolled depends on brackets.
    """
    if isinstance(shape, int):
        return False
    form, members, *body = shape
    inner = [*members, *body]
    if any(map(_differs_on_purpose, inner)):
        return True
    if form in _GROUPS or body:
        return any(map(_ends_in_group, members)) or (form in _GROUPS and len(members) < 2)
    ends = list(map(_ends_in_group, members))
    return any(ends[:-1]) and any(not isinstance(one, int) for one in members)


def _ends_in_group(shape: Any) -> bool:
    if isinstance(shape, int):
        return False
    form, members, *body = shape
    if form in _GROUPS:
        return True
    return _ends_in_group((body or members)[-1])


@pytest.mark.parametrize("call", ["apply_async", "apply", "freeze"])
def test_a_chord_with_an_empty_chain_as_its_body_is_refused(ours: Side, call: str) -> None:
    made = taskctl.chord([ours.told.s(1)], taskctl.chain(), app=ours.app)

    with pytest.raises(ImproperlyConfigured, match="a chord needs a body, not an empty chain"):
        getattr(made, call)()


def _in_its_own_chain(add: Any) -> Any:
    made = taskctl.chain(add.s(1), add.s(2))
    made.tasks.append(made)
    return made


def _in_its_own_group(add: Any) -> Any:
    made = taskctl.group(add.s(1), add.s(2))
    made.tasks.append(taskctl.chain(add.s(3), made))
    return made


def _its_own_body(add: Any) -> Any:
    made = taskctl.chord([add.s(1)], add.s(2))
    made.body = taskctl.chain(add.s(3), made)
    return made


@pytest.mark.parametrize("make", [_in_its_own_chain, _in_its_own_group, _its_own_body])
@pytest.mark.parametrize("call", ["apply_async", "apply", "freeze"])
def test_a_signature_that_holds_itself_is_refused_and_named(
    ours: Side, make: Any, call: str
) -> None:
    with pytest.raises(ValueError, match=r"cyclic signature: celery\.\w+ -> .*put a copy"):
        getattr(make(ours.told), call)()


@pytest.mark.parametrize("hold", ["chain", "group", "chord"])
def test_a_signature_is_not_linked_to_what_holds_it(ours: Side, hold: str) -> None:
    task, other = ours.told.s(1), ours.told.s(2)
    holder = {
        "chain": lambda: taskctl.chain(other, task),
        "group": lambda: taskctl.group(task, other),
        "chord": lambda: taskctl.chord([other], task),
    }[hold]()

    with pytest.raises(ValueError, match=r"cyclic link: forms\.told -> celery\.\w+ -> forms"):
        task.link(holder)


@pytest.mark.parametrize(
    ("kind", "kwargs", "lacks"),
    [
        ("chain", {}, "tasks"),
        ("group", {"tasks": 5}, "tasks"),
        ("xmap", {"it": []}, "task"),
        ("xstarmap", {"task": {}}, "it"),
        ("chunks", {"task": {}, "it": []}, "n"),
    ],
)
def test_a_dict_that_is_no_whole_signature_says_what_it_lacks(
    ours: Side, kind: str, kwargs: dict[str, Any], lacks: str
) -> None:
    fields = {"task": f"celery.{kind}", "subtask_type": kind, "kwargs": kwargs}

    with pytest.raises(ValueError, match=rf"of kind '{kind}' has .*kwargs\['{lacks}'\]"):
        ours.app.signature(fields)


def test_chunks_of_nothing_are_refused(ours: Side) -> None:
    with pytest.raises(ValueError, match="n must be 1 or more"):
        ours.told.chunks([(1,), (2,)], 0)
