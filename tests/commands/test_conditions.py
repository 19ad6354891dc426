"""The language of --where and `wait`: what holds, what does not, what is refused and how."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.conditions import Condition, look_up, quantity
from taskctl.failures import USAGE, CommandError

ROW = {
    "queue": "images",
    "depth": 12,
    "oldest_seconds": 700.0,
    "size": 3 * 1024**2,
    "node": "w1@web-3.example.com",
    "task": "proj.images.thumbnail",
    "attempts": None,
    "paused": False,
    "nodes": ["w1@a", "w2@a"],
    "delivery_info": {"routing_key": "a.b", "priority": 3},
}


@pytest.mark.parametrize(
    "text",
    [
        "queue == images",
        "queue == 'images'",
        'queue=="images"and depth>2',
        "queue != video",
        "depth >= 12 and depth <= 12",
        "2 < depth < 100",
        "depth > -1",
        "not paused",
        "paused == false",
        "not (queue == video or depth == 0)",
        "oldest_seconds > 10m",
        "oldest_seconds < 1h and oldest_seconds > 250ms",
        "size == 3MiB",
        "size > 2kB",
        "task == proj.*",
        "task == 'proj.*.thumb*'",
        "task != other.*",
        "node == w1@web-3.example.com",
        "node == w1@*",
        "queue in (images, video)",
        "queue in [video, 'images']",
        "queue not in (a, b)",
        "queue in 'images,video'",
        "nodes == w1@a",
        "attempts == none",
        "attempts is none",
        "attempts != 3",
        "not attempts > 3",
        "delivery_info.routing_key == a.b",
        "delivery_info['priority'] == 3",
        "depth",
        "12 == depth",
    ],
)
def test_what_holds(text: str) -> None:
    assert Condition(text, ROW).holds(ROW)


@pytest.mark.parametrize(
    "text",
    [
        "queue == video",
        "queue == 'Images'",
        "depth > 12",
        "attempts > 0",
        "attempts < 100",
        "attempts == 3",
        "paused",
        "queue in ()",
        "oldest_seconds > 1d",
        "task == proj",
    ],
)
def test_what_does_not_hold(text: str) -> None:
    assert not Condition(text, ROW).holds(ROW)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no condition"),
        ("queue = images", "is no condition"),
        ("depth >", "is no condition"),
        ("depth > 2 and", "is no condition"),
        ("(depth > 2", "is no condition"),
        ("depth > 2 depth < 5", "is no condition"),
        ("'open", "is no condition"),
        ("dept > 2", "there is no 'dept' here"),
        ("my-depth > 2", "there is no 'my-depth' here"),
        ("depth + 1 > 2", "is no condition"),
        ("depth+1 > 2", "there is no 'depth+1' here"),
        ("__import__('os').system('true')", "only comparisons are understood"),
        ("[x for x in nodes]", "is no condition"),
        ("f'{depth}' == 12", "only comparisons are understood"),
        ("lambda: 1", "is no condition"),
        ("not " * 5000 + "depth", "is no condition"),
        ("(" * 500 + "depth" + ")" * 500, "is no condition"),
        ("9" * 5000 + " == depth", "is no condition"),
    ],
)
def test_what_is_no_condition_is_refused(text: str, said: str) -> None:
    with pytest.raises(CommandError) as caught:
        Condition(text, ROW, "--where").holds(ROW)

    assert caught.value.exit_code == USAGE
    assert said in caught.value.message
    assert caught.value.message.startswith("--where ")


def test_the_cure_is_named() -> None:
    for text, cure in [
        ("queue = images", "compare with == rather than ="),
        ("dept > 2", "did you mean: depth"),
        ("zzz > 2", "there are: attempts, delivery_info"),
    ]:
        with pytest.raises(CommandError) as caught:
            Condition(text, ROW)
        assert any(cure in hint for hint in caught.value.hints)


def test_names_may_hold_dashes_dots_and_other_signs() -> None:
    row = {
        "queue": {
            "my-queue": {"depth": 0},
            "celery.dead": {"depth": 2},
            "a/b:c": {"depth": 3},
            "größe": {"depth": 4},
            "class": {"depth": 5},
            "2024": {"depth": 6},
        },
        "task": {"8f0c1a2b-0d6f-4f52-9c3e-0a8e1c6a7c11": {"state": "SUCCESS"}},
    }
    for text in (
        "queue.my-queue.depth==0",
        "queue.celery.dead.depth == 2",
        "queue.a/b:c.depth>2 and queue.größe.depth > 3",
        "queue.class.depth == 5",
        "queue.2024.depth == 6",
        "queue['my-queue'].depth == 0",
        "task.8f0c1a2b-0d6f-4f52-9c3e-0a8e1c6a7c11.state==SUCCESS",
        "queue.my-queue.depth < queue.celery.dead.depth",
    ):
        assert Condition(text, row).holds(row), text


def test_names_are_those_whose_values_are_asked_for() -> None:
    roots = ("workers", "queue", "task")

    def names(text: str) -> list[str]:
        return Condition(text, roots).names()

    assert names("workers.ready>=4") == ["workers.ready"]
    assert names("4 <= workers.ready") == ["workers.ready"]
    assert names("queue.my-q.depth == 0 or not queue.b.paused") == [
        "queue.my-q.depth",
        "queue.b.paused",
    ]
    assert names("workers.ready == workers.total and task.x-1.state == SUCCESS") == [
        "workers.ready",
        "workers.total",
        "task.x-1.state",
    ]


def test_a_longer_key_with_dots_is_found_first() -> None:
    row = {"a": {"b": 1, "b.c": 2}, "a.b.c": 3}

    assert look_up(row, "a.b.c") == 3
    assert look_up({"a": row["a"]}, "a.b.c") == 2
    assert look_up(row, "a.x") is None
    assert look_up(row, "z") is None


def test_quantities_are_seconds_and_bytes() -> None:
    assert (quantity("10m"), quantity("1.5h"), quantity("250ms")) == (600, 5400, 0.25)
    assert (quantity("2kB"), quantity("1GiB")) == (2000, 1024**3)
    assert quantity("10") is quantity("10 apples") is quantity("m") is None


# --- whatever is typed ----------------------------------------------------------------------------

words = st.text(
    st.characters(exclude_characters="'\"<>=!,()[]{}", exclude_categories=("Z", "C")), min_size=1
).filter(lambda word: not word.startswith(".") and not word.endswith("."))
PLAIN_WORDS = {"and", "or", "not", "in", "is", "none", "null", "None", "true", "True", "false",
               "False"}  # fmt: skip


@given(name=words)
def test_any_word_names_a_queue(name: str) -> None:
    row = {"queue": {name: {"depth": 3}}}

    condition = Condition(f"queue.{name}.depth==3", ["queue"])

    assert condition.names() == [f"queue.{name}.depth"]
    assert condition.holds(row)


@given(value=words)
def test_any_word_that_is_no_number_is_a_text_at_the_right(value: str) -> None:
    try:
        float(value)
        return
    except ValueError:
        pass
    if value in PLAIN_WORDS or quantity(value) is not None or value.partition(".")[0] == "name":
        return

    assert Condition(f"name == {value}", ["name"]).holds({"name": value})


@given(text=st.text())
def test_whatever_is_typed_is_a_condition_or_a_usage_error(text: str) -> None:
    with contextlib.suppress(CommandError):
        Condition(text, ROW).holds(ROW)


tokens = st.sampled_from(
    ["depth", "queue", "images", "==", "!=", "<", ">=", "and", "or", "not", "in", "is", "(", ")",
     "[", "]", ",", "'x'", "10m", "-3", "none", ".", "a-b", "{", "}", "nodes.x", "f", "*"]
)  # fmt: skip


@given(parts=st.lists(tokens, max_size=12))
def test_any_order_of_words_is_a_condition_or_a_usage_error(parts: list[str]) -> None:
    row: dict[str, Any] = dict(ROW)
    try:
        held = Condition(" ".join(parts), row).holds(row)
    except CommandError as exc:
        assert exc.exit_code == USAGE
    else:
        assert held in (True, False)
        assert row == ROW
