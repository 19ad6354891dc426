"""Tables: what shrinks, what goes, what never does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.tables import GAP, Column, lay_out, seconds, shorten, up, width_of

COLUMNS = (
    Column("name", "NAME", shrinks=True),
    Column("state", "STATE"),
    Column("done", "DONE", right=True, need=2),
    Column("up", "UP", need=1),
)
ROW = {"name": "a-very-long-worker-name@web4", "state": "ok", "done": 1204, "up": "3 h"}


def drawn(width: int | None) -> list[str]:
    layout = lay_out(COLUMNS, [ROW], width)
    return [GAP.join(cells).rstrip() for cells in layout.lines]


def test_with_room_nothing_is_cut() -> None:
    assert drawn(None) == [
        "NAME                          STATE  DONE  UP",
        "a-very-long-worker-name@web4  ok     1204  3 h",
    ]


def test_names_are_cut_in_the_middle_first() -> None:
    assert drawn(28) == [
        "NAME        STATE  DONE  UP",
        "a-ver…web4  ok     1204  3 h",
    ]


def test_then_whole_columns_go_and_are_named() -> None:
    layout = lay_out(COLUMNS, [ROW], 20)

    assert layout.dropped == ["UP", "DONE"]
    assert [GAP.join(cells).rstrip() for cells in layout.lines] == [
        "NAME           STATE",
        "a-very…e@web4  ok",
    ]


@given(
    st.lists(st.tuples(st.text(max_size=40), st.integers(0, 10**9)), max_size=5),
    st.integers(1, 120),
)
def test_numbers_and_states_are_whole_or_gone(rows: list[tuple[str, int]], width: int) -> None:
    data = [{"name": name, "state": "silent", "done": done, "up": "1 s"} for name, done in rows]

    layout = lay_out(COLUMNS, data, width)

    for row, cells in zip(data, layout.lines[1:], strict=True):
        shown = {c.key: cell.strip() for c, cell in zip(layout.columns, cells, strict=True)}
        assert shown["state"] == "silent"
        assert shown.get("done", str(row["done"])) == str(row["done"])
    assert {c.title for c in COLUMNS} == {c.title for c in layout.columns} | set(layout.dropped)
    assert len({sum(map(width_of, cells)) for cells in layout.lines}) == 1


@given(st.text(max_size=30), st.integers(2, 40))
def test_a_cut_text_has_the_width_that_was_asked_for(text: str, width: int) -> None:
    cut = shorten(text, width)

    assert cut == text if width_of(text) <= width else width_of(cut) == width


def test_control_characters_cannot_break_a_table() -> None:
    layout = lay_out(COLUMNS, [{**ROW, "name": "a\x1b[31m\nb"}], None)

    assert layout.lines[1][0] == "a\\x1b[31m\\nb"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.0, "0.0 s"), (8.14, "8.1 s"), (59.9, "59.9 s"), (61, "1 m 1 s"),
     (11520, "3 h 12 m"), (187200, "2 d 4 h")],
)  # fmt: skip
def test_lengths_of_time_read_like_this(value: float | None, text: str) -> None:
    assert seconds(value) == text
    assert up(12) == "12 s"
