"""What follows what, as Celery's result objects and ours tell it of the same stored results."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import celery
import celery.result
import pytest

import taskctl
from taskctl import App
from taskctl.core import current
from taskctl.core.tasks.result import result_from_tuple
from tests.support.draining import drain


class Trees:
    """An app of each kind, on the same results."""

    def __init__(self, ours: App, theirs: Any) -> None:
        self.ours, self.theirs = ours, theirs
        self.add = ours.task(_add, name="trees.add")
        self.total = ours.task(lambda values: sum(values), name="trees.total")
        self.fail = ours.task(lambda *args: 1 / 0, name="trees.fail")

    def run(self, made: Any) -> tuple[Any, Any]:
        """Run a workflow; return its result as either package sees it, from its tuple."""
        sent = made.delay()
        drain(self.ours)
        travelled = json.loads(json.dumps(sent.as_tuple()))
        return (
            result_from_tuple(travelled, self.ours),
            celery.result.result_from_tuple(travelled, self.theirs),
        )


def _add(x: int, y: int) -> int:
    return x + y


@pytest.fixture
def trees(redis_url: str) -> Iterator[Trees]:
    before = current.get_app(make=False)
    theirs = celery.Celery("trees", backend=redis_url, broker="memory://", set_as_current=False)
    with App("trees", broker=f"memory://{uuid4()}", backend=redis_url) as ours:
        yield Trees(ours, theirs)
    # What Celery has asked to be told of is asked for again when it is collected.
    theirs.backend.remove_pending_result = lambda result: result
    theirs.close()
    current.set_app(before)


def _first(result: Any) -> Any:
    while result.parent is not None:
        result = result.parent
    return result


def _workflows(trees: Trees) -> dict[str, Any]:
    add, total, group = trees.add, trees.total, taskctl.group
    linked = add.s(1, 1)
    linked.link(add.s(10))
    linked.link(add.s(20))
    return {
        "one": add.s(1, 1),
        "chain": add.s(1, 1) | add.s(2) | add.s(3),
        "linked": linked,
        "group": group(add.s(1, 1), add.s(2, 2)),
        "group of chains": group(add.s(1, 1) | add.s(2), add.s(2, 2)),
        "chain to a group": add.s(1, 1) | group(add.s(1), add.s(2)),
        "chord": group(add.s(1, 1), add.s(2, 2)) | total.s(),
        "chord in a chain": add.s(1, 1) | group(add.s(1), add.s(2)) | total.s() | add.s(1),
        "chord of chords": taskctl.chord(
            [taskctl.chord([add.s(1, 1)] * 2, total.s()), add.s(1, 1)], total.s()
        ),
        "failed chain": add.s(1, 1) | trees.fail.s() | add.s(1),
    }


_NAMES = (
    "one,chain,linked,group,group of chains,chain to a group,chord,chord in a chain,"
    "chord of chords,failed chain"
).split(",")


@pytest.mark.parametrize("name", _NAMES)
def test_both_tell_the_same_of_a_workflow(trees: Trees, name: str) -> None:
    ours, theirs = trees.run(_workflows(trees)[name])

    assert _facts(ours) == _facts(theirs)
    assert _facts(_first(ours)) == _facts(_first(theirs))


def _facts(result: Any) -> dict[str, Any]:
    """Return what a result and those around it say."""
    facts: dict[str, Any] = {
        "tuple": json.loads(json.dumps(result.as_tuple())),
        "ready": result.ready(),
        "successful": result.successful(),
        "failed": result.failed(),
        "children": [str(child.id) for child in result.children or ()],
        "parent": None if result.parent is None else result.parent.id,
    }
    if hasattr(result, "results"):
        facts |= {
            "members": [_facts(one) for one in result.results],
            "iterated": [one.id for one in result],
            "length": len(result),
            "completed": result.completed_count(),
            "waiting": result.waiting(),
            "join": result.join(timeout=5) if result.successful() else None,
            "join_native": result.join_native(timeout=5) if result.successful() else None,
            "native": sorted(id for id, _ in result.iter_native()),
            "get": result.get(timeout=5) if result.successful() else None,
        }
        return facts
    facts |= {
        "state": result.state,
        "date": result.date_done is not None,
        "deps": [
            (parent and str(parent.id), str(node.id))
            for parent, node in result.iterdeps(intermediate=True)
        ],
    }
    if result.successful():
        facts |= {
            "value": result.get(timeout=5),
            "leaf": _tried(result.get_leaf),
            "collected": _tried(lambda: [(one.id, value) for one, value in result.collect()]),
            "graph": {
                str(node.id): [str(made.id) for made in edges]
                for node, edges in result.build_graph(intermediate=True).items()
            },
            "sorted": len(result.graph.topsort()),
        }
    return facts


def _tried(call: Any) -> Any:
    try:
        return call()
    except Exception as exc:
        return type(exc).__name__


def test_a_saved_group_is_restored_by_the_other(trees: Trees) -> None:
    ours, theirs = trees.run(taskctl.group(trees.add.s(1, 1), trees.add.s(2, 2)))

    ours.save()
    restored = celery.result.GroupResult.restore(ours.id, app=trees.theirs)
    assert restored.get(timeout=5) == [2, 4]
    restored.delete()
    assert taskctl.GroupResult.restore(ours.id, app=trees.ours) is None
    theirs.save()
    again = taskctl.GroupResult.restore(theirs.id, app=trees.ours)
    assert again is not None
    assert again.get(timeout=5) == [2, 4]
    again.delete()
    assert celery.result.GroupResult.restore(ours.id, app=trees.theirs) is None
