"""Which broker a URL chooses, and what is said of one that chooses none."""

from __future__ import annotations

import subprocess
import sys

import pytest

from taskctl.core.brokers import SCHEMES, open_broker
from taskctl.core.errors import ImproperlyConfigured


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("memory://", "MemoryBroker"),
        ("memory://name", "MemoryBroker"),
        ("sqlite:///x.db", "SqliteBroker"),
        ("SQLite:///x.db", "SqliteBroker"),
        ("redis://host:1/0", "RedisBroker"),
        ("rediss://host", "RedisBroker"),
        ("redis+socket:///run/redis.sock", "RedisBroker"),
    ],
)
def test_the_scheme_chooses_the_broker(url: str, name: str) -> None:
    broker = open_broker(url, options={}, owner="me")

    assert type(broker).__name__ == name
    assert (broker.url, broker.options, broker.owner) == (url, {}, "me")


@pytest.mark.parametrize("url", ["amqp://guest@host//", "amqps://host", "pyamqp://host"])
def test_every_name_of_amqp_is_rabbitmq(url: str) -> None:
    assert type(open_broker(url)).__name__ == "AmqpBroker"


def test_an_unknown_scheme_gets_the_nearest_and_the_choices_without_the_password() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        open_broker("reddis://user:secret@host")

    said = str(caught.value)
    assert "unknown broker 'reddis://': did you mean redis://?" in said
    assert all(f"{scheme}://" in said for scheme in SCHEMES)
    assert "secret" not in said


@pytest.mark.parametrize("url", ["", "localhost:6379", "sqlite"])
def test_a_url_without_a_scheme_is_told_so(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="has no scheme: write one of memory://"):
        open_broker(url)


def test_choosing_sqlite_loads_no_driver_of_another_broker() -> None:
    code = (
        "import sys; from taskctl.core.brokers import open_broker; open_broker('sqlite:///x.db');"
        "sys.exit(bool({'redis', 'pika'} & set(sys.modules)))"
    )

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
