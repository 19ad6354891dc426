"""Chords whose parts run in workers of Celery and of ours, on one queue: both count together.

The tasks have names that no other test uses: what is shared in this process reaches every app.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import celery
import celery.exceptions
import pytest
import redis

import taskctl
from taskctl.core.errors import ChordError

from ..support.mixed import Mixed
from ..support.waiting import eventually

_PROJECT = """\
import os, redis
if os.environ["SIDE"] == "celery":
    from celery import Celery, chord, group
else:
    from taskctl import Celery, chord, group

app = Celery("proj", broker={url!r}, backend={backend!r})
app.conf.update({settings!r})
marks = redis.Redis.from_url({url!r})

def deep(values):
    return sum(map(deep, values)) if isinstance(values, list) else values

@app.task(name="mixed.add")
def add(x, y):
    return deep(x) + y

@app.task(name="mixed.xsum")
def xsum(values):
    return deep(values)

@app.task(name="mixed.echo")
def echo(*args):
    return args[-1]

@app.task(name="mixed.fail")
def fail(*args):
    raise ValueError("boom", 42)

@app.task(name="mixed.end")
def end(values, key):
    marks.rpush("ends:" + key, os.environ["SIDE"])
    return deep(values)

@app.task(name="mixed.heard")
def heard(task_id, key):
    marks.rpush("heard:" + key, os.environ["SIDE"])

@app.task(name="mixed.heard_one")
def heard_one(task_id):
    marks.rpush("heard", task_id)

@app.task(name="mixed.again", bind=True, max_retries=1)
def again(self, *args):
    if not self.request.retries:
        raise self.retry(countdown=0)
    return args[-1]

@app.task(name="mixed.by_task", bind=True)
def by_task(self, *args):
    return self.replace(add.s(args[-1], 100))

@app.task(name="mixed.by_group", bind=True)
def by_group(self, x):
    return self.replace(group(add.s(x, 1), add.s(x, 2)))

@app.task(name="mixed.by_chord", bind=True)
def by_chord(self, x):
    return self.replace(chord([add.s(x, 1), add.s(x, 2)], xsum.s()))

@app.task(name="mixed.more", bind=True)
def more(self, x):
    self.add_to_chord(echo.s(1000))
    return x

@app.task(name="mixed.stamps", bind=True)
def stamps(self):
    return self.request.stamps
"""


class Canvas(Mixed):
    """One worker of each kind on one Redis; and what a client of either kind sends."""

    def __init__(self, folder: Path, url: str, backend: str) -> None:
        super().__init__(folder, url, backend, result_chord_join_timeout=10.0)
        text = _PROJECT.format(url=url, backend=backend, settings=self.settings)
        (folder / "proj.py").write_text(text)
        self.marks = redis.Redis.from_url(url)

    def sender(self, side: str) -> Sender:
        return Sender(celery if side == "celery" else taskctl, self)


class Sender:
    """Builds signatures with one of the two packages."""

    def __init__(self, api: Any, canvas: Canvas) -> None:
        self.api, self.canvas = api, canvas
        self.app = canvas.theirs if api is celery else canvas.ours

    def s(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.app.signature(f"mixed.{name}", args=args, kwargs=kwargs)

    def chord(self, header: Any, body: Any) -> Any:
        return self.api.chord(header, body, app=self.app)

    def group(self, *tasks: Any) -> Any:
        return self.api.group(*tasks, app=self.app)

    def chain(self, *tasks: Any) -> Any:
        return self.api.chain(*tasks)


pytestmark = pytest.mark.filterwarnings("ignore:task_allow_error_cb_on_chord_header")


@contextlib.contextmanager
def _standing(folder: Path, url: str, backend: str) -> Iterator[Canvas]:
    canvas = Canvas(folder, url, backend)
    try:
        canvas.start("celery", "theirs", "-c", "2", "--without-mingle", "--without-gossip")
        canvas.start("taskctl", "ours", "-c", "2")
        canvas.wait_ready()
        yield canvas
    finally:
        # Celery's results ask the server when they are collected, which may be gone by then.
        canvas.theirs.backend.remove_pending_result = lambda result: result
        canvas.close()
        canvas.marks.close()


@pytest.fixture(scope="module")
def canvas(tmp_path_factory: pytest.TempPathFactory, lone_url: str) -> Iterator[Canvas]:
    with _standing(tmp_path_factory.mktemp("canvas"), lone_url, lone_url) as canvas:
        yield canvas


@pytest.fixture(params=["celery", "taskctl"])
def sender(request: pytest.FixtureRequest, canvas: Canvas) -> Sender:
    return canvas.sender(request.param)


Shape = Callable[[Sender], Any]

#: What is sent, and its value.
_SHAPES: dict[str, tuple[Shape, Any]] = {
    "chord of three": (lambda p: p.chord([p.s("add", n, n) for n in (1, 2, 3)], p.s("xsum")), 12),
    "nested": (
        lambda p: p.chord(
            [p.s("echo", 1), p.chord([p.s("echo", 2)] * 2, p.s("xsum"))], p.s("xsum")
        ),
        5,
    ),
    "chord in a chain": (
        lambda p: p.chain(
            p.s("add", 1, 1), p.group(p.s("add", 2), p.s("add", 3)), p.s("xsum"), p.s("add", 10)
        ),
        19,
    ),
    "chain as body": (
        lambda p: p.chord([p.s("echo", 1), p.s("echo", 2)], p.s("xsum") | p.s("add", 5)),
        8,
    ),
    "group as body": (
        lambda p: p.chord([p.s("echo", 1), p.s("echo", 2)], p.group(p.s("xsum"), p.s("echo"))),
        [3, [1, 2]],
    ),
    "chains in the header": (
        lambda p: p.chord([p.s("echo", 1) | p.s("add", n) for n in (1, 2)], p.s("xsum")),
        5,
    ),
    "chain to a group in the header": (
        lambda p: p.chord(
            [p.s("echo", 1) | p.group(p.s("add", 1), p.s("add", 2)), p.s("echo", 7)], p.s("echo")
        ),
        [[2, 3], 7],
    ),
    "retry in the header": (lambda p: p.chord([p.s("again", 1), p.s("echo", 2)], p.s("xsum")), 3),
    "replace in a chord": (
        lambda p: p.chord([p.s("by_task", 1), p.s("by_chord", 1), p.s("echo", 1)], p.s("echo")),
        [101, 5, 1],
    ),
    "replace by a group": (lambda p: p.s("by_group", 1), [2, 3]),
    "group replace in a chord": (
        lambda p: p.chord([p.s("by_group", 1), p.s("echo", 7)], p.s("echo")),
        [[2, 3], 7],
    ),
    "a part more": (lambda p: p.chord([p.s("more", 1), p.s("echo", 2)], p.s("xsum")), 1003),
    "empty header": (lambda p: p.chord([], p.s("xsum")), 0),
    "stamps": (lambda p: _stamped(p.s("stamps"), tenant="acme"), {"tenant": "acme"}),
}


def _stamped(made: Any, **stamps: Any) -> Any:
    made.stamp(**stamps)
    return made


@pytest.mark.parametrize("name", _SHAPES)
def test_every_shape_is_joined_by_workers_of_both_kinds(sender: Sender, name: str) -> None:
    shape, expected = _SHAPES[name]
    results = [shape(sender).apply_async() for _ in range(3)]

    assert [result.get(timeout=60) for result in results] == [expected] * 3


def test_an_error_in_the_header_fails_the_body_and_tells_its_errback_once(sender: Sender) -> None:
    sent = []
    for _ in range(6):
        made = sender.chord(
            [sender.s("echo", 1), sender.s("fail"), sender.s("echo", 2)], sender.s("xsum")
        )
        sent.append(made.apply_async(link_error=sender.s("heard_one")))

    for result in sent:
        with pytest.raises((ChordError, celery.exceptions.ChordError, ValueError)):
            result.get(timeout=60)
        eventually(lambda one=result: one.state == "FAILURE", within=30)
    told = eventually(lambda: _heard(sender.canvas, [r.id for r in sent]), within=30)
    assert sorted(told) == sorted(result.id for result in sent)


def _heard(canvas: Canvas, ids: list[str]) -> list[str] | None:
    told = [item.decode() for item in canvas.marks.lrange("heard", 0, -1)]
    ours = [id for id in told if id in ids]
    return ours if set(ours) == set(ids) else None


def _random_shape(p: Sender, chance: random.Random, key: str) -> tuple[Any, int | None]:
    """Return a chord of any form whose end leaves a mark, and its value (None: it fails)."""

    def member(depth: int) -> tuple[Any, int]:
        kind = chance.choice(["task", "task", "chain", "chord", "group chain", "again", "replaced"])
        n = chance.randrange(10)
        if kind == "chain":
            return p.s("echo", n) | p.s("add", 1), n + 1
        if kind == "chord" and depth < 2:
            parts = [member(depth + 1) for _ in range(chance.randrange(1, 4))]
            return p.chord([made for made, _ in parts], p.s("xsum")), sum(v for _, v in parts)
        if kind == "group chain" and depth < 2:
            return (
                p.chain(p.s("echo", n), p.group(p.s("add", 1), p.s("add", 2)), p.s("xsum")),
                2 * n + 3,
            )
        if kind == "again":
            return p.s("again", n), n
        if kind == "replaced":
            return p.s("by_task", n), n + 100
        return p.s("echo", n), n

    parts = [member(0) for _ in range(chance.randrange(1, 7))]
    header, value = [made for made, _ in parts], sum(v for _, v in parts)
    if chance.random() < 0.2:
        header.insert(chance.randrange(len(header) + 1), p.s("fail"))
        value = None
    made = p.chord(header, p.s("end", key))
    if value is not None and chance.random() < 0.3:
        made = p.chain(p.s("echo", 0), made)
    return made, value


def test_every_chord_of_a_hundred_ends_and_runs_its_body_once(canvas: Canvas) -> None:
    chance = random.Random(20)
    senders = [canvas.sender("celery"), canvas.sender("taskctl")]
    expected, results = {}, {}
    for number in range(100):
        key = f"shape{number}"
        made, expected[key] = _random_shape(senders[number % 2], chance, key)
        results[key] = made.apply_async(link_error=senders[0].s("heard", key))
    deadline = time.monotonic() + 120

    for key, value in expected.items():
        result = results[key]
        eventually(result.ready, within=max(1.0, deadline - time.monotonic()))
        found = result.get(timeout=10, propagate=False)
        assert (result.state, found) == ("SUCCESS", value) or value is None, key
        assert (result.state == "FAILURE") == (value is None), key
    for key, value in expected.items():
        assert canvas.marks.llen(f"ends:{key}") == (value is not None), key
    logs = [member.log for member in canvas.members.values()]
    assert all("mixed.echo" in log for log in logs), "one of them did all the work"


def test_where_nobody_counts_both_kinds_unlock_the_chords_of_both(
    tmp_path: Path, redis_url: str
) -> None:
    """Files count nothing: `celery.chord_unlock` goes round until the header is there."""
    results = tmp_path / "results"
    results.mkdir()
    with _standing(tmp_path / "fleet", redis_url, f"file://{results}") as canvas:
        sent = {}
        for side in ("celery", "taskctl"):
            p = canvas.sender(side)
            for number in range(4):
                # No retry: Celery writes RETRY into the file while the next try writes SUCCESS.
                header = [p.s("echo", 1), p.s("echo", 2), p.s("add", 3, 4)]
                key = f"{side}{number}"
                sent[key] = p.chord(header, p.s("end", key)).apply_async()
            bad = p.chord([p.s("echo", 1), p.s("fail")], p.s("end", f"{side} bad"))
            sent[f"{side} bad"] = bad.apply_async(link_error=p.s("heard", f"{side} bad"))

        for key, result in sent.items():
            eventually(result.ready, within=60)
            if "bad" in key:
                assert result.state == "FAILURE"
                eventually(lambda k=key: canvas.marks.llen(f"heard:{k}"), within=30)
            else:
                assert result.get(timeout=10) == 10
        for key in sent:
            assert canvas.marks.llen(f"ends:{key}") == ("bad" not in key), key
