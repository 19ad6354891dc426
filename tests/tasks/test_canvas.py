"""Chains and groups: what is sent, what runs, and what comes back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from taskctl import App, chain, group
from taskctl.core import current
from taskctl.core.messaging.producer import gather
from taskctl.core.wire.message import decode_envelope
from tests.support.draining import drain


class Proj:
    """An app with a few tasks."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.seen: list[Any] = []
        self.add = app.task(lambda x, y: x + y, name="proj.add")
        self.mul = app.task(lambda x, y: x * y, name="proj.mul")
        self.fail = app.task(lambda *args: 1 / 0, name="proj.fail")
        self.note = app.task(lambda *args: self.seen.append(args), name="proj.note")


@pytest.fixture
def proj() -> Iterator[Proj]:
    before = current.get_app(make=False)
    with App("proj", broker="memory://canvas") as app:
        app.control.purge()
        yield Proj(app)
    current.set_app(before)


def _sent(call: Any) -> list[tuple[dict[str, Any], Any]]:
    with gather() as publications:
        call()
    messages = [decode_envelope(p.envelope) for p in publications]
    return [(message.headers, json.loads(message.body)) for message in messages]


# --- chains -----------------------------------------------------------------------------------


def test_each_task_of_a_chain_gets_the_value_before(proj: Proj) -> None:
    result = chain(proj.add.s(4, 4) | proj.mul.s(8))()
    drain(proj.app)

    assert result.get(timeout=1) == 64
    assert result.parent.get() == 8
    assert result.parent.parent is None


def test_chains_are_made_in_many_ways_and_are_flat(proj: Proj) -> None:
    a, b, c = proj.add.s(1, 1), proj.mul.s(2), proj.mul.s(3)

    for made in (a | b | c, chain(a, b, c), chain([a, b, c]), chain(a, chain(b, c)), a | (b | c)):
        assert made.tasks == [a, b, c]
        assert made["task"] == "celery.chain"
    assert chain(a, group(b), c).tasks == [a, b, c]
    assert chain(a, group(), c).tasks == [a, c]
    assert (chain(x for x in (a, b))).tasks == [a, b]


def test_a_chain_takes_arguments_for_its_first_task(proj: Proj) -> None:
    result = chain(proj.add.s(1), proj.mul.s(10)).delay(2)
    kept = chain(proj.add.si(1, 1), proj.mul.s(10)).delay(99)
    drain(proj.app)

    assert (result.get(timeout=1), kept.get(timeout=1)) == (30, 20)


def test_a_chain_of_one_is_that_task_and_one_of_none_is_nothing(proj: Proj) -> None:
    result = chain(proj.add.s(1, 1))()
    drain(proj.app)

    assert result.get(timeout=1) == 2
    assert chain()() is None
    assert chain([]).apply_async() is None


def test_options_of_a_chain_go_where_they_belong(proj: Proj) -> None:
    steps = chain(proj.add.s(1, 1), proj.mul.s(2))
    steps.link(proj.note.s())

    ((headers, body),) = _sent(
        lambda: steps.apply_async(task_id="last", link_error=proj.note.s("error"), priority=3)
    )

    (rest,) = body[2]["chain"]
    assert headers["id"] != "last"
    assert rest["options"]["task_id"] == "last"
    assert [link["task"] for link in rest["options"]["link"]] == ["proj.note"]
    assert "priority" not in rest["options"]
    for errbacks in (body[2]["errbacks"], rest["options"]["link_error"]):
        assert [errback["args"] for errback in errbacks] == [["error"]]


def test_sending_a_chain_twice_sends_other_ids(proj: Proj) -> None:
    steps = chain(proj.add.s(1, 1), proj.mul.s(2))

    first, second = steps.delay(), steps.delay()

    assert first.id != second.id
    assert all("task_id" not in task.options for task in steps.tasks)


def test_a_chain_that_fails_fails_for_whoever_waits_for_its_end(proj: Proj) -> None:
    result = chain(proj.add.s(1, 1), proj.fail.s(), proj.add.s(1)).apply_async(
        link_error=proj.note.si("told")
    )
    drain(proj.app)

    with pytest.raises(ZeroDivisionError):
        result.get(timeout=1)
    assert proj.seen == [("told",)]


def test_a_chain_inside_a_chain_is_followed_by_the_rest(proj: Proj) -> None:
    inner = chain(proj.add.s(1), proj.mul.s(10))
    proj.app.task(lambda x: x, name="proj.same")

    result = chain(proj.app.signature("proj.same", (1,)), inner, proj.add.s(5)).delay()
    drain(proj.app)

    assert result.get(timeout=1) == 25


def test_a_chain_ending_in_a_group_gives_a_group_of_values(proj: Proj) -> None:
    result = (proj.add.s(1, 1) | group(proj.mul.s(2), proj.mul.s(3)))()
    drain(proj.app)

    assert result.get(timeout=1) == [4, 6]
    assert result.parent.get() == 2


def test_a_chain_runs_here_with_apply(proj: Proj) -> None:
    steps = chain(proj.add.s(1), proj.mul.s(10))
    steps.link(proj.note.s())

    result = steps.apply((2,))

    assert (result.get(), result.parent.get()) == (30, 3)
    assert proj.seen == [(30,)]


@pytest.mark.parametrize(
    "wrong", [lambda: chain(1, 2), lambda: group([1]), lambda: group(print, 1)]
)
def test_only_signatures_can_be_composed(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"use task\.s\(\.\.\.\)"):
        wrong()


def test_a_chain_reads_as_it_runs(proj: Proj) -> None:
    assert repr(proj.add.s(2, 2) | proj.mul.s(4)) == "proj.add(2, 2) | mul(4)"
    assert "empty" in repr(chain())


# --- groups -----------------------------------------------------------------------------------


def test_a_group_gives_its_values_in_order(proj: Proj) -> None:
    result = group(proj.add.s(i, i) for i in range(10))()
    drain(proj.app)

    assert result.get(timeout=1) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert len(result) == 10
    assert result.successful()


def test_groups_are_made_in_many_ways_and_nested_ones_are_flat(proj: Proj) -> None:
    a, b = proj.add.s(1, 1), proj.add.s(2, 2)

    for made in (group(a, b), group([a, b]), group((a, b)), group(x for x in (a, b))):
        assert made.tasks == [a, b]
    assert group(a).tasks == [a]
    result = group(a, group(b, group(a, b)))()
    drain(proj.app)
    assert result.get(timeout=1) == [2, 4, 2, 4]
    headers = [h for h, _ in _sent(group(a, group(b, a)))]
    assert [h["group_index"] for h in headers] == [0, 1, 2]
    assert len({h["group"] for h in headers}) == 1


def test_a_group_takes_arguments_for_all_its_tasks(proj: Proj) -> None:
    result = group(proj.add.s(1), proj.mul.s(5))(10)
    drain(proj.app)

    assert result.get(timeout=1) == [11, 50]


def test_a_group_of_none_is_ready(proj: Proj) -> None:
    result = group(app=proj.app)()

    assert result.get(timeout=1) == []
    assert repr(group()) == "group(<empty>)"
    assert (group(proj.add.s(1, 1)) | group()).tasks == [proj.add.s(1, 1)]


def test_a_group_of_chains_gives_the_value_of_each(proj: Proj) -> None:
    result = group(
        chain(proj.add.s(1, 1), proj.mul.s(2)), chain(proj.add.s(2, 2), proj.mul.s(3)), chain()
    )()
    drain(proj.app)

    assert result.get(timeout=1) == [4, 12]


def test_a_group_takes_no_links_of_its_own(proj: Proj) -> None:
    pair = group(proj.add.s(1, 1), proj.add.s(2, 2))

    with pytest.raises(TypeError, match="takes no link"):
        pair.apply_async(link=proj.note.s())
    with pytest.raises(TypeError, match="takes no link_error"):
        pair.apply_async(link_error=proj.note.s())


def test_links_of_a_group_go_to_its_tasks(proj: Proj) -> None:
    pair = group(proj.add.s(1, 1), proj.fail.s())
    pair.link(proj.note.s("linked"))
    pair.link_error(proj.note.si("failed"))

    pair()
    drain(proj.app)

    assert sorted(proj.seen) == [("failed",), ("linked",)]


def test_a_group_is_skewed(proj: Proj) -> None:
    countdowns = [
        task.options["countdown"]
        for task in group(proj.add.s(1, 1) for _ in range(4)).skew(start=1, stop=6, step=2).tasks
    ]

    assert countdowns == [1, 3, 5, 6]


def test_a_group_runs_here_with_apply(proj: Proj) -> None:
    assert group(proj.add.s(1), proj.mul.s(5)).apply((10,)).get() == [11, 50]


def test_a_group_made_inside_a_task_is_its_child(proj: Proj) -> None:
    @proj.app.task(name="proj.outer")
    def outer() -> None:
        group(proj.add.s(1, 1), proj.add.s(2, 2))()

    result = outer.delay()
    drain(proj.app)

    result.get(timeout=1)
    (child,) = result.children
    assert child.get(timeout=1) == [2, 4]


def test_a_large_group_leaves_in_batches(proj: Proj) -> None:
    result = group(proj.add.s(i, 0) for i in range(1200))()

    assert proj.app.shared_connection().broker.size("celery") == 1200
    drain(proj.app)
    assert result.get(timeout=5) == list(range(1200))


def test_compositions_run_at_once_where_the_settings_say_so(proj: Proj) -> None:
    proj.app.conf.task_always_eager = True

    assert group(proj.add.s(i, i) for i in range(3))().get() == [0, 2, 4]
    assert chain(proj.add.s(1, 1), proj.mul.s(9))().get() == 18
    assert (proj.add.s(1, 1) | group(proj.mul.s(2), proj.mul.s(3)))().get() == [4, 6]


# --- many items -------------------------------------------------------------------------------


def test_a_task_is_mapped_over_many_items(proj: Proj) -> None:
    double = proj.app.task(lambda x: 2 * x, name="proj.double")

    mapped = double.map([1, 2, 3]).delay()
    starred = proj.add.starmap([(1, 1), (2, 2)]).delay()
    chunked = proj.add.chunks([(i, i) for i in range(5)], 2)()
    outcomes = drain(proj.app)

    assert mapped.get(timeout=1) == [2, 4, 6]
    assert starred.get(timeout=1) == [2, 4]
    assert chunked.get(timeout=1) == [[0, 2], [4, 6], [8]]
    assert len(outcomes) == 5
    assert repr(double.map([1])) == "[proj.double(x) for x in [1]]"


def test_a_map_goes_where_its_task_would_go(proj: Proj) -> None:
    proj.app.conf.task_routes = {"proj.add": "math"}

    with gather() as publications:
        proj.add.starmap([(1, 1)]).delay()

    assert publications[0].routing_key == "math"


def test_compound_signatures_travel(proj: Proj) -> None:
    for made in (
        chain(proj.add.s(1, 1), proj.mul.s(2)),
        group(proj.add.s(1, 1), chain(proj.add.s(1, 1), proj.mul.s(2))),
        proj.add.map([1]),
        proj.add.starmap([(1, 2)]),
        proj.add.chunks([(1, 2)], 1),
    ):
        copy = proj.app.signature(json.loads(json.dumps(made)))
        assert type(copy) is type(made)
        assert json.dumps(copy) == json.dumps(made)
