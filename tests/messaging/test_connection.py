from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest

from taskctl.core.errors import BrokerConnectionError, PublishTimeout
from taskctl.core.messaging.connection import Connection, RetryPolicy, split_urls
from taskctl.core.wire.message import Publication
from taskctl.core.wire.queues import Queue

from ..support.servers import free_port


def letter(body: bytes = b"{}") -> Publication:
    return Publication(exchange="", routing_key="q", envelope=body)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/queue.db"


def test_the_first_url_that_answers_is_used_and_tried_first_from_then_on(url: str) -> None:
    nobody = f"redis://127.0.0.1:{free_port()}/0"

    with Connection(f"{nobody};{url}") as connection:
        assert connection.url == url
        assert connection.urls == [url, nobody]


def test_when_none_answers_the_error_names_the_broker() -> None:
    port = free_port()

    with pytest.raises(BrokerConnectionError, match=f"127.0.0.1:{port}"):
        Connection(f"redis://127.0.0.1:{port}/0").open()


def test_a_connection_that_was_closed_opens_again(url: str) -> None:
    connection = Connection(url)
    connection.publish([letter()], queues=[Queue(name="q")])
    connection.close()

    connection.publish([letter()])

    assert connection.broker.size("q") == 2
    connection.close()


def test_tries_are_repeated_as_the_policy_says_and_no_more() -> None:
    connection = Connection(f"redis://127.0.0.1:{free_port()}/0")
    tried = []

    def action(broker: object) -> None:
        tried.append(broker)

    began = time.monotonic()
    with pytest.raises(BrokerConnectionError):
        connection.call(action, policy=RetryPolicy(3, 0.05, 0.05, 0.1))

    assert tried == []
    assert 0.2 < time.monotonic() - began < 1.5


def test_a_broker_that_says_nothing_costs_no_more_than_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = Connection(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        began = time.monotonic()

        with pytest.raises(BrokerConnectionError):
            connection.publish([letter()], deadline=0.5, policy=RetryPolicy(None))

        assert time.monotonic() - began < 1.2


def test_threads_take_turns_and_do_not_wait_beyond_their_deadline(url: str) -> None:
    connection = Connection(url)
    inside, leave = threading.Event(), threading.Event()

    def occupy(broker: object) -> None:
        inside.set()
        leave.wait(5)

    thread = threading.Thread(target=connection.call, args=(occupy,))
    thread.start()
    inside.wait(5)
    try:
        with pytest.raises(PublishTimeout, match="busy in another thread"):
            connection.publish([letter()], deadline=0.1)
    finally:
        leave.set()
        thread.join()
    connection.publish([letter()], deadline=1.0)
    connection.close()


def test_a_forked_child_speaks_on_a_line_of_its_own(url: str) -> None:
    with Connection(url) as connection:
        connection.publish([letter()], queues=[Queue(name="q")])
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                connection.publish([letter()])
                code = 0
            finally:
                os._exit(code)
        assert os.waitpid(pid, 0)[1] == 0

        assert connection.broker.size("q") == 2


def test_delays_grow_up_to_their_limit() -> None:
    delays = list(RetryPolicy.of({"max_retries": 4, "interval_max": 0.5, "odd": 1}).delays())

    assert delays == pytest.approx([0.0, 0.2, 0.4, 0.5])


def test_urls_are_parted_by_semicolons() -> None:
    assert split_urls(" a://x ; b://y;") == ["a://x", "b://y"]
    assert split_urls(["a://x"]) == ["a://x"]
