"""`taskctl doctor` on RabbitMQ: each kind of broker gets the cure of its own kind."""

from __future__ import annotations

import json

import pytest

from taskctl.core.errors import BrokerConnectionError, BrokerError
from taskctl.doctor.reaching import how_to_reach, why_slow

from ..support.shell import Shell

AWAY, REFUSED = BrokerConnectionError("away"), BrokerError("no")


@pytest.mark.parametrize(
    ("url", "cure"),
    [
        ("redis://:word@db/2", "redis-cli -h db -p 6379 -n 2 --askpass ping"),
        ("rediss://db", "redis-cli -h db -p 6379 --tls ping"),
        ("amqp://u:word@mq1//", "ssh mq1 rabbitmq-diagnostics status"),
        ("amqp://mq1;amqp://mq2", "ssh mq1 rabbitmq-diagnostics status"),
        ("pyamqp://127.0.0.1", "rabbitmq-diagnostics status"),
        ("sqlite:////var/q.db", "a disk that is less busy, or a server: redis://, amqp://"),
    ],
)
def test_a_slow_broker_is_looked_at_with_the_tool_of_its_kind(url: str, cure: str) -> None:
    assert why_slow(url) == cure


@pytest.mark.parametrize(
    ("url", "error", "cure"),
    [
        ("redis://db", AWAY, "redis-cli -h db -p 6379 ping   # key is set by -b"),
        (
            "amqps://mq1/shop",
            AWAY,
            "ssh mq1 rabbitmq-diagnostics check_port_listener 5671   # key is set by -b",
        ),
        ("amqp://mq1/shop", REFUSED, "taskctl config explain key"),
        ("sqlite:////var/q.db", AWAY, "ls -ld /var"),
        ("db+postgresql://h/d", REFUSED, "taskctl config explain key"),
    ],
)
def test_a_server_that_is_away_or_refuses_gets_the_cure_of_its_kind(
    url: str, error: Exception, cure: str
) -> None:
    assert how_to_reach(url, "-b", "key", error) == cure


def test_a_rabbitmq_that_is_away_is_told_with_the_line_to_paste(shell: Shell) -> None:
    said = shell.proj("-b", "amqp://tasks:hunter2@127.0.0.1:1/shop", "doctor", "-o", "json")

    (broker,) = [row for row in json.loads(said.out)["items"] if row["check"] == "broker"]
    assert (said.code, broker["state"]) == (1, "FAIL")
    assert broker["cure"].startswith("rabbitmq-diagnostics check_port_listener 1   # broker_url")
    assert "hunter2" not in said.out + said.err
