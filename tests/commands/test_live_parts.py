"""The parts of the live view without a terminal: keys, what they mean, rows, and frames."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from taskctl.core.remote.event_state import State
from taskctl.live.keys import Keys
from taskctl.live.model import Action, View
from taskctl.live.rows import TASK_KEYS, Look, Picture, active_row, all_rows, running_rows
from taskctl.tables import width_of
from taskctl.views.events import CeleryDump, People
from taskctl.views.top import allot, arguments, frame

# -- keys


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"\x1b[A\x1b[B", ["up", "down"]),
        (b"\x1bOA", ["up"]),
        (b"\x1b[1;5A", ["up"]),
        (b"\x1b[5~\x1b[6~\x1b[3~", ["pgup", "pgdn", "delete"]),
        (b"q\r\x7f", ["q", "enter", "backspace"]),
        ("ü€".encode(), ["ü", "€"]),
        (b"\x1b\x1b[A", ["esc", "up"]),
        (b"\x1b[200~x", ["x"]),
    ],
)
def test_bytes_are_keys(data: bytes, names: list[str]) -> None:
    keys = Keys()

    assert keys.feed(data) == names
    assert not keys.pending


def test_a_sequence_in_two_parts_is_one_key_and_a_lone_esc_is_itself() -> None:
    keys = Keys()

    assert keys.feed(b"\x1b") == [] and keys.pending
    assert keys.feed(b"[A") == ["up"]
    assert keys.feed(b"\x1b") == []
    assert keys.flush() == ["esc"] and keys.flush() == []


@given(st.lists(st.binary(max_size=8)))
def test_whatever_comes_is_read(parts: list[bytes]) -> None:
    keys = Keys()

    names = [name for part in parts for name in keys.feed(part)] + keys.flush()

    assert all(names)


@given(st.text(st.characters(categories=["L", "N", "P"])), st.integers(1, 4))
def test_letters_are_themselves_however_they_are_cut(text: str, size: int) -> None:
    keys, data = Keys(), text.encode()

    names = [n for at in range(0, len(data), size) for n in keys.feed(data[at : at + size])]

    assert "".join(names) == text


# -- what keys mean


def row(id: str, **facts: Any) -> dict[str, Any]:
    return {**dict.fromkeys(TASK_KEYS), "id": id, "name": "add", "state": "STARTED", **facts}


PICTURE = Picture(
    tasks=[
        row("a", name="mul", node="w2@h", since=1.0, running_seconds=9.0),
        row("b", name="add", node="w1@h", since=3.0, running_seconds=7.0),
        row("c", name="div", since=2.0, state="RECEIVED", args="('odd',)"),
    ],
    failures=[row("f", state="FAILURE", exception="ValueError('x')", since=4.0)],
)


def ids(view: View) -> list[str]:
    return [task["id"] for task in view.tasks(PICTURE)]


def press(view: View, *keys: str) -> list[Action]:
    return [action for key in keys if (action := view.press(key, PICTURE)) is not None]


def test_s_goes_through_the_orders_and_r_turns_them_round() -> None:
    view, orders = View(), []
    for _ in range(5):
        orders.append((view.sorted_by, "".join(ids(view))))
        press(view, "s")

    assert orders == [
        ("time", "bca"), ("running", "abc"), ("task", "bca"), ("node", "bac"), ("state", "cab"),
    ]  # fmt: skip
    press(view, "r")
    assert (view.sorted_by, "".join(ids(view))) == ("time (reversed)", "acb")


def test_a_filter_looks_everywhere_and_escape_ends_it() -> None:
    view = View()

    press(view, "/", "O", "d", "x", "backspace", "d", "enter")
    assert ids(view) == ["c"] and view.filter == "Odd"
    press(view, "/", "clear", "W", "1", "esc")
    assert ids(view) == ["c"]
    press(view, "esc")
    assert ids(view) == ["b", "c", "a"]


def test_the_selection_stays_with_its_row_and_moves_through_both_lists() -> None:
    view = View()

    assert view.selected(PICTURE) == ("tasks", 0)
    press(view, "j", "s")
    assert view.selected_row(PICTURE)["id"] == "c"  # type: ignore[index]
    press(view, "end")
    assert view.selected(PICTURE) == ("failures", 0)
    press(view, "down", "up", "home", "up")
    assert view.selected(PICTURE) == ("tasks", 0)
    assert View().selected(Picture()) is None


def test_a_selected_row_that_goes_hands_on_to_its_neighbour() -> None:
    view = View()
    press(view, "j")

    fewer = Picture(tasks=PICTURE.tasks[:2])

    assert view.selected(fewer) == ("tasks", 1)


def test_nothing_is_revoked_without_a_yes() -> None:
    view = View()

    assert press(view, "x", "n") == [] and view.message == "nothing was done"
    assert press(view, "x", "enter") == []
    (action,) = press(view, "x", "y")
    assert (action.what, (action.row or {})["id"]) == ("revoke", "b")
    (action,) = press(view, "X", "Y")
    assert action.what == "terminate"


def test_what_has_ended_or_not_begun_is_not_killed() -> None:
    view = View()

    press(view, "j", "X")
    assert view.message == "it does not run; x revokes it"
    press(view, "end", "x")
    assert view.message == "it has ended: FAILURE"
    assert View(read_only=True).press("x", PICTURE) is None


def test_read_only_has_no_key_that_changes_anything() -> None:
    view = View(read_only=True)

    assert press(view, "x", "y", "X", "y", "e", "enter", "x", "y", "X", "y") == []


PRESSED = "up down pgup pgdn home end enter esc s r / p ? x X y e tab backspace clear ü".split()


@given(st.lists(st.sampled_from(PRESSED)), st.integers(1, 130), st.integers(1, 45))
def test_every_frame_fits_whatever_was_pressed(keys: list[str], width: int, height: int) -> None:
    view = View()

    for key in keys:
        view.press(key, PICTURE)
    lines = frame(PICTURE, view, width, height)

    assert len(lines) == height
    lengths = [width_of("".join(text for text, _ in line)) for line in lines]
    assert width < 60 or max(lengths) <= width


def test_a_frame_without_room_says_what_it_leaves_out() -> None:
    picture = Picture(tasks=[row(f"t{n}", since=float(n)) for n in range(50)])

    lines = ["".join(text for text, _ in line) for line in frame(picture, View(), 80, 12)]

    assert lines[-2] == "" or "more" in " ".join(lines)
    assert any(line.startswith("… 4") and line.endswith(" more") for line in lines)


@given(st.dictionaries(st.sampled_from(["nodes", "queues", "tasks", "failures"]),
                       st.integers(0, 100)), st.integers(0, 60))  # fmt: skip
def test_rows_are_shared_out_and_none_is_wasted(wanted: dict[str, int], room: int) -> None:
    shares = allot(wanted, room)

    assert all(shares[name] <= wanted[name] for name in wanted)
    assert sum(shares.values()) == min(room, sum(wanted.values()))


# -- rows


def told(type: str, uuid: str, at: float, **fields: Any) -> dict[str, Any]:
    return {"type": type, "uuid": uuid, "hostname": "w1@h", "timestamp": at, "clock": 1,
            "local_received": at, **fields}  # fmt: skip


def test_events_know_better_than_an_older_question() -> None:
    now = time.time()
    look = Look(
        at=now - 1, active=[active_row("w1@h", {"id": i, "name": "add"}, now) for i in "ab"]
    )
    state = State()
    state.event(told("task-succeeded", "a", now))
    state.event(told("task-succeeded", "b", now - 60))
    state.event(told("task-started", "c", now))
    state.event(told("task-started", "d", now - 60))
    tasks = [task for _, task in state.itertasks()]

    running = {task["id"] for task in running_rows(look, tasks, now)}

    assert running == {"b", "c"}
    assert {task["id"] for task in all_rows(look, tasks, now)} == {"a", "b", "c", "d"}


# -- lines


@example({"uuid": "\n"}, "task-received")
@given(st.dictionaries(st.sampled_from(
    ["hostname", "timestamp", "uuid", "name", "args", "kwargs", "result", "x"]),
    st.one_of(st.none(), st.integers(), st.floats(), st.text(max_size=4), st.just([1]))),
    st.sampled_from(["task-received", "task-failed", "worker-online", "a", ""]))  # fmt: skip
def test_every_event_has_a_line(fields: dict[str, Any], type: str) -> None:
    event = {**fields, "type": type}

    assert CeleryDump().line(event)
    assert "\n" not in People(lambda text, colour: text).line(event)


@pytest.mark.parametrize(
    ("args", "kwargs", "shown"),
    [
        ("('a.png',)", "{'size': 256}", "'a.png', size=256"),
        ("['a.png', 2]", "{}", "'a.png', 2"),
        ("(1, ...)", "{'a': [1, ...", "1, ..., {'a': [1, ..."),
        (None, "{'password': 's3cret'}", "password='********'"),
    ],
)
def test_arguments_are_shown_as_in_a_call(args: str | None, kwargs: str, shown: str) -> None:
    assert arguments({"args": args, "kwargs": kwargs}) == shown
