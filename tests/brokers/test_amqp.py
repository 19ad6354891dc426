"""The RabbitMQ broker keeps the contract, on a real server; where AMQP gives less, this says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from taskctl.core.brokers.base import Broker
from taskctl.core.wire.queues import direct_queue

from ..support.waiting import eventually
from . import peer
from .cases import MakeBroker, collect, stat, texts
from .contract import BrokerContract
from .peer import publication, text_of


class TestAmqpBroker(BrokerContract):
    # RabbitMQ keeps no times of messages.
    keeps_times = False
    leases_end_by_time = False
    # Looking would mark all of them as redelivered.
    finds_waiting = False

    @pytest.fixture
    def broker_url(self, rabbitmq_url: str) -> str:
        return rabbitmq_url

    def fall_silent(self, broker: Broker) -> None:
        """To RabbitMQ a node is its connection; a lease says only that it is missed."""
        broker.close()

    def come_back(self, broker: Broker) -> None:
        broker.open()

    def test_priorities_are_served_in_the_order_the_broker_declares(self, broker: Broker) -> None:
        """RabbitMQ has priorities where a queue was declared with them."""
        broker.subscribe(direct_queue("urgent", max_priority=10))
        broker.publish(
            [
                publication(f"{p}-{n}", "urgent", priority=p)
                for n, p in enumerate([0, 9, 3, 6, 0, 9])
            ]
        )

        assert texts(collect(broker, 6)) == ["9-1", "9-5", "6-3", "3-2", "0-0", "0-4"]

    def test_held_messages_are_shown_of_any_queue(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        """They are in their node's hands: it alone can show them, of whichever queue."""
        broker.publish([publication("a")])
        (loan,) = collect(broker, 1)
        broker.park(loan.tag, time.time() + 600, "a")
        broker.unsubscribe("q")

        assert broker.parked() == []
        assert [text_of(e) for _, e in broker.parked(queues=["q", "unheard-of"])] == ["a"]
        assert make_broker().parked(queues=["q"]) == []

    def test_loans_outlive_the_line_and_are_acked_after_opening_again(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        """RabbitMQ takes them back with the line, and gives them out again: to their old owner
        they are what they were."""
        broker.publish([publication("a"), publication("b"), publication("c")])
        done, running, waiting = collect(broker, 3)
        broker.close()
        broker.open()
        broker.subscribe(direct_queue("q"))

        broker.ack([done.tag])
        broker.reject([waiting.tag], requeue=True)

        assert texts(collect(broker, 1)) == ["c"], "one has ended, and one is running here"
        assert stat(broker) == (0, 2, 0)
        broker.ack([running.tag])
        assert stat(broker) == (0, 1, 0)
        broker.retire()
        assert stat(broker) == (1, 0, 0)

    def test_a_relay_killed_half_way_neither_loses_nor_doubles(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        """Acking and publishing are two steps, in the order that loses nothing: one that is
        killed between them leaves a message and its successor."""
        broker.unsubscribe("q")
        broker.publish([publication("0")])
        for n in range(3):
            process = start_peer("relay", f"relay{n}")
            peer.heard_from(process)
            eventually(lambda: int(text_of((broker.peek("q") or [peer.envelope("0")])[0])) >= 0)
            time.sleep(0.02 * n)  # cut at another point each time

            process.kill()
            process.wait()

            eventually(lambda: broker.size("q") >= 1)
