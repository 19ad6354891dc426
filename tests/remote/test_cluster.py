from __future__ import annotations

import pytest

from taskctl.core.brokers.base import NodeRecord
from taskctl.core.remote.cluster import UnknownNode, resolve


def node(name: str, *queues: str) -> NodeRecord:
    record = {"queues": list(queues)}
    return NodeRecord(name=name, owner=name, record=record, age=0.0, alive=True)


KNOWN = [node("w1@a", "images"), node("w1@b", "video"), node("w2@a", "images", "video")]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["w1@a"], ["w1@a"]),
        (["w1@a,w2@a"], ["w1@a", "w2@a"]),
        (["unseen@x"], ["unseen@x"]),
        (["w2"], ["w2@a"]),
        (["w*@a"], ["w1@a", "w2@a"]),
        (["@a"], ["w1@a", "w2@a"]),
        (["queue:video"], ["w1@b", "w2@a"]),
        (["@a", "!w2@a"], ["w1@a"]),
        (["!w2@a"], ["w1@a", "w1@b"]),
        (["w1@a", "@a"], ["w1@a", "w2@a"]),
    ],
)
def test_words_name_nodes(words: list[str], names: list[str]) -> None:
    assert resolve(words, KNOWN) == names


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("w1", "'w1' could be w1@a, w1@b: write one in full"),
        ("w9", "no node 'w9'; registered: w1@a, w1@b, w2@a"),
        ("queue:none", "no node 'queue:none'; registered: w1@a, w1@b, w2@a"),
    ],
)
def test_a_word_that_fits_none_or_several_is_an_error(word: str, text: str) -> None:
    with pytest.raises(UnknownNode) as caught:
        resolve([word], KNOWN)

    assert str(caught.value) == text


def test_without_any_node_the_full_name_is_asked_for() -> None:
    with pytest.raises(UnknownNode, match="none is registered; write NAME@HOST in full"):
        resolve(["w1"], [])
