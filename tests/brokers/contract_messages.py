"""Order, loans, ack and reject, held messages."""

from __future__ import annotations

import time

import pytest

from taskctl.core.brokers.base import Broker
from taskctl.core.wire.queues import direct_queue

from .cases import Cases, MakeBroker, collect, stat, tags, texts
from .peer import publication, text_of


class MessageCases(Cases):
    # --- order --------------------------------------------------------------------------------

    def test_messages_leave_in_the_order_they_came(self, broker: Broker) -> None:
        broker.publish([publication(str(n)) for n in range(5)])
        broker.publish([publication(str(n)) for n in range(5, 10)])

        assert texts(collect(broker, 10, limit=3)) == [str(n) for n in range(10)]

    def test_receive_keeps_its_limit(self, broker: Broker) -> None:
        broker.publish([publication(str(n)) for n in range(10)])

        assert len(broker.receive(4)) <= 4
        assert broker.receive(0) == []

    def test_an_empty_queue_gives_nothing_at_once(self, broker: Broker) -> None:
        started = time.monotonic()

        assert broker.receive(10) == []
        assert time.monotonic() - started < 0.5

    def test_priorities_are_served_in_the_order_the_broker_declares(self, broker: Broker) -> None:
        order = [0, 9, 3, 6, 0, 9]
        broker.publish([publication(f"{p}-{n}", priority=p) for n, p in enumerate(order)])

        received = texts(collect(broker, 6))

        expected = ["9-1", "9-5", "6-3", "3-2", "0-0", "0-4"]
        if not broker.highest_priority_first:
            expected = ["0-0", "0-4", "3-2", "6-3", "9-1", "9-5"]
        assert received == expected

    def test_a_full_queue_does_not_starve_another(self, broker: Broker) -> None:
        broker.subscribe(direct_queue("other"))
        broker.publish([publication(f"q{n}") for n in range(100)])
        broker.publish([publication(f"other{n}", "other") for n in range(3)])

        first = texts(collect(broker, 10, limit=2))

        assert [text for text in first if text.startswith("other")] == [
            "other0",
            "other1",
            "other2",
        ]

    def test_a_delivery_names_its_queue(self, broker: Broker) -> None:
        broker.subscribe(direct_queue("other"))
        broker.publish([publication("a", "other"), publication("b")])

        assert {d.queue: text_of(d.envelope) for d in collect(broker, 2)} == {
            "other": "a",
            "q": "b",
        }

    def test_an_unsubscribed_queue_is_left_alone(self, broker: Broker) -> None:
        broker.subscribe(direct_queue("other"))
        broker.publish([publication("a", "other"), publication("b", "other")])
        loans = collect(broker, 1, limit=1)

        broker.unsubscribe("other")
        broker.publish([publication("c")])

        assert texts(collect(broker, 1)) == ["c"]
        assert broker.receive(10) == []
        assert stat(broker, "other")[:2] == (1, 1)
        broker.ack(tags(loans))
        assert stat(broker, "other")[:2] == (1, 0)

    def test_unsubscribing_the_unknown_is_harmless(self, broker: Broker) -> None:
        broker.unsubscribe("nobody")

    def test_ten_thousand_messages_come_once_each(self, broker: Broker) -> None:
        for start in range(0, 10_000, 1000):
            broker.publish([publication(str(n)) for n in range(start, start + 1000)])
        received: list[str] = []
        while len(received) < 10_000:
            deliveries = collect(broker, 1) + broker.receive(99)
            received += texts(deliveries)
            broker.ack(tags(deliveries))

        assert received == [str(n) for n in range(10_000)]
        assert stat(broker) == (0, 0, 0)

    # --- ack and reject -----------------------------------------------------------------------

    def test_a_fresh_delivery_was_never_delivered_before(self, broker: Broker) -> None:
        broker.publish([publication("a")])

        (delivery,) = collect(broker, 1)

        assert (delivery.deliveries, delivery.redelivered, delivery.queue) == (0, False, "q")

    def test_an_acked_delivery_is_gone_for_good(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        broker.publish([publication("a"), publication("b")])
        loans = collect(broker, 2)

        broker.ack(tags(loans)[:1])

        assert stat(broker) == (0, 1, 0)
        broker.retire()
        other = make_broker(owner="two")
        other.subscribe(direct_queue("q"))
        assert texts(collect(other, 1)) == ["b"]

    def test_a_loan_is_invisible_to_others(self, broker: Broker, make_broker: MakeBroker) -> None:
        broker.publish([publication("a")])
        collect(broker, 1)
        other = make_broker(owner="two")
        other.subscribe(direct_queue("q"))

        assert other.receive(10) == []
        assert other.size("q") == 0

    def test_unknown_tags_are_ignored(self, broker: Broker) -> None:
        broker.publish([publication("a")])
        loans = collect(broker, 1)

        unknown = ["", "nonsense", "7", "7:1", "-1:0", "a:b", "99999999999999999999:1", "é"]
        broker.ack(unknown)
        broker.reject(unknown, requeue=True)
        broker.reject(unknown, requeue=False)
        broker.started(unknown)
        broker.park("nonsense", time.time() + 60, "t")
        broker.ack(unknown + tags(loans))

        assert stat(broker) == (0, 0, 0)

    def test_a_tag_works_once(self, broker: Broker) -> None:
        broker.publish([publication("a")])
        loans = collect(broker, 1)
        broker.reject(tags(loans), requeue=True)

        again = collect(broker, 1)
        if tags(again) != tags(loans):
            broker.ack(tags(loans))

            assert stat(broker) == (0, 1, 0)
        broker.ack(tags(again))
        assert stat(broker) == (0, 0, 0)

    def test_a_rejected_delivery_is_gone(self, broker: Broker) -> None:
        broker.publish([publication("a")])

        broker.reject(tags(collect(broker, 1)), requeue=False)

        assert stat(broker) == (0, 0, 0)
        assert broker.receive(1) == []

    def test_a_requeued_delivery_comes_back_first_and_redelivered(self, broker: Broker) -> None:
        broker.publish([publication(text) for text in "abcd"])
        loans = collect(broker, 3)

        broker.reject(tags(loans)[1:], requeue=True)

        back = collect(broker, 3)
        assert texts(back) == ["b", "c", "d"]
        assert [d.redelivered for d in back] == [True, True, False]
        assert [d.deliveries for d in back] == [0, 0, 0]

    def test_a_lost_delivery_counts(self, broker: Broker) -> None:
        broker.publish([publication("a")])

        for expected in (1, 2, 3):
            broker.reject(tags(collect(broker, 1)), requeue=True, lost=True)
            (delivery,) = collect(broker, 1)
            assert (delivery.deliveries, delivery.redelivered) == (expected, True)
            broker.reject([delivery.tag], requeue=True)

    def test_publications_go_out_with_the_ack(self, broker: Broker) -> None:
        broker.publish([publication("a")])
        loans = collect(broker, 1)

        broker.ack(tags(loans), [publication("b"), publication("c", "other")])

        assert texts(collect(broker, 1)) == ["b"]
        assert stat(broker) == (0, 1, 0)
        assert [text_of(e) for e in broker.peek("other")] == ["c"]

    def test_publications_go_out_even_with_no_tag_that_is_known(self, broker: Broker) -> None:
        broker.ack([], [publication("a")])

        assert texts(collect(broker, 1)) == ["a"]

    # --- held until due -----------------------------------------------------------------------

    def test_a_message_published_with_a_due_time_comes_when_it_is_due(self, broker: Broker) -> None:
        if not broker.holds_due:
            pytest.skip("this broker does not hold messages on publish")
        due = time.time() + 0.3
        broker.publish([publication("later", due=due), publication("now")])

        assert texts(collect(broker, 1)) == ["now"]
        assert broker.receive(1) == []
        assert stat(broker) == (0, 1, 1)
        assert texts(collect(broker, 1)) == ["later"]
        assert time.time() >= due
        assert stat(broker) == (0, 2, 0)

    def test_held_messages_come_soonest_first(self, broker: Broker) -> None:
        if not broker.holds_due:
            pytest.skip("this broker does not hold messages on publish")
        now = time.time()
        broker.publish([publication(str(n), due=now + n / 20) for n in (5, 3, 4, 1, 2)])

        assert texts(collect(broker, 5)) == ["1", "2", "3", "4", "5"]

    def test_a_message_due_in_the_past_comes_at_once(self, broker: Broker) -> None:
        broker.publish([publication("a", due=time.time() - 60)])

        assert texts(collect(broker, 1)) == ["a"]

    def test_a_parked_loan_comes_back_when_due(self, broker: Broker) -> None:
        broker.publish([publication("a")])
        (loan,) = collect(broker, 1)
        due = time.time() + 0.3

        broker.park(loan.tag, due, "task-a")

        assert stat(broker) == (0, 0, 1)
        assert broker.receive(1) == []
        assert texts(collect(broker, 1)) == ["a"]
        assert time.time() >= due

    def test_parked_lists_held_messages_soonest_first(self, broker: Broker) -> None:
        broker.publish([publication(text) for text in "abc"])
        loans = collect(broker, 3)
        now = time.time()
        for loan, delay in zip(loans, (300, 100, 200), strict=True):
            broker.park(loan.tag, now + delay, "task-" + text_of(loan.envelope))

        held = broker.parked()

        assert [text_of(encoded) for _, encoded in held] == ["b", "c", "a"]
        assert [round(due - now) for due, _ in held] == [100, 200, 300]
        assert broker.parked(limit=1) == held[:1]

    def test_cancelling_a_parked_task_drops_its_message(self, broker: Broker) -> None:
        broker.publish([publication(text) for text in "ab"])
        for loan in collect(broker, 2):
            broker.park(loan.tag, time.time() + 300, "task-" + text_of(loan.envelope))

        dropped = broker.cancel_parked(["task-a", "unheard-of"])

        assert [text_of(encoded) for encoded in dropped] == ["a"]
        assert [text_of(encoded) for _, encoded in broker.parked()] == ["b"]
        assert broker.cancel_parked(["task-a"]) == []

    def test_a_message_published_with_a_due_time_can_be_cancelled(self, broker: Broker) -> None:
        if not broker.holds_due:
            pytest.skip("this broker does not hold messages on publish")
        broker.publish([publication("a", due=time.time() + 300)])

        assert [text_of(encoded) for encoded in broker.cancel_parked(["a"])] == ["a"]
        assert stat(broker) == (0, 0, 0)
