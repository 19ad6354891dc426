"""--where, --sort, --fields and --no-header hold in every format of every list."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from taskctl.console import Console
from taskctl.failures import USAGE, CommandError
from taskctl.selection import Selection, take_selection
from taskctl.tables import Column, number

COLUMNS = (Column("queue", "QUEUE"), Column("depth", "DEPTH", number, right=True))
WIDE = (*COLUMNS, Column("nodes", "NODES"))
ROWS: list[dict[str, Any]] = [
    {"queue": "images", "depth": 1204, "nodes": ["w1@a", "w2@a"], "info": {"key": "k1"}},
    {"queue": "celery", "depth": 0, "nodes": [], "info": {"key": "k2"}},
    {"queue": "video", "depth": None, "nodes": ["w1@a"], "info": {"key": "k3"}},
]


def drawn(format: str, rows: list[dict[str, Any]] = ROWS, **selected: Any) -> str:
    out = io.StringIO()
    console = Console(format, selection=Selection(**selected), out=out, err=io.StringIO())
    console.rows("queue.ls", COLUMNS, rows, wide=WIDE)
    return out.getvalue()


def test_nothing_asked_for_changes_nothing() -> None:
    for format in ("table", "wide", "plain", "name", "json", "jsonl"):
        out = io.StringIO()
        Console(format, out=out).rows("queue.ls", COLUMNS, ROWS, wide=WIDE)
        if format != "json":
            assert drawn(format) == out.getvalue()
        else:
            assert json.loads(drawn(format))["items"] == json.loads(out.getvalue())["items"]


SELECTED = {"where": "depth >= 0", "sort": "depth", "fields": ("queue", "info.key")}


@pytest.mark.parametrize(
    ("format", "expected"),
    [
        ("table", "QUEUE   INFO.KEY\ncelery  k2\nimages  k1\n"),
        ("wide", "QUEUE   INFO.KEY\ncelery  k2\nimages  k1\n"),
        ("plain", "queue\tinfo.key\ncelery\tk2\nimages\tk1\n"),
        ("name", "celery\nimages\n"),
        (
            "jsonl",
            '{"queue": "celery", "info.key": "k2"}\n{"queue": "images", "info.key": "k1"}\n',
        ),
    ],
)
def test_rows_order_and_fields_hold_in_every_format(format: str, expected: str) -> None:
    assert drawn(format, **SELECTED) == expected


def test_they_hold_in_json_too() -> None:
    assert json.loads(drawn("json", **SELECTED))["items"] == [
        {"queue": "celery", "info.key": "k2"},
        {"queue": "images", "info.key": "k1"},
    ]


@pytest.mark.parametrize("format", ["table", "wide", "plain"])
def test_no_header_leaves_out_the_titles(format: str) -> None:
    assert drawn(format, header=False) == drawn(format).partition("\n")[2]


def test_sorting_puts_what_is_unknown_last_either_way() -> None:
    assert drawn("name", sort="depth").split() == ["celery", "images", "video"]
    assert drawn("name", sort="-depth").split() == ["images", "celery", "video"]
    assert drawn("name", sort="-queue").split() == ["video", "images", "celery"]
    assert drawn("name", sort="info.key").split() == ["images", "celery", "video"]
    mixed = [{"queue": "a", "depth": "x"}, {"queue": "b", "depth": 3}]
    assert drawn("name", mixed, sort="depth").split() == ["b", "a"]


def test_fields_of_wide_columns_are_known_when_there_are_no_rows() -> None:
    assert drawn("plain", [], fields=("nodes", "queue")) == "nodes\tqueue\n"
    assert drawn("plain", [], where="nodes == w1@a", sort="-nodes") == "queue\tdepth\tnodes\n"


@pytest.mark.parametrize(
    ("selected", "said"),
    [
        ({"where": "dept > 1"}, "there is no 'dept' here"),
        ({"where": "depth = 1"}, "is no condition"),
        ({"sort": "dept"}, "--sort dept: there is no such key"),
        ({"sort": "-dept"}, "--sort dept: there is no such key"),
        ({"fields": ("queue", "dept")}, "--fields dept: there is no such key"),
    ],
)
@pytest.mark.parametrize("rows", [ROWS, []])
def test_keys_that_do_not_exist_are_refused(
    selected: dict[str, Any], said: str, rows: list[dict[str, Any]]
) -> None:
    with pytest.raises(CommandError) as caught:
        drawn("json", rows, **selected)

    assert caught.value.exit_code == USAGE
    assert said in caught.value.message
    assert "did you mean: depth" in caught.value.hints or "depth = 1" in said or caught.value.hints


def test_the_options_are_taken_out_of_a_commands_options() -> None:
    options = {
        "where": "depth > 1", "sort": "-depth", "fields": " queue , depth,", "no_header": True,
        "watch": None,
    }  # fmt: skip

    selection = take_selection(options)

    assert selection == Selection("depth > 1", "-depth", ("queue", "depth"), header=False)
    assert options == {"watch": None}
