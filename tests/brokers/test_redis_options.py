"""URLs and options of a Redis broker are read once, and what is wrong is said in one line."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.brokers.redis import RedisBroker
from taskctl.core.brokers.redis_address import clean_tls, read_url
from taskctl.core.brokers.redis_keys import Keys
from taskctl.core.brokers.redis_options import Options, idle_options, read_options
from taskctl.core.errors import BrokerError, ImproperlyConfigured


@pytest.mark.parametrize(
    ("url", "shown", "expected"),
    [
        ("redis://", "redis://localhost:6379/0", {"host": "localhost", "db": 0}),
        ("redis://h:1/3", "redis://h:1/3", {"host": "h", "port": 1, "db": 3}),
        ("redis://h/?db=4", "redis://h:6379/4", {"db": 4}),
        (
            "redis://u:p%40ss@h//5",
            "redis://u:********@h:6379/5",
            {"username": "u", "password": "p@ss"},
        ),
        ("redis://:p@[::1]:7/0", "redis://:********@[::1]:7/0", {"host": "::1", "password": "p"}),
        ("redis+socket:///run/r.sock", "redis+socket:///run/r.sock db 0", {"path": "/run/r.sock"}),
        ("redis+socket:///r?virtual_host=2", "redis+socket:///r db 2", {"db": 2}),
        (
            "rediss://h/0?ssl_cert_reqs=CERT_NONE",
            "rediss://h:6379/0",
            {"tls": True, "tls_options": {"ssl_cert_reqs": "CERT_NONE"}},
        ),
    ],
)
def test_a_url_names_a_place(url: str, shown: str, expected: dict[str, Any]) -> None:
    address = read_url(url)

    assert address.shown == shown
    assert {name: getattr(address, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis://:s3cret@h/zero", "a Redis database is a number, got 'zero'"),
        ("redis://:s3cret@h:port/0", "cannot be read"),
        ("redis://:s3cret@h/0?timeout=4", "unknown option 'timeout'"),
        ("sentinel://:s3cret@h:26379/0", "set master_name in broker_transport_options"),
        ("sentinel://:s3cret@h/0;sentinel://i/3", "database 3 after 0: write /3 after the first"),
        ("sentinel://:s3cret@h/0;redis://i", "may hold sentinel:// URLs only"),
    ],
)
def test_a_wrong_url_is_explained_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=reason) as caught:
        RedisBroker(url)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"visibilty_timeout": 5}, "did you mean visibility_timeout"),
        ({"visibility_timeout": "long"}, "visibility_timeout: expected `float`, got `str`"),
        ({"priority_steps": [3, 6]}, "priority_steps must hold 0"),
        ({"sep": ""}, "sep must not be empty"),
        ({"queue_order_strategy": "fair"}, "round_robin, sorted or priority, got 'fair'"),
        ({"ack_emulation": False}, "ack_emulation cannot be off"),
        ({"body_encoding": None}, "body_encoding must be base64, got None"),
        ({"max_connections": 1}, "max_connections must be 2 or more"),
        ({"fanout_prefix": "mine."}, "must begin with / and end with its only dot"),
        ({"fanout_prefix": "/my.own."}, "must begin with / and end with its only dot"),
        ({"unacked_restore_throttle": -1}, "unacked_restore_throttle 0 or more"),
        ({"ssl": {"cert": "x"}}, "unknown TLS option 'cert'"),
        ({"ssl": {"ssl_cert_reqs": "maybe"}}, "none, optional or required, got 'maybe'"),
    ],
)
def test_a_wrong_option_is_named(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=reason):
        RedisBroker("redis://h/0", options=options)


def test_celery_options_without_a_meaning_here_may_stay() -> None:
    given = {"max_retries": 5, "retry_on_timeout": True, "socket_keepalive": True, "sep": ":"}

    assert read_options(given) == Options(sep=":", socket_keepalive=True)
    assert idle_options(given, "rediss").keys() == {"max_retries", "retry_on_timeout"}
    assert idle_options({"ssl": {}, **given}, "redis+socket")["ssl"] == (
        "it is for rediss:// and sentinel://"
    )
    assert "socket_keepalive" in RedisBroker("redis+socket:///r", options=given).idle_options()


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ({"ssl_cert_reqs": ssl.CERT_REQUIRED}, {"ssl_cert_reqs": ssl.CERT_REQUIRED}),
        ({"ssl_cert_reqs": "CERT_NONE"}, {"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ({"ssl_check_hostname": "false"}, {"ssl_check_hostname": False}),
    ],
)
def test_tls_settings_are_taken_as_celery_writes_them(
    given_: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert clean_tls(given_) == expected


@given(
    queue=st.text(min_size=1).filter(lambda name: "\x06\x16" not in name),
    priority=st.integers(-3, 20),
    prefix=st.sampled_from(["", "app:"]),
)
def test_the_list_of_a_queue_leads_back_to_the_queue(
    queue: str, priority: int, prefix: str
) -> None:
    keys = Keys(Options(global_keyprefix=prefix), 0)

    assert keys.queue_of(keys.list_of(queue, priority)) == queue
    assert keys.list_of(queue, priority) in keys.lists(queue)


def test_a_broker_that_was_never_opened_refuses_work() -> None:
    broker = RedisBroker("redis://127.0.0.1:1/0", owner="one")

    for refused in (
        lambda: broker.receive(1),
        lambda: broker.delete("q"),
        lambda: broker.take("q"),
        lambda: broker.register("n", {}, 1.0),
        broker.fileno,
    ):
        with pytest.raises(BrokerError, match="closed"):
            refused()
    broker.close()
