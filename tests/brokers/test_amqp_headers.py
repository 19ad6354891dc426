"""Headers on RabbitMQ: as py-amqp writes them, or refused by name before anything is sent."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import celery
import pytest
from amqp.serialization import dumps, loads
from hypothesis import given
from hypothesis import strategies as st

from taskctl import App
from taskctl.core.brokers.amqp_codec import encode_properties, encode_table, read_properties
from taskctl.core.errors import BrokerError, EncodeError, TaskctlError

KEYS = st.text(max_size=60)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
VALUES = st.recursive(PLAIN, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner))

NESTED: dict[str, Any] = {}
for _ in range(5000):
    NESTED = {"deeper": NESTED}


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_py_amqp_reads_the_headers_that_were_written(headers: dict[str, Any]) -> None:
    (found,), _ = loads("F", encode_table(headers), 0)

    assert found == headers


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_the_headers_that_py_amqp_wrote_are_read(headers: dict[str, Any]) -> None:
    raw = struct.pack(">H", 1 << 13) + dumps("F", [headers])

    assert read_properties(raw)[2] == headers


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (math.nan, "RabbitMQ has no number nan: send None or text"),
        ([{"deep": -math.inf}], "RabbitMQ has no number -inf: send None or text"),
        (1 << 63, "an integer of AMQP has 64 bits with its sign, not 65: send text"),
        ([-(1 << 63) - 1], "an integer of AMQP has 64 bits with its sign, not 65: send text"),
        ({"k" * 256: 1}, "'kkk.* is too long for AMQP: 255 bytes are the most"),
        (NESTED, "it is nested too deep"),
    ],
)
def test_what_a_table_cannot_hold_is_refused_by_the_name_of_its_header(
    value: Any, said: str
) -> None:
    with pytest.raises(EncodeError, match=f"^header 'bad': {said}"):
        encode_properties("application/json", "utf-8", {"good": 1, "bad": value}, {})


def test_a_property_that_is_too_long_is_refused_by_its_name() -> None:
    with pytest.raises(EncodeError, match=r"^correlation_id: 'xxx.* too long for AMQP"):
        encode_properties("application/json", "utf-8", {}, {"correlation_id": "x" * 256})


@pytest.fixture
def app(rabbitmq_url: str) -> Iterator[App]:
    app = App("proj", broker=rabbitmq_url, set_as_current=False)
    yield app
    app.close()


@pytest.fixture
def waiting(rabbitmq_url: str) -> Iterator[Callable[[], list[Any]]]:
    """Take what waits in the queue of tasks, as kombu reads it."""
    theirs = celery.Celery(broker=rabbitmq_url, set_as_current=False)
    connection = theirs.connection()
    channel = connection.channel()

    def take() -> list[Any]:
        return list(iter(lambda: channel.basic_get("celery", no_ack=True), None))

    yield take
    connection.close()
    theirs.close()


@pytest.mark.parametrize("value", [math.nan, [math.inf], {"number": 1 << 64}, b"x", datetime.max])
def test_a_call_with_a_header_that_cannot_travel_is_refused_and_the_next_goes_on(
    app: App, waiting: Callable[[], list[Any]], value: Any
) -> None:
    app.send_task("before", headers={"mark": 1.5})

    with pytest.raises(TaskctlError, match="header 'mark'") as caught:
        app.send_task("refused", headers={"mark": value})

    assert isinstance(caught.value, BrokerError | EncodeError)
    assert "\n" not in str(caught.value)
    app.send_task("after", headers={"mark": -(1 << 63)})
    found = [(one.headers["task"], one.headers["mark"]) for one in waiting()]
    assert found == [("before", 1.5), ("after", -(1 << 63))]
