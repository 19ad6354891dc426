"""Chords: every form of them is sent, joined, or fails for all who wait."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from taskctl import App, chain, chord, group
from taskctl.core import current
from taskctl.core.backends.memory import MemoryBackend
from taskctl.core.errors import ChordError, Ignore, ImproperlyConfigured, Reject
from taskctl.core.messaging.producer import gather
from taskctl.core.tasks.result import result_from_tuple
from taskctl.core.wire.message import decode_envelope
from tests.support.draining import drain


class Proj:
    """An app with a few tasks."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.seen: list[Any] = []
        self.add = app.task(lambda x, y: x + y, name="proj.add")
        self.mul = app.task(lambda x, y: x * y, name="proj.mul")
        self.xsum = app.task(_deep_sum, name="proj.xsum")
        self.echo = app.task(lambda x: x, name="proj.echo")
        self.fail = app.task(lambda *args: 1 / 0, name="proj.fail")
        self.note = app.task(lambda *args: self.seen.append(args), name="proj.note")
        self.heard = app.task(lambda task_id: self.seen.append(task_id), name="proj.heard")
        self.tell = app.task(
            lambda request, exc, traceback: self.seen.append((request.id, exc)), name="proj.tell"
        )

    def run(self, sent: Any) -> Any:
        drain(self.app)
        return sent.get(timeout=1)


def _deep_sum(values: Any) -> Any:
    return sum(map(_deep_sum, values)) if isinstance(values, list) else values


@pytest.fixture(params=["counted", "looked at"])
def proj(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proj]:
    """Once with a backend that counts parts, once with one that does not."""
    if request.param == "looked at":
        monkeypatch.setattr(MemoryBackend, "counts_parts", False)
        monkeypatch.setattr("taskctl.core.tasks.chord._FIRST_LOOK", None)
    before = current.get_app(make=False)
    name = str(uuid4())
    with App("proj", broker=f"memory://{name}", backend=f"memory://{name}") as app:
        app.conf.result_chord_join_timeout = 0.5
        yield Proj(app)
    current.set_app(before)


# --- forms --------------------------------------------------------------------------------------


def _forms(p: Proj) -> dict[str, tuple[Any, Any]]:
    """Return what is sent, by name, and its value."""
    a, b = p.add.s(1, 1), p.add.s(2, 2)
    pair = group(a, b)
    return {
        "called with a body": (lambda: chord([a, b])(p.xsum.s()), 6),
        "body given": (chord([a, b], p.xsum.s()).delay, 6),
        "apply_async": (chord([a, b], p.xsum.s()).apply_async, 6),
        "header one by one": (chord((x for x in (a, b)), p.xsum.s()), 6),
        "one element": (chord([a], p.xsum.s()), 2),
        "single signature": (chord(a, p.xsum.s()), 2),
        "empty header": (chord([], p.xsum.s()), 0),
        "group upgraded": (pair | p.xsum.s(), 6),
        "upgraded later": (p.add.s(0, 1) | group(p.add.s(1), p.add.s(2)) | p.xsum.s(), 5),
        "upgraded, then more": (pair | p.xsum.s() | p.add.s(4) | p.mul.s(2), 20),
        "chord then task": (chord([a, b], p.xsum.s()) | p.add.s(4), 10),
        "task then chord": (p.echo.s(3) | chord([p.add.s(1), p.add.s(2)], p.xsum.s()), 9),
        "chord between tasks": (
            chain(p.echo.s(3), chord([p.add.s(1), p.add.s(2)], p.xsum.s()), p.mul.s(10)),
            90,
        ),
        "chord then chord": (
            chord([a, b], p.xsum.s()) | chord([p.add.s(1), p.add.s(2)], p.xsum.s()),
            15,
        ),
        "chain of chords": (
            chain(
                p.echo.s(1),
                group(p.add.s(1), p.add.s(2)),
                p.xsum.s(),
                group(p.add.s(1), p.add.s(2)),
                p.xsum.s(),
            ),
            13,
        ),
        "nested, with a group as body": (
            chord([chord([a], group(p.xsum.s(), p.xsum.s())), b], p.echo.s()),
            [[2, 2], 4],
        ),
        "nested in the header": (chord([a, chord([a, b], p.xsum.s())], p.xsum.s()), 8),
        "twice nested": (
            chord([chord([chord([a, b], p.xsum.s()), a], p.xsum.s()), b], p.xsum.s()),
            12,
        ),
        "chord as body": (
            chord([a, b], chord([p.xsum.s(), p.xsum.s()], p.xsum.s())),
            12,
        ),
        "chains in the header": (chord([a | p.mul.s(10), b | p.add.s(1)], p.xsum.s()), 25),
        "chain ending in a group in the header": (
            chord([p.echo.s(1) | group(p.add.s(1), p.add.s(2)), b], p.echo.s()),
            [[2, 3], 4],
        ),
        "chord in a chain in the header": (
            chord([a, p.echo.s(1) | group(p.add.s(1), p.add.s(2)) | p.xsum.s()], p.echo.s()),
            [2, 5],
        ),
        "group in the header": (chord([a, group(b, b)], p.echo.s()), [2, 4, 4]),
        "chunks in the header": (
            chord([p.add.chunks([(1, 1), (2, 2), (3, 3)], 2)], p.echo.s()),
            [[2, 4], [6]],
        ),
        "map in the header": (chord([p.echo.map([1, 2])], p.echo.s()), [[1, 2]]),
        "chain as body": (chord([a, b], p.xsum.s() | p.add.s(4)), 10),
        "chain with a group as body": (
            chord([a, b], p.xsum.s() | group(p.add.s(1), p.add.s(2))),
            [7, 8],
        ),
        "chain with a chord as body": (
            chord([a, b], p.xsum.s() | group(p.add.s(1), p.add.s(2)) | p.xsum.s()),
            15,
        ),
        "group as body": (chord([a, b], group(p.xsum.s(), p.echo.s())), [6, [2, 4]]),
        "group then group": (pair | group(p.xsum.s(), p.echo.s()), [6, [2, 4]]),
        "group as body, then a task": (
            chord([a, b], group(p.xsum.s(), p.xsum.s())) | p.xsum.s(),
            12,
        ),
        "immutable body": (chord([a, b], p.add.si(5, 5)), 10),
        "arguments for the header": (
            lambda: chord([p.add.s(1), p.add.s(2)], p.xsum.s()).apply_async((10,)),
            23,
        ),
        "group of chords": (group(chord([a, b], p.xsum.s()), a | p.echo.s()), [6, 2]),
        "group of one": (p.echo.s(1) | group(p.add.s(1)) | p.add.s(1), 3),
        "as a dict": (app_signature(p, chord([a, b], p.xsum.s())), 6),
        "long chain as a dict": (
            app_signature(p, p.echo.s(1) | group(p.add.s(1), p.add.s(2)) | p.xsum.s() | p.echo.s()),
            5,
        ),
    }


def app_signature(p: Proj, made: Any) -> Any:
    import json

    return p.app.signature(json.loads(json.dumps(made)))


_NAMES = list(_forms(Proj(App("names", set_as_current=False))))


@pytest.mark.parametrize("name", _NAMES)
def test_every_form_of_chord_is_joined(proj: Proj, name: str) -> None:
    call, expected = _forms(proj)[name]

    assert proj.run(call()) == expected


@pytest.mark.parametrize("name", _NAMES)
def test_every_form_gives_the_same_value_at_once(proj: Proj, name: str) -> None:
    call, expected = _forms(proj)[name]
    proj.app.conf.task_always_eager = True

    assert call().get() == expected


@pytest.mark.parametrize("name", [n for n in _NAMES if n not in ("called with a body",)])
def test_a_frozen_form_keeps_its_id(proj: Proj, name: str) -> None:
    call, expected = _forms(proj)[name]
    made = getattr(call, "__self__", call)
    if not hasattr(made, "freeze"):
        pytest.skip("not a signature")
    frozen = made.freeze()

    sent = made.apply_async()

    assert sent.id == frozen.id
    assert proj.run(sent) == expected


def test_a_chord_without_a_body_says_so(proj: Proj) -> None:
    with pytest.raises(ImproperlyConfigured, match="a chord needs a body"):
        chord([proj.add.s(1, 1)]).delay()


@pytest.mark.parametrize("backend", [None, "disabled"])
def test_a_chord_without_results_is_refused_when_it_is_sent(backend: str | None) -> None:
    with App("none", broker=f"memory://{uuid4()}", set_as_current=False) as app:
        app.conf.result_backend = "disabled"
        add = app.task(lambda x, y: x + y, name="none.add", shared=False)
        for made in (
            chord([add.s(1, 1)], add.s(1)),
            add.s(1, 1) | group(add.s(1), add.s(2)) | add.s(3),
        ):
            with pytest.raises(ImproperlyConfigured, match="set result_backend, for example"):
                made.delay()
        assert app.shared_connection().broker.take("celery") == []


# --- what follows -------------------------------------------------------------------------------


def test_the_parents_of_a_chord_lead_back_to_its_first_task(proj: Proj) -> None:
    sent = (proj.echo.s(1) | group(proj.add.s(1), proj.add.s(2)) | proj.xsum.s())()

    assert proj.run(sent) == 5
    assert sent.parent.get() == [2, 3]
    assert sent.parent.parent.get() == 1
    assert sent.parent.parent.parent is None


def test_the_result_of_a_chord_travels_with_its_parents(proj: Proj) -> None:
    sent = (proj.echo.s(1) | group(proj.add.s(1), proj.add.s(2)) | proj.xsum.s())()
    proj.run(sent)

    for again in (result_from_tuple(sent.as_tuple(), proj.app), pickle.loads(pickle.dumps(sent))):
        assert again.get() == 5
        assert again.as_tuple() == sent.as_tuple()
        assert [one.id for one in again.parent] == [one.id for one in sent.parent]
        assert again.parent.parent.get() == 1
    first = sent.parent.parent
    assert [child.as_tuple()[0][0] for child in first.children] == [sent.parent.id]
    assert [value for _, value in first.collect()] == [1, [2, 3], 2, 3]


def test_callbacks_of_a_chord_follow_its_body(proj: Proj) -> None:
    made = chord([proj.add.s(1, 1), proj.add.s(2, 2)], proj.xsum.s())
    made.link(proj.note.s("linked"))

    proj.run(made.apply_async(link=proj.note.s("given")))

    assert sorted(proj.seen) == [(6, "given"), (6, "linked")]


@pytest.mark.parametrize("place", ["linked", "given", "body", "chain"])
def test_errbacks_of_a_chord_hear_once_that_its_header_has_failed(proj: Proj, place: str) -> None:
    body = proj.xsum.s()
    made: Any = chord([proj.add.s(1, 1), proj.fail.s()], body)
    options: dict[str, Any] = {}
    if place == "linked":
        made.link_error(proj.heard.s())
    elif place == "given":
        options["link_error"] = proj.heard.s()
    elif place == "body":
        made.body.link_error(proj.heard.s())
    else:
        made = chain(made)
        made.link_error(proj.heard.s())

    sent = made.apply_async(**options)
    drain(proj.app)

    with pytest.raises(ChordError, match=r"Dependency .+ raised ZeroDivisionError"):
        sent.get(timeout=1)
    assert proj.seen == [sent.id]


def test_new_style_errbacks_get_the_chords_error(proj: Proj) -> None:
    sent = chord([proj.fail.s(), proj.add.s(1, 1)], proj.xsum.s()).apply_async(
        link_error=proj.tell.s()
    )
    drain(proj.app)

    ((task_id, exc),) = proj.seen
    assert task_id == sent.id
    assert isinstance(exc, ChordError)


def test_errbacks_reach_the_header_where_the_setting_says_so(proj: Proj) -> None:
    proj.app.conf.task_allow_error_cb_on_chord_header = True
    made = chord([proj.add.s(1, 1), proj.fail.s()], proj.xsum.s())
    made.link_error(proj.heard.s())

    sent = made.apply_async()
    drain(proj.app)

    assert sorted(proj.seen) == sorted([sent.id, sent.parent.results[1].id])


def test_the_first_bad_part_in_order_is_named(proj: Proj) -> None:
    sent = chord([proj.add.s(1, 1), proj.fail.s(), proj.fail.s()], proj.xsum.s())()
    drain(proj.app)

    first_bad = sent.parent.results[1].id
    assert first_bad in str(sent.result)


def test_all_that_would_have_followed_a_chord_fails_too(proj: Proj) -> None:
    middle = chord([proj.add.s(1), proj.fail.s()], proj.xsum.s())
    sent = chain(proj.echo.s(1), middle, proj.echo.s(), proj.echo.s())()
    drain(proj.app)

    for result in (sent, sent.parent, sent.parent.parent):
        assert isinstance(result.result, ChordError)


def test_a_task_that_fails_before_a_chord_fails_its_body(proj: Proj) -> None:
    sent = chain(proj.fail.s(), group(proj.add.s(1), proj.add.s(2)), proj.xsum.s())()
    drain(proj.app)

    assert isinstance(sent.result, ZeroDivisionError)


def test_each_task_of_a_group_body_fails_with_what_the_header_raised(proj: Proj) -> None:
    body = group(proj.xsum.s(), proj.echo.s())
    for task in body.tasks:
        task.link_error(proj.heard.s())

    sent = chord([proj.fail.s(), proj.add.s(1, 1)], body)()
    drain(proj.app)

    assert [type(one.result) for one in sent.results] == [ZeroDivisionError] * 2
    assert sorted(proj.seen) == sorted(one.id for one in sent.results)


def test_a_failure_in_a_nested_chord_ends_the_outer_one(proj: Proj) -> None:
    inner = chord([proj.add.s(1, 1), proj.fail.s()], proj.xsum.s())
    sent = chord([proj.add.s(1, 1), inner], proj.xsum.s()).apply_async(link_error=proj.heard.s())
    drain(proj.app)

    assert "raised ChordError" in str(sent.result)
    assert proj.seen == [sent.id]


@pytest.mark.parametrize("position", [0, 1])
def test_a_failure_in_a_chain_of_the_header_ends_the_chord(proj: Proj, position: int) -> None:
    steps = [proj.echo.s(1), proj.echo.s()]
    steps[position] = proj.fail.s()

    sent = chord([proj.add.s(1, 1), chain(*steps)], proj.xsum.s())()
    drain(proj.app)

    assert isinstance(sent.result, ChordError)


def test_a_failure_before_a_group_in_the_header_ends_the_chord(proj: Proj) -> None:
    head = proj.fail.s() | group(proj.add.s(1), proj.add.s(2))

    sent = chord([head, proj.add.s(1, 1)], proj.xsum.s())()
    drain(proj.app)

    assert isinstance(sent.result, ChordError)


@pytest.mark.parametrize("exc", [Ignore("not now"), Reject("no"), SystemExit(1)])
@pytest.mark.parametrize("alone", [True, False])
def test_a_header_task_that_ends_in_no_usual_way_ends_the_chord(
    proj: Proj, exc: BaseException, alone: bool
) -> None:
    @proj.app.task(name="proj.odd")
    def odd() -> None:
        raise exc

    member = odd.s() if alone else odd.s() | proj.echo.s()
    sent = chord([proj.add.s(1, 1), member], proj.xsum.s())()
    drain(proj.app)

    assert isinstance(sent.result, ChordError)


def test_a_header_task_may_be_tried_again(proj: Proj) -> None:
    tries = []

    @proj.app.task(name="proj.again", bind=True)
    def again(self: Any) -> int:
        tries.append(self.request.retries)
        if len(tries) < 3:
            raise self.retry(countdown=0)
        return 5

    assert proj.run(chord([again.s(), proj.add.s(1, 1)], proj.xsum.s())()) == 7
    assert tries == [0, 1, 2]


def test_header_tasks_need_not_keep_their_results(proj: Proj) -> None:
    silent = proj.app.task(lambda x: x, name="proj.silent", ignore_result=True)

    assert proj.run(chord([silent.s(1), silent.s(2)], proj.xsum.s())()) == 3


def test_a_value_that_a_body_cannot_be_sent_fails_the_chord(proj: Proj) -> None:
    proj.app.conf.result_serializer = "pickle"
    proj.app.conf.result_accept_content = ["pickle"]
    odd = proj.app.task(lambda: {1, 2}, name="proj.set")

    sent = chord([odd.s(), odd.s()], proj.xsum.s())()
    drain(proj.app)

    assert str(sent.result).startswith("Callback error")


# --- replace, add to the chord ------------------------------------------------------------------


@pytest.fixture
def replaced(proj: Proj) -> Any:
    """A task that is replaced by whatever signature it is given."""

    @proj.app.task(name="proj.replaced", bind=True)
    def replaced(self: Any, *args: Any, sig: Any = None) -> Any:
        return self.replace(proj.app.signature(sig))

    return replaced


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("inside", ["alone", "chain", "chord", "group", "nested"])
@pytest.mark.parametrize("kind", ["task", "chain", "group", "chord", "chain to group"])
def test_a_task_is_replaced_wherever_it_stands(
    proj: Proj, replaced: Any, kind: str, inside: str, eager: bool
) -> None:
    a, b = proj.add.s(1, 1), proj.add.s(2, 2)
    by, value = {
        "task": (a, 2),
        "chain": (a | proj.mul.s(10), 20),
        "group": (group(a, b), [2, 4]),
        "chord": (chord([a, b], proj.xsum.s()), 6),
        "chain to group": (proj.echo.s(1) | group(proj.add.s(1), proj.add.s(2)), [2, 3]),
    }[kind]
    one = replaced.s(sig=by)
    made, expected = {
        "alone": (one, value),
        "chain": (chain(proj.echo.s(0), one, proj.echo.s()), value),
        "chord": (chord([b, one], proj.echo.s()), [4, value]),
        "group": (group(one, b), [value, 4]),
        "nested": (replaced.s(sig=one), value),
    }[inside]
    proj.app.conf.task_always_eager = eager

    sent = made.delay()

    assert proj.run(sent) == expected


def test_a_replacement_bears_the_id_the_callbacks_and_the_stamps(proj: Proj) -> None:
    seen = []

    @proj.app.task(name="proj.second", bind=True)
    def second(self: Any) -> int:
        request = self.request
        seen.append((request.id, request.replaced_task_nesting, request.stamps))
        return 7

    @proj.app.task(name="proj.first", bind=True)
    def first(self: Any) -> Any:
        return self.replace(second.s())

    made = first.s()
    made.link(proj.note.s("linked"))
    made.stamp(tenant="acme")
    sent = made.delay()

    assert proj.run(sent) == 7
    assert seen == [(sent.id, 1, {"tenant": "acme"})]
    assert proj.seen == [(7, "linked")]


def test_a_replacement_that_fails_tells_the_errbacks_of_the_first(
    proj: Proj, replaced: Any
) -> None:
    sent = replaced.s(sig=proj.fail.s()).apply_async(link_error=proj.heard.s())
    drain(proj.app)

    assert isinstance(sent.result, ZeroDivisionError)
    assert proj.seen == [sent.id]


def test_what_cannot_replace_a_task_is_refused(proj: Proj, replaced: Any) -> None:
    for wrong in (chain(), proj.echo.s(1).set(chord=proj.xsum.s())):
        sent = replaced.delay(sig=wrong)
        drain(proj.app)
        assert isinstance(sent.result, ImproperlyConfigured)


def test_a_running_part_adds_tasks_to_its_chord(proj: Proj) -> None:
    @proj.app.task(name="proj.more", bind=True)
    def more(self: Any, n: int) -> int:
        for extra in range(n):
            self.add_to_chord(proj.echo.s(10 + extra))
        return 1

    if not proj.app.backend.counts_parts:
        sent = chord([more.s(1)], proj.xsum.s())()
        drain(proj.app)
        assert "counts the parts" in str(sent.result)
        return
    assert proj.run(chord([more.s(2), proj.echo.s(5)], proj.xsum.s())()) == 27


def test_a_task_outside_of_any_chord_cannot_add_to_one(proj: Proj) -> None:
    @proj.app.task(name="proj.lonely", bind=True)
    def lonely(self: Any) -> None:
        self.add_to_chord(proj.echo.s(1))

    sent = lonely.delay()
    drain(proj.app)

    assert "is not part of a chord" in str(sent.result)


def test_a_part_that_expires_is_left_to_workers_which_tell_its_chord(proj: Proj) -> None:
    """RabbitMQ drops in silence what has an `expiration`."""
    alone = proj.add.s(1, 1).set(expires=60)
    with gather() as publications:
        chord([alone, alone | proj.echo.s()], proj.xsum.s())()
        alone.delay()

    sent = [decode_envelope(one.envelope) for one in publications][-3:]
    assert ["expiration" in message.properties for message in sent] == [False, False, True]
    assert all(message.headers["expires"] for message in sent)
