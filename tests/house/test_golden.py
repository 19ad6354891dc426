"""Every captured file is read by a test, and what we also write is written by one."""

from __future__ import annotations

import ast

from ..messaging import test_producer
from ..wire import captures
from .structure import ROOT

FILES = sorted(path.name for path in captures.GOLDEN.iterdir() if path.name != "README.md")
#: Calls whose message is written by tests elsewhere, or never.
WRITTEN_ELSEWHERE = {
    "task_protocol1": "protocol 1 is read, not written",
    "task_delayed_native": "tests/brokers: RabbitMQ holds the message, not the producer",
    "task_sent_event": "test_the_task_sent_event_is_written_as_celery_writes_it",
}
#: Calls of chords and stamps, which tests/tasks/test_canvas_golden.py writes.
OF_CANVAS = {
    "task_chain_group_upgrade",
    "task_chain_with_chord",
    "task_chord3",
    "task_chord_chain_body",
    "task_chord_group_body",
    "task_chord_link_error",
    "task_chord_nested_group",
    "task_stamping",
    "task_stamping_visitor_chain",
}


def test_every_file_is_read_by_a_test() -> None:
    read = {f"{one.file}.json" for one in captures.sent()}
    read |= {f"{name}.json" for name, _ in captures.stored()}
    named = _words_in_tests()

    unread = [
        name for name in FILES if name not in read and not {name, name.rpartition(".")[0]} & named
    ]

    assert unread == []


def test_every_captured_call_is_written_by_a_test() -> None:
    written = {f"task_{case}" for case in test_producer.CALLS}
    calls = {name.removesuffix(".json") for name in FILES if name.startswith("task_")}

    assert calls - written - WRITTEN_ELSEWHERE.keys() - OF_CANVAS == set()
    assert (written | WRITTEN_ELSEWHERE.keys() | OF_CANVAS) - calls == set()
    assert OF_CANVAS - _words_in_tests() == set()


def _words_in_tests() -> set[str]:
    """Return every word of the text constants in the tests, but for this file's."""
    return {
        word
        for path in (ROOT / "tests").rglob("test_*.py")
        if path.resolve() != ROOT / "tests" / "house" / "test_golden.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for word in node.value.split()
    }
