"""Small tools that programs import from Celery do what Celery's own do."""

from __future__ import annotations

import datetime as dt
import importlib
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.compat import finder

UTC = dt.UTC
NOON = dt.datetime(2026, 3, 4, 12, 30, 15, 250000)
VIENNA = ZoneInfo("Europe/Vienna")


def pair(module: str, name: str) -> tuple[Any, Any]:
    """Return Celery's object and ours."""
    home, _, attribute = finder.holdings(module)[name].partition(":")
    theirs = getattr(importlib.import_module(module), name)
    return theirs, getattr(importlib.import_module(home), attribute)


def outcome(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return what a call returns (lists for iterators), or the class it raises."""
    try:
        found = function(*args, **kwargs)
    except Exception as exc:
        return type(exc)
    return list(found) if hasattr(found, "__next__") else found


CALLS: list[tuple[str, str, tuple[Any, ...], dict[str, Any]]] = [
    ("text", "abbr", ("hello world", 8), {}),
    ("text", "abbr", ("hello world", 8, False), {}),
    ("text", "abbr", (None, 3), {}),
    ("text", "abbrtask", ("proj.module.tasks.add", 12), {}),
    ("text", "dedent", ("    a\n    b",), {}),
    ("text", "dedent_initial", ("     a", 4), {}),
    ("text", "ensure_sep", ("-", "a-b", 2), {}),
    ("text", "ensure_newlines", ("a",), {}),
    ("text", "fill_paragraphs", ("a long line of words\nand more", 10), {}),
    ("text", "indent", ("a\nb", 3), {}),
    ("text", "join", (["a", "", "b"],), {}),
    ("text", "match_case", ("abc", "XYZ"), {}),
    ("text", "pluralize", (2, "task"), {}),
    ("text", "pretty", ({"a": 1, "b": [1, 2]},), {}),
    ("text", "pretty", ((1, 2),), {}),
    ("text", "remove_repeating", ("ab", "ab cd ab ef ab"), {}),
    ("text", "remove_repeating_from_task", ("p.tasks.add", "p.tasks.add(2), p.tasks.mul(3)"), {}),
    ("text", "simple_format", ("%n and %% of %h", {"n": "w1", "h": lambda: "host"}), {}),
    ("text", "simple_format", ("%x", {"n": "w1"}), {}),
    ("text", "str_to_list", ("a,b",), {}),
    ("text", "truncate", ("one two three four", 9), {}),
    ("functional", "chunks", (iter(range(7)), 3), {}),
    ("functional", "dictfilter", ({"a": None, "b": 1},), {"c": None, "d": 2}),
    ("functional", "first", (None, [None, 2, 3]), {}),
    ("functional", "first", (lambda n: n > 2, [1, 2, 3]), {}),
    ("functional", "fun_accepts_kwargs", (lambda **kw: 1,), {}),
    ("functional", "fun_takes_argument", ("b", lambda a, b: 1), {}),
    ("functional", "is_list", ("abc",), {}),
    ("functional", "is_list", ((1,),), {}),
    ("functional", "is_numeric_value", (True,), {}),
    ("functional", "lookahead", (iter(range(3)),), {}),
    ("functional", "maybe", (int, "3"), {}),
    ("functional", "maybe_list", ("a",), {}),
    ("functional", "padlist", (["a"], 3), {"default": 0}),
    ("functional", "seq_concat_item", ((1, 2), 3), {}),
    ("functional", "seq_concat_seq", ([1, 2], (3,)), {}),
    ("functional", "uniq", ([3, 1, 3, 2, 1],), {}),
    ("serialization", "b64decode", ("YWJj",), {}),
    ("serialization", "b64encode", (b"abc",), {}),
    ("serialization", "strtobool", ("Yes",), {}),
    ("serialization", "strtobool", ("maybe",), {}),
    ("serialization", "jsonify", ({"a": NOON, "b": [1.5, dt.timedelta(days=2)]},), {}),
    ("serialization", "jsonify", (NOON.replace(tzinfo=UTC),), {}),
    ("serialization", "jsonify", (object(),), {}),
    ("nodenames", "nodesplit", ("w1@host",), {}),
    ("nodenames", "nodesplit", ("host",), {}),
    ("nodenames", "nodename", ("w1", "host"), {}),
    ("nodenames", "node_format", ("%n-%h-%d-%p%I", "w1@a.example.com"), {}),
    ("nodenames", "host_format", ("%h %n %d %i", "a.example.com"), {}),
    ("nodenames", "default_nodename", ("",), {}),
    ("time", "add_seconds_to_datetime", (NOON.replace(tzinfo=VIENNA), 86400 * 200), {}),
    ("time", "adjust_timestamp", (1000.0, 3, lambda: 1), {}),
    ("time", "delta_resolution", (NOON, dt.timedelta(hours=2)), {}),
    ("time", "get_exponential_backoff_interval", (3, 4, 40), {}),
    ("time", "humanize_seconds", (4 * 86400,), {}),
    ("time", "humanize_seconds", (75,), {"prefix": "in "}),
    ("time", "humanize_seconds", (0.3,), {"microseconds": True}),
    ("time", "is_naive", (NOON,), {}),
    ("time", "localize", (NOON.replace(tzinfo=UTC), VIENNA), {}),
    ("time", "make_aware", (NOON, VIENNA), {}),
    ("time", "maybe_iso8601", ("2026-03-04T12:30:15",), {}),
    ("time", "maybe_make_aware", (NOON, VIENNA), {}),
    ("time", "maybe_timedelta", (30,), {}),
    ("time", "rate", ("10/m",), {}),
    ("time", "rate", (None,), {}),
    ("time", "subtract_datetimes", (NOON, NOON - dt.timedelta(hours=1)), {}),
    ("time", "to_utc", (NOON,), {}),
    ("time", "weekday", ("Sunday",), {}),
    ("time", "yearmonth", ("nothing",), {}),
    ("imports", "qualname", (ValueError,), {}),
    ("imports", "symbol_by_name", ("collections:OrderedDict",), {}),
    ("imports", "symbol_by_name", ("collections.OrderedDict",), {}),
    ("imports", "symbol_by_name", ("no.such.thing",), {}),
]


@pytest.mark.parametrize(
    ("module", "name", "args", "kwargs"), CALLS, ids=[f"{c[0]}.{c[1]}" for c in CALLS]
)
def test_a_tool_answers_as_celerys_does(
    module: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    theirs, ours = pair(f"celery.utils.{module}", name)
    again = [tuple(iter(list(a)) if hasattr(a, "__next__") else a for a in args)]
    if any(hasattr(a, "__next__") for a in args):
        again = [(iter(range(7)), *args[1:]) for _ in range(2)]

    assert outcome(ours, again[-1], kwargs) == outcome(theirs, again[0], kwargs)


@given(st.text(), st.integers(4, 60))
def test_any_text_is_cut_alike(text: str, length: int) -> None:
    theirs, ours = pair("celery.utils.text", "truncate")

    assert ours(text, length) == theirs(text, length)


@given(st.floats(0, 1e7))
def test_any_length_of_time_is_told_alike(seconds: float) -> None:
    theirs, ours = pair("celery.utils.time", "humanize_seconds")

    assert ours(seconds, microseconds=True) == theirs(seconds, microseconds=True)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(),
                    lambda one: st.lists(one) | st.dictionaries(st.text(), one)))  # fmt: skip
def test_any_plain_value_passes_through_kombus_json_alike(value: Any) -> None:
    dumps, ours = pair("kombu.utils.json", "dumps")
    loads, our_loads = pair("kombu.utils.json", "loads")

    assert loads(ours(value)) == our_loads(dumps(value)) == value
