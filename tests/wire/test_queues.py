"""Queues, exchanges, and topic patterns as kombu has them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kombu.transport.virtual.exchange import TopicExchange

from taskctl.core.wire.queues import (
    Exchange,
    Queue,
    binding_takes,
    direct_queue,
    topic_matches,
    topic_regex,
)

_kombu = TopicExchange(None)
_keys = st.lists(st.text("ab*#-+(é\0", max_size=3), max_size=4).map(".".join)


@given(_keys)
def test_the_regex_of_a_pattern_is_kombus(pattern: str) -> None:
    assert topic_regex(pattern) == _kombu.key_to_pattern(pattern)


@given(_keys, _keys)
def test_patterns_match_as_in_kombu_and_never_fail(pattern: str, key: str) -> None:
    try:
        expected = re.match(_kombu.key_to_pattern(pattern), key) is not None
    except re.error:  # where kombu fails, the pattern stands for itself
        expected = pattern == key

    assert topic_matches(pattern, key) == expected


@pytest.mark.parametrize(
    ("pattern", "key", "taken"),
    [
        ("task.*", "task.sent", True),
        ("task.*", "task.sent.late", False),
        ("worker.#", "worker.heartbeat", True),
        ("#", "", True),
        ("#", "a.b.c", True),
        ("*.news", "us.news", True),
        ("*.news", "news", False),
        ("a.b", "a.b", True),
        ("a.b", "axb", False),
    ],
)
def test_topic_patterns_take_what_they_should(pattern: str, key: str, taken: bool) -> None:
    assert topic_matches(pattern, key) is taken


def test_each_type_of_exchange_decides_its_own_way() -> None:
    assert binding_takes("fanout", "x", "anything")
    assert binding_takes("topic", "a.*", "a.b")
    assert not binding_takes("direct", "a.*", "a.b")
    assert binding_takes("direct", "a", "a")


def test_a_bare_name_is_queue_exchange_and_key() -> None:
    queue = direct_queue("lopri", durable=False)

    assert queue == Queue(
        name="lopri", exchange=Exchange(name="lopri"), routing_key="lopri", durable=False
    )


def test_a_queue_describes_itself_in_celerys_keys() -> None:
    described = direct_queue("celery").describe()

    assert described["name"] == described["routing_key"] == "celery"
    assert described["exchange"]["type"] == "direct"
    assert (
        list(described)
        == (
            "name exchange routing_key queue_arguments binding_arguments consumer_arguments durable"
            " exclusive auto_delete no_ack alias bindings no_declare expires message_ttl max_length"
            " max_length_bytes max_priority"
        ).split()
    )
