"""What the tests of every broker stand on: fixtures, and words for what is looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskctl.core.brokers import open_broker
from taskctl.core.brokers.base import Broker, Delivery
from taskctl.core.wire.queues import direct_queue

from . import peer
from .peer import text_of, wait_readable

MakeBroker = Callable[..., Broker]


def collect(broker: Broker, count: int, *, limit: int = 100, within: float = 5.0) -> list[Delivery]:
    """Receive until `count` deliveries are there."""
    deadline = time.monotonic() + within
    deliveries: list[Delivery] = []
    while len(deliveries) < count:
        deliveries += broker.receive(min(limit, count - len(deliveries)))
        if len(deliveries) < count:
            assert time.monotonic() < deadline, f"{len(deliveries)} of {count} came: {deliveries}"
            wait_readable(broker, 0.05)
    return deliveries


def texts(deliveries: list[Delivery]) -> list[str]:
    return [text_of(delivery.envelope) for delivery in deliveries]


def tags(deliveries: list[Delivery]) -> list[str]:
    return [delivery.tag for delivery in deliveries]


def stat(broker: Broker, queue: str = "q") -> tuple[int, int, int]:
    """Return (ready, unacked, due) of a queue."""
    for found in broker.queues():
        if found.name == queue:
            return found.ready, found.unacked, found.due
    return 0, 0, 0


class Cases:
    """Give `broker_url` and inherit the cases."""

    #: False where other processes cannot see the broker at all.
    shared_by_processes = True
    #: How often a message must arrive faster than this (seconds) from another process.
    wake_up_within = 0.1

    @pytest.fixture
    def broker_url(self) -> str:
        """The URL of an empty broker."""
        raise NotImplementedError

    @pytest.fixture
    def make_broker(self, broker_url: str) -> Iterator[MakeBroker]:
        """A function that opens a broker; all are closed at the end."""
        made: list[Broker] = []

        def make(owner: str | None = None, **options: Any) -> Broker:
            broker = open_broker(broker_url, options=options, owner=owner)
            broker.open()
            made.append(broker)
            return broker

        yield make
        for broker in made:
            broker.close()

    def fall_silent(self, broker: Broker) -> None:
        """Be a node that says nothing more; its lease, a short one, runs out by itself."""

    def come_back(self, broker: Broker) -> None:
        """Be that node again, which knows nothing of what happened meanwhile."""

    @pytest.fixture
    def broker(self, make_broker: MakeBroker) -> Broker:
        """A consumer of queue `q`, owner `one`."""
        broker = make_broker(owner="one")
        broker.register("one@host", {}, 30.0)
        broker.subscribe(direct_queue("q"))
        return broker

    @pytest.fixture
    def start_peer(self, broker_url: str) -> Iterator[Callable[..., Any]]:
        """A function that starts another process at the same broker; all are killed at the end."""
        if not self.shared_by_processes:
            pytest.skip("this broker lives inside one process")
        started = []

        def start(verb: str, *args: Any, queue: str = "q") -> Any:
            process = peer.start(verb, broker_url, queue, *args)
            started.append(process)
            return process

        yield start
        for process in started:
            process.kill()
            process.communicate()
