"""Laws of the canvas, for shapes nobody thought of: what holds here, and beside Celery itself."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import reduce
from operator import or_
from typing import Any
from uuid import uuid4

import celery
import celery.canvas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import taskctl
from taskctl import App
from taskctl.core import current
from tests.support.draining import drain


def _of(smallest_group: int) -> Any:
    """Return shapes: a number is a task that adds it, a tuple has its kind first."""
    return st.recursive(
        st.integers(0, 9),
        lambda inner: st.one_of(
            st.tuples(st.just("chain"), st.lists(inner, min_size=1, max_size=3)),
            st.tuples(st.just("group"), st.lists(inner, min_size=smallest_group, max_size=3)),
            st.tuples(st.just("chord"), st.lists(inner, min_size=1, max_size=3), inner),
        ),
        max_leaves=6,
    )


_shapes = _of(1)
#: As in Celery, a group of one is that task where it is a step of a chain, and that task's own
#: group when it is sent; neither holds when it runs here.
_true_groups = _of(2)
_few = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def deep(values: Any) -> int:
    return sum(map(deep, values)) if isinstance(values, list | tuple) else values


def add(*args: Any) -> int:
    return deep(args)


class Side:
    """One of the two packages, and how it makes a shape."""

    def __init__(self, api: Any, app: Any) -> None:
        self.api, self.app = api, app
        self.add = app.task(add, name="proj.add", typing=False)

    def make(self, shape: Any) -> Any:
        if isinstance(shape, int):
            return self.add.s(shape)
        kind, members, *body = shape
        made = [self.make(member) for member in members]
        if kind == "chain":
            return reduce(or_, made)
        if kind == "group":
            return self.api.group(made, app=self.app)
        return self.api.chord(made, self.make(body[0]), app=self.app)


@pytest.fixture
def ours() -> Iterator[Side]:
    before = current.get_app(make=False)
    name = uuid4()
    with App("laws", broker=f"memory://{name}", backend=f"memory://{name}") as app:
        yield Side(taskctl, app)
    current.set_app(before)


@pytest.fixture
def theirs() -> Iterator[Side]:
    app = celery.Celery("laws", set_as_current=False)
    app.conf.task_always_eager = True
    yield Side(celery, app)
    app.close()


def value(result: Any) -> Any:
    found = result.get(timeout=5)
    return list(found) if isinstance(found, tuple) else found


@_few
@given(shape=_true_groups)
def test_sent_to_a_worker_or_run_here_the_value_is_the_same(ours: Side, shape: Any) -> None:
    made = ours.make(shape)

    sent = made.delay()
    drain(ours.app)

    assert value(sent) == value(made.apply())


@_few
@given(shape=_shapes)
def test_what_runs_here_has_the_value_it_has_in_celery(
    ours: Side, theirs: Side, shape: Any
) -> None:
    assert value(ours.make(shape).apply()) == value(theirs.make(shape).apply())


@_few
@given(a=_true_groups, b=_true_groups, c=_true_groups)
def test_it_does_not_matter_how_a_chain_is_bracketed(ours: Side, a: Any, b: Any, c: Any) -> None:
    left = (ours.make(a) | ours.make(b)) | ours.make(c)
    right = ours.make(a) | (ours.make(b) | ours.make(c))

    assert value(left.apply()) == value(right.apply())
    sent = [left.delay(), right.delay()]
    drain(ours.app)
    assert value(sent[0]) == value(sent[1])


@_few
@given(shape=_shapes)
def test_a_signature_that_travelled_as_json_is_the_same(ours: Side, shape: Any) -> None:
    made = ours.make(shape)
    text = json.dumps(made)

    again = ours.app.signature(json.loads(text))

    assert json.loads(json.dumps(again)) == json.loads(text)
    assert value(again.apply()) == value(made.apply())


@_few
@given(shape=_true_groups)
def test_freezing_fixes_all_ids_once(ours: Side, shape: Any) -> None:
    made = ours.make(shape)

    first = made.freeze()
    ids = _task_ids(made)
    second = made.freeze()

    assert second.id == first.id
    assert _task_ids(made) == ids
    assert len(set(ids)) == len(ids)
    sent = made.delay()
    drain(ours.app)
    assert sent.id == first.id
    assert value(sent) == value(made.apply())


@_few
@given(shape=_shapes)
def test_calling_a_shape_leaves_it_as_it_was(ours: Side, shape: Any) -> None:
    made = ours.make(shape)
    before = json.dumps(made)

    made.delay()
    made.apply()
    made.clone()

    assert json.dumps(made) == before
    drain(ours.app)


def _task_ids(made: Any) -> list[str]:
    """Return the ids of the plain tasks of a signature, in order."""
    if not made["subtask_type"]:
        return [made["options"]["task_id"]]
    kwargs = made["kwargs"]
    inner = kwargs.get("tasks") or [kwargs["header"], kwargs["body"]]
    inner = [list(one) if isinstance(one, list) else [one] for one in inner]
    return [id for one in itertools.chain(*inner) for id in _task_ids(one)]


# --- stamps -------------------------------------------------------------------------------------


def visitor_of(api: Any) -> Any:
    """Return a visitor that stamps at every occasion, made for one of the packages."""
    module = celery.canvas if api is celery else taskctl

    class Visitor(module.StampingVisitor):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self.calls: list[str] = []

        def _note(self, name: str) -> dict[str, Any]:
            self.calls.append(name)
            return {name: len(self.calls)}

        def on_signature(self, sig: Any, **headers: Any) -> Any:
            return self._note("on_signature")

        def on_group_start(self, group: Any, **headers: Any) -> Any:
            return self._note("on_group_start")

        def on_group_end(self, group: Any, **headers: Any) -> None:
            self._note("on_group_end")

        def on_chain_start(self, chain: Any, **headers: Any) -> Any:
            return self._note("on_chain_start")

        def on_chain_end(self, chain: Any, **headers: Any) -> None:
            self._note("on_chain_end")

        def on_chord_body(self, sig: Any, **header: Any) -> Any:
            return self._note("on_chord_body")

        def on_callback(self, callback: Any, **header: Any) -> Any:
            return self._note("on_callback")

        def on_errback(self, errback: Any, **header: Any) -> Any:
            return self._note("on_errback")

    return Visitor()


_SHAPES_TO_STAMP = [
    1,
    ("chain", [1, 2, 3]),
    ("group", [1, 2]),
    ("chord", [1, 2], 3),
    ("chain", [1, ("group", [2, 3])]),
    ("chord", [1, ("chain", [2, 3])], ("chain", [4, 5])),
    ("group", [("chord", [1, 2], 3), ("chain", [4, 5])]),
]


# With append_stamps Celery forgets it on the links of compounds and on bodies: not compared.
@pytest.mark.parametrize(
    ("shape", "append", "linked"),
    [
        *((shape, False, linked) for shape in _SHAPES_TO_STAMP for linked in (False, True)),
        *((shape, True, False) for shape in _SHAPES_TO_STAMP if "chord" not in str(shape)),
    ],
    ids=str,
)
def test_a_visitor_stamps_what_it_stamps_in_celery(
    ours: Side, theirs: Side, shape: Any, append: bool, linked: bool
) -> None:
    stamped = []
    for side in (ours, theirs):
        made, visitor = side.make(shape), visitor_of(side.api)
        if linked:
            made.options["link"] = [side.add.s(7)]
            made.options["link_error"] = [side.add.s(8)]
        made.stamp(tenant="first")
        made.stamp(visitor, append_stamps=append, tenant="acme")
        stamped.append((visitor.calls, _stamps(made)))

    assert stamped[0] == stamped[1]


def _stamps(made: Any) -> Any:
    """Return the stamps of every plain task in a signature, and of its links."""
    options, kwargs = made["options"], made["kwargs"]
    links = [_stamps(link) for key in ("link", "link_error") for link in options.get(key) or ()]
    if made["subtask_type"]:
        inner = kwargs.get("tasks") or kwargs["header"]
        inner = inner["kwargs"]["tasks"] if isinstance(inner, dict) else inner
        return [
            [_stamps(one) for one in inner],
            _stamps(kwargs["body"]) if "body" in kwargs else 0,
            links,
        ]
    names = sorted(options.get("stamped_headers") or ())
    return [{name: options.get(name) for name in names}, links]


def test_stamps_travel_with_all_that_follows(ours: Side) -> None:
    seen: dict[str, Any] = {}

    @ours.app.task(name="laws.look", bind=True, max_retries=1)
    def look(self: Any, *args: Any) -> str:
        seen.setdefault(args[-1], []).append(self.request.stamps)
        if args[-1] == "again" and not self.request.retries:
            raise self.retry(countdown=0)
        if args[-1] == "bad":
            raise ValueError("bad")
        return str(args[-1])

    made = look.s("again") | taskctl.group(look.s("one"), look.s("two")) | look.s("body")
    made.link(look.s("callback"))
    bad = look.s("bad")
    bad.link_error(look.s("errback"))
    for one in (made, bad):
        one.stamp(tenant="acme")
        one.delay()
    drain(ours.app)

    assert sorted(seen) == ["again", "bad", "body", "callback", "errback", "one", "two"]
    for name, stamps in seen.items():
        assert all(one == {"tenant": "acme"} for one in stamps), name


def test_a_task_run_here_shows_its_stamps(ours: Side) -> None:
    @ours.app.task(name="laws.show", bind=True)
    def show(self: Any) -> Any:
        return self.request.stamps

    made = show.s()
    made.stamp(tenant="acme", batch=["b1", "b2"])

    assert made.apply().get() == {"tenant": "acme", "batch": ["b1", "b2"]}
