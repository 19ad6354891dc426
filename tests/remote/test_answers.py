"""Whom a question waits for, who is missed, and how two of one name are told apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from taskctl.core.brokers.base import NodeRecord
from taskctl.core.messaging.mailbox import Collected
from taskctl.core.remote.cluster import Answer, Cluster, CommandReply, UnknownNode, resolve
from taskctl.core.remote.remembered import Remembered


def reply(node: str, pid: int | None = None) -> CommandReply:
    return CommandReply(node=node, value={"ok": pid or node}, ticket="", pid=pid)


def node(name: str, *, alive: bool = True, age: float = 1.0, **record: Any) -> NodeRecord:
    return NodeRecord(name=name, owner=f"{name}#{age}", record=record, age=age, alive=alive)


class Post:
    """A mailbox whose nodes answer one by one, until they are enough."""

    def __init__(self, *replies: CommandReply, reach: int | None, foreign: Any = ()) -> None:
        self.replies = replies
        self.reach = reach
        self.foreign = list(foreign)
        self.read = 0

    def call(self, method: str, arguments: Any, *, enough: Any, **_: Any) -> Collected:
        got: list[CommandReply] = []
        for one in self.replies if self.reach != 0 else ():
            got.append(one)
            self.read += 1
            if enough(got, self.reach):
                break
        return Collected(got, self.reach)

    def foreign_nodes(self, timeout: float) -> list[str]:
        return self.foreign


def ask(
    post: Post, *known: NodeRecord, remembered: Remembered | None = None, **options: Any
) -> Answer:
    cluster = Cluster(None, post)  # type: ignore[arg-type]
    cluster.nodes = lambda timeout=1.0: list(known)  # type: ignore[method-assign]
    cluster.remembered = remembered
    return cluster.ask(options.pop("method", "ping"), **options)


def test_a_question_ends_with_the_last_node_that_is_expected() -> None:
    post = Post(reply("a@h", 1), reply("b@h", 2), reply("late@h", 3), reach=None)

    answer = ask(post, node("a@h"), node("b@h"))

    assert ([one.node for one in answer.replies], post.read) == (["a@h", "b@h"], 2)
    assert (answer.missing, answer.unnamed) == ({}, 0)


def test_where_listeners_are_counted_nobody_is_overlooked() -> None:
    post = Post(reply("a@h", 1), reply("theirs@h"), reach=2)

    assert len(ask(post, node("a@h")).replies) == 2


def test_who_listens_without_answering_is_named_if_he_has_a_mailbox() -> None:
    named = ask(Post(reply("a@h", 1), reach=2, foreign=["theirs@h"]), node("a@h"))
    unnamed = ask(Post(reply("a@h", 1), reach=2, foreign=["x@h", "y@h"]), node("a@h"))

    assert (named.missing, named.unnamed) == ({"theirs@h": None}, 0)
    assert (unnamed.missing, unnamed.unnamed) == ({}, 1)


def test_nobody_listening_is_known_at_once() -> None:
    post = Post(reply("a@h", 1), reach=0)

    answer = ask(post, node("a@h", alive=False, age=99.0))

    assert (answer.replies, answer.missing) == ([], {"a@h": 99.0})


def test_a_node_whose_record_has_gone_is_missed_for_a_while() -> None:
    survivor = node("a@h", age=2.0, lost={"dead@h": 10.0, "back@h": 20.0})

    answer = ask(Post(reply("a@h", 1), reply("back@h", 2), reach=None), survivor, node("back@h"))

    assert answer.missing == {"dead@h": 12.0}


def test_the_past_of_a_node_that_came_back_is_not_missed() -> None:
    known = [node("a@h", age=60.0, alive=False), node("a@h", age=1.0)]

    assert ask(Post(reply("a@h", 1), reach=None), *known).missing == {}


def test_a_foreign_node_that_answered_lately_is_expected_while_it_has_a_mailbox(
    tmp_path: Path,
) -> None:
    remembered = Remembered("redis://h", tmp_path)
    here, gone = Post(reply("a@h", 1), reach=2, foreign=["theirs@h"]), Post(reach=0)
    ask(Post(reply("a@h", 1), reply("theirs@h"), reach=2), node("a@h"), remembered=remembered)

    missed = ask(here, node("a@h"), remembered=remembered)
    stats = ask(gone, remembered=remembered)

    assert list(missed.missing) == ["theirs@h"]
    assert missed.missing["theirs@h"] is not None
    assert stats.missing == {}
    assert remembered.ages() == {}


def test_celerys_beat_answers_ping_alone_and_is_missed_for_nothing_else(tmp_path: Path) -> None:
    remembered = Remembered("redis://h", tmp_path)
    remembered.note(["celerybeat@h"])
    post = Post(reply("a@h", 1), reach=None, foreign=["celerybeat@h"])

    assert ask(post, node("a@h"), remembered=remembered, method="stats").missing == {}
    assert "celerybeat@h" in ask(post, node("a@h"), remembered=remembered).missing


@pytest.mark.parametrize("text", ["", "[]", '{"a": "x"}', "no json", '{"a@h": -1e18}'])
def test_a_broken_note_of_foreign_nodes_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    remembered = Remembered("redis://h", tmp_path)
    remembered.path.write_text(text)

    assert remembered.ages() == {}
    remembered.note(["a@h"])
    assert list(remembered.ages()) == ["a@h"]


def test_notes_that_cannot_be_written_are_let_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    Remembered("redis://h", tmp_path / "file" / "below").note(["a@h"])


def test_nodes_of_one_name_are_told_apart_by_their_pids() -> None:
    answer = Answer(
        replies=[reply("a@h", 7), reply("b@h", 8), reply("b@h", 9), reply("c@h"), reply("c@h")],
        missing={},
        seconds=0.1,
    )

    assert answer.names() == ["a@h", "b@h#8", "b@h#9", "c@h#1", "c@h#2"]
    assert answer.by_node() == {
        "a@h": {"ok": 7}, "b@h": {"ok": 9}, "b@h#8": {"ok": 8},
        "c@h": {"ok": "c@h"}, "c@h#1": {"ok": "c@h"},
    }  # fmt: skip
    assert answer.duplicates() == {"b@h": [8, 9], "c@h": []}


@pytest.mark.parametrize("words", [["!a@h"], ["a@h", "!a@h"], [""], [",", "!@h"]])
def test_words_that_leave_nobody_are_refused_for_on_the_wire_that_means_all(
    words: list[str],
) -> None:
    with pytest.raises(UnknownNode, match="no node is left; registered: a@h"):
        resolve(words, [node("a@h")])
