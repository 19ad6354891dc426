"""Groups made of generators: a long one is read, sent and forgotten member by member."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from taskctl import App, chord, group
from taskctl.core.tasks import sources
from taskctl.core.tasks.signature import Signature


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Iterator[App]:
    """An app for which 50 members are many."""
    monkeypatch.setattr(sources, "MOST_HELD", 50)
    monkeypatch.setattr("taskctl.core.messaging.producer.BATCH", 20)
    name = uuid4()
    with App("long", broker=f"memory://{name}", backend=f"memory://{name}") as app:
        app.task(lambda x: x, name="long.echo")
        yield app


def members(app: App, count: int) -> Iterator[Any]:
    return (app.signature("long.echo", args=(number,)) for number in range(count))


def size(app: App) -> int:
    return int(app.shared_connection().broker.size("celery"))


def test_a_long_generator_is_read_while_its_tasks_are_sent(app: App) -> None:
    waiting, alive = [], []

    def watched() -> Iterator[Any]:
        for number in range(400):
            if number % 100 == 0:
                gc.collect()
                waiting.append(size(app))
                alive.append(sum(isinstance(one, Signature) for one in gc.get_objects()))
            yield app.signature("long.echo", args=(number,))

    sent = group(watched(), app=app)()

    assert size(app) == len(sent) == 400
    assert waiting[1] >= 60
    assert waiting[3] >= 260
    assert max(alive) - alive[0] < 120


def test_a_long_generator_sends_what_a_list_sends(app: App) -> None:
    sent = group(members(app, 100), app=app)()

    messages = [json.loads(one) for one in app.shared_connection().broker.take("celery")]
    assert [message["headers"]["id"] for message in messages] == [one.id for one in sent]
    assert [message["headers"]["argsrepr"] for message in messages] == [
        f"({number},)" for number in range(100)
    ]
    assert {message["headers"]["group"] for message in messages} == {sent.id}


def test_a_long_generator_is_sent_once(app: App) -> None:
    made = group(members(app, 51), app=app)
    made()

    for again in (made, made.freeze, lambda: made.tasks, lambda: json.dumps(made)):
        with pytest.raises(RuntimeError, match="make it of a list to use it again"):
            again()
    assert size(app) == 51


def test_a_short_generator_is_sent_as_often_as_you_like(app: App) -> None:
    made = group(members(app, 50), app=app)

    made()
    made()

    assert size(app) == 100


@pytest.mark.parametrize(
    "look",
    [
        lambda made: len(json.loads(json.dumps(made))["kwargs"]["tasks"]),
        lambda made: len(made.tasks),
        len,
        lambda made: len(dict(made)["kwargs"]["tasks"]),
        lambda made: len({**made}["kwargs"]["tasks"]),
        lambda made: len(made.clone().tasks),
        lambda made: len(made.get("kwargs")["tasks"]),
        lambda made: len(dict(made.items())["kwargs"]["tasks"]),
        lambda made: len(chord(made, made.tasks[0]).tasks),
        lambda made: len(made.freeze()),
        lambda made: repr(made).count("echo("),
    ],
)
def test_whoever_looks_at_a_long_generator_finds_all_of_it(app: App, look: Any) -> None:
    made = group(members(app, 60), app=app)

    assert look(made) == 60
    assert len(made()) == 60


def test_a_long_group_equals_that_of_a_list(app: App) -> None:
    assert group(members(app, 60), app=app) == group(list(members(app, 60)), app=app)
    assert group(list(members(app, 60)), app=app) == group(members(app, 60), app=app)
    assert group(members(app, 60), app=app) != group(members(app, 61), app=app)


def test_a_long_generator_knows_its_app_without_being_read(app: App) -> None:
    read: list[int] = []

    def watched() -> Iterator[Any]:
        for number in range(100):
            read.append(number)
            yield app.signature("long.echo", args=(number,), app=app)

    made = group(watched())

    assert made.app is app
    assert len(read) == 51


def test_what_is_no_signature_is_refused_where_it_stands(app: App) -> None:
    def broken() -> Iterator[Any]:
        yield from members(app, 60)
        yield 61

    made = group(broken(), app=app)

    with pytest.raises(TypeError, match="a group holds signatures, got 61"):
        made()


def test_a_long_group_as_the_header_of_a_chord_is_read_whole(app: App) -> None:
    sent = (group(members(app, 60), app=app) | app.signature("long.echo"))()

    assert len(sent.parent) == 60
    assert size(app) == 60
