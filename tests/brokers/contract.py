"""What every broker promises, as tests.

A sibling's test file subclasses `BrokerContract` and gives the fixture `broker_url`: the URL of
an empty broker.  What the sibling cannot do it says with the class attributes, and why.
"""

from __future__ import annotations

import itertools
import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from taskctl.core.brokers import open_broker
from taskctl.core.brokers.base import Broker, Delivery
from taskctl.core.errors import BrokerError
from taskctl.core.wire.queues import Exchange, Queue, direct_queue

from ..support.waiting import eventually
from . import peer
from .peer import envelope, publication, text_of, wait_readable

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


class BrokerContract:
    #: False where other processes cannot see the broker at all.
    shared_by_processes = True
    #: How often a message must arrive faster than this (seconds) from another process.
    wake_up_within = 0.1

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

    # --- the line ---------------------------------------------------------------------------

    def test_opening_twice_changes_nothing_and_a_closed_broker_opens_again(
        self, broker: Broker
    ) -> None:
        broker.publish([publication("a")])
        broker.open()
        broker.close()

        broker.open()
        broker.subscribe(direct_queue("q"))

        assert texts(collect(broker, 1)) == ["a"]

    def test_closing_twice_is_harmless(self, broker: Broker) -> None:
        broker.close()
        broker.close()

    def test_loans_outlive_the_line_and_are_acked_after_opening_again(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        broker.publish([publication("a")])
        loans = collect(broker, 1)
        broker.close()
        broker.open()

        broker.ack(tags(loans))

        assert stat(broker) == (0, 0, 0)

    def test_a_closed_broker_refuses_work(self, broker: Broker) -> None:
        broker.close()

        with pytest.raises(BrokerError):
            broker.publish([publication("a")])

    def test_receiving_without_an_owner_is_refused(self, make_broker: MakeBroker) -> None:
        broker = make_broker()
        broker.subscribe(direct_queue("q"))
        broker.publish([publication("a")])

        with pytest.raises(BrokerError, match="owner"):
            broker.receive(1)

    def test_after_a_fork_parent_and_child_do_not_disturb_each_other(self, broker: Broker) -> None:
        broker.publish([publication("a"), publication("b")])
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                broker.publish([])
                broker.receive(0)
                status = 0
            except BrokerError:
                broker.close()  # refused, and closing what is the parent's hurts nobody
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0

        broker.publish([publication("c")])

        assert texts(collect(broker, 3)) == ["a", "b", "c"]

    # --- order ------------------------------------------------------------------------------

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

    # --- ack and reject ---------------------------------------------------------------------

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

    # --- queues -----------------------------------------------------------------------------

    def test_declaring_twice_changes_nothing(self, broker: Broker) -> None:
        broker.publish([publication("a")])

        broker.declare(direct_queue("q"))

        assert broker.size("q") == 1

    def test_publishing_makes_the_queue(self, make_broker: MakeBroker) -> None:
        broker = make_broker()

        broker.publish([publication("a", "fresh")])

        assert broker.size("fresh") == 1
        assert "fresh" in [found.name for found in broker.queues()]

    def test_size_counts_all_priorities_and_no_loans(self, broker: Broker) -> None:
        broker.publish([publication(str(p), priority=p) for p in range(10)])
        collect(broker, 2)

        assert broker.size("q") == 8
        assert broker.size("unheard-of") == 0
        assert stat(broker) == (8, 2, 0)

    def test_queues_are_ordered_and_tell_the_age_of_the_oldest(self, broker: Broker) -> None:
        broker.publish([publication("a", "z"), publication("b", "e"), publication("c", "e")])

        found = {s.name: s for s in broker.queues()}

        assert list(found) == sorted(found)
        assert found["e"].ready == 2
        age = found["e"].oldest
        assert age is None or 0 <= age < 60

    def test_peek_shows_what_comes_next_and_takes_nothing(self, broker: Broker) -> None:
        broker.publish([publication(f"{p}", priority=p) for p in (0, 9, 3)])

        seen = [text_of(e) for e in broker.peek("q")]

        assert [text_of(e) for e in broker.peek("q", 2)] == seen[:2]
        assert broker.size("q") == 3
        assert seen == texts(collect(broker, 3))
        assert broker.peek("unheard-of") == []

    def test_purge_drops_what_waits_and_leaves_loans(self, broker: Broker) -> None:
        broker.publish([publication(str(p), priority=p) for p in (0, 3, 9)])
        loans = collect(broker, 1)

        assert broker.purge("q") == 2

        assert stat(broker) == (0, 1, 0)
        assert broker.purge("q") == 0
        assert broker.purge("unheard-of") == 0
        broker.reject(tags(loans), requeue=True)
        assert broker.size("q") == 1

    def test_delete_removes_the_queue_its_bindings_and_messages(self, broker: Broker) -> None:
        news = Exchange(name="news", type="topic")
        broker.declare(Queue(name="paper", exchange=news, routing_key="sport.#"))
        broker.publish([publication("a", "paper"), publication("b", "paper")])

        assert broker.delete("paper") == 2

        assert "paper" not in [found.name for found in broker.queues()]
        broker.publish([publication("c", exchange="news", routing_key="sport.ball")])
        assert broker.size("paper") == 0
        assert broker.delete("unheard-of") == 0

    def test_a_subscribed_queue_that_was_deleted_still_delivers_what_comes_later(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        other = make_broker()
        broker.publish([publication("a")])
        other.delete("q")

        other.publish([publication("b")])

        assert texts(collect(broker, 1)) == ["b"]

    def test_take_pops_private_messages_without_a_loan(self, broker: Broker) -> None:
        broker.declare(Queue(name="replies", routing_key="replies", expires=60.0, durable=False))
        broker.publish([publication(str(n), "replies") for n in range(5)])

        first = [text_of(e) for e in broker.take("replies", 3)]

        assert first == ["0", "1", "2"]
        assert [text_of(e) for e in broker.take("replies")] == ["3", "4"]
        assert broker.take("replies") == []
        assert broker.take("unheard-of") == []

    # --- exchanges --------------------------------------------------------------------------

    def test_a_direct_exchange_goes_by_equal_key(self, broker: Broker) -> None:
        media = Exchange(name="media")
        broker.declare(Queue(name="video", exchange=media, routing_key="mpeg"))
        broker.declare(Queue(name="picture", exchange=media, routing_key="jpeg"))

        broker.publish(
            [
                publication("a", exchange="media", routing_key="mpeg"),
                publication("b", exchange="media", routing_key="jpeg"),
                publication("c", exchange="media", routing_key="mp"),
            ]
        )

        assert [text_of(e) for e in broker.peek("video")] == ["a"]
        assert [text_of(e) for e in broker.peek("picture")] == ["b"]

    def test_a_topic_exchange_goes_by_pattern(self, broker: Broker) -> None:
        news = Exchange(name="news", type="topic")
        for queue, pattern in (("all", "#"), ("sport", "sport.*"), ("deep", "sport.#")):
            broker.declare(Queue(name=queue, exchange=news, routing_key=pattern))

        for key in ("sport.ball", "sport.ball.foot", "art"):
            broker.publish([publication(key, exchange="news", routing_key=key)])

        found = {q: [text_of(e) for e in broker.peek(q)] for q in ("all", "sport", "deep")}
        assert found == {
            "all": ["sport.ball", "sport.ball.foot", "art"],
            "sport": ["sport.ball"],
            "deep": ["sport.ball", "sport.ball.foot"],
        }

    def test_a_fanout_exchange_reaches_every_bound_queue_once(self, broker: Broker) -> None:
        everyone = Exchange(name="everyone", type="fanout")
        for name in ("left", "right"):
            broker.declare(Queue(name=name, exchange=everyone))

        broker.publish([publication("a", exchange="everyone", routing_key="whatever")])

        assert [text_of(e) for e in broker.peek("left")] == ["a"]
        assert [text_of(e) for e in broker.peek("right")] == ["a"]

    def test_a_message_no_binding_takes_is_dropped(self, broker: Broker) -> None:
        broker.publish([publication("a", exchange="unheard-of", routing_key="q")])

        assert broker.size("q") == 0

    # --- held until due ---------------------------------------------------------------------

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

    # --- broadcasts -------------------------------------------------------------------------

    def hear(self, broker: Broker, count: int) -> list[tuple[str, str, str]]:
        heard = []

        def enough() -> bool:
            heard.extend(broker.hear())
            return len(heard) >= count

        eventually(enough, within=5)
        return [(h.exchange, h.routing_key, text_of(h.envelope)) for h in heard]

    def test_a_broadcast_reaches_every_listener(self, make_broker: MakeBroker) -> None:
        sender, first, second = make_broker(), make_broker(), make_broker(owner="two")
        for listener in (first, second):
            listener.listen("pidbox")

        for text in "abc":
            sender.broadcast("pidbox", "", envelope(text))

        expected = [("pidbox", "", text) for text in "abc"]
        assert self.hear(first, 3) == expected
        assert self.hear(second, 3) == expected
        assert first.hear() == []

    def test_a_broadcast_wakes_a_listener(self, make_broker: MakeBroker) -> None:
        sender, listener = make_broker(), make_broker()
        listener.listen("pidbox")
        listener.hear()

        sender.broadcast("pidbox", "", envelope("a"))

        eventually(lambda: wait_readable(listener, 0.2) and listener.hear(), within=5)

    def test_a_listener_hears_only_its_pattern_and_exchange(self, make_broker: MakeBroker) -> None:
        sender, tasks, everything = make_broker(), make_broker(), make_broker()
        tasks.listen("events", "task.#")
        everything.listen("events", "#")

        sender.broadcast("pidbox", "", envelope("other exchange"))
        sender.broadcast("events", "worker.online", envelope("worker"))
        sender.broadcast("events", "task.sent", envelope("task"))

        assert self.hear(everything, 2) == [
            ("events", "worker.online", "worker"),
            ("events", "task.sent", "task"),
        ]
        assert self.hear(tasks, 1) == [("events", "task.sent", "task")]
        assert tasks.hear() == []

    def test_the_empty_pattern_takes_only_empty_keys(self, make_broker: MakeBroker) -> None:
        sender, listener = make_broker(), make_broker()
        listener.listen("pidbox")

        sender.broadcast("pidbox", "key", envelope("keyed"))
        sender.broadcast("pidbox", "", envelope("bare"))

        assert self.hear(listener, 1) == [("pidbox", "", "bare")]

    def test_broadcasts_made_before_listening_are_not_heard(self, make_broker: MakeBroker) -> None:
        sender, listener = make_broker(), make_broker()
        sender.broadcast("pidbox", "", envelope("early"))

        listener.listen("pidbox")
        sender.broadcast("pidbox", "", envelope("late"))

        assert self.hear(listener, 1) == [("pidbox", "", "late")]

    def test_hear_keeps_its_limit_and_order(self, make_broker: MakeBroker) -> None:
        sender, listener = make_broker(), make_broker()
        listener.listen("pidbox")
        for n in range(10):
            sender.broadcast("pidbox", "", envelope(str(n)))

        first: list[Any] = eventually(lambda: listener.hear(4))
        assert len(first) <= 4
        rest = self.hear(listener, 10 - len(first))
        assert [text_of(h.envelope) for h in first] + [r[2] for r in rest] == list("0123456789")

    def test_nobody_listening_is_no_error(self, make_broker: MakeBroker) -> None:
        make_broker().broadcast("pidbox", "", envelope("a"))

    # --- leases -----------------------------------------------------------------------------

    def test_a_registered_node_is_listed_with_its_record(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        two = make_broker(owner="two")
        two.register("an@host", {"pid": 4711, "queues": ["q"]}, 30.0)
        two.register("an@host", {"pid": 4711, "queues": ["q", "r"]}, 30.0)

        nodes = make_broker().nodes()

        assert [node.name for node in nodes] == ["an@host", "one@host"]
        assert nodes[0].record == {"pid": 4711, "queues": ["q", "r"]}
        assert nodes[0].owner == "two"
        assert nodes[0].alive
        assert 0 <= nodes[0].age < 60

    def test_a_node_whose_lease_ended_is_not_alive(self, make_broker: MakeBroker) -> None:
        make_broker(owner="two").register("two@host", {}, 0.1)
        onlooker = make_broker()

        eventually(lambda: not onlooker.nodes()[0].alive)

    def test_retiring_removes_the_record_and_gives_loans_back(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        broker.publish([publication("a"), publication("b")])
        broker.started(tags(collect(broker, 1, limit=1)))

        broker.retire()

        assert broker.nodes() == []
        other = make_broker(owner="two")
        other.subscribe(direct_queue("q"))
        back = collect(other, 2)
        assert texts(back) == ["a", "b"]
        assert [(d.deliveries, d.redelivered) for d in back] == [(0, True), (0, False)]

    def test_a_living_owner_keeps_its_loans(self, broker: Broker, make_broker: MakeBroker) -> None:
        broker.publish([publication("a")])
        collect(broker, 1)

        assert make_broker(owner="two").reclaim() == []
        assert stat(broker) == (0, 1, 0)

    def test_what_a_dead_owner_held_goes_back_in_order_and_is_counted(
        self, make_broker: MakeBroker
    ) -> None:
        dead, other = make_broker(owner="dead"), make_broker(owner="two")
        dead.register("dead@host", {}, 0.1)
        dead.subscribe(direct_queue("q"))
        dead.publish([publication(text) for text in "abcd"])
        loans = collect(dead, 3)
        dead.started(tags(loans)[:1])

        assert eventually(other.reclaim) == ["dead@host"]

        assert other.nodes() == []
        other.subscribe(direct_queue("q"))
        back = collect(other, 4)
        assert texts(back) == ["a", "b", "c", "d"]
        assert [d.deliveries for d in back] == [1, 1, 1, 0]
        assert [d.redelivered for d in back] == [True, True, True, False]

    def test_later_losses_count_only_for_what_had_started(self, make_broker: MakeBroker) -> None:
        other = make_broker(owner="two")
        other.publish([publication("a"), publication("b")])
        counts = []
        for n in range(3):
            dead = make_broker(owner=f"dead{n}")
            dead.register(f"dead{n}@host", {}, 0.1)
            dead.subscribe(direct_queue("q"))
            loans = collect(dead, 2)
            counts.append([d.deliveries for d in loans])
            dead.started(tags(loans)[:1])
            assert eventually(other.reclaim) == [f"dead{n}@host"]

        assert counts == [[0, 0], [1, 1], [2, 1]]

    def test_an_owner_that_comes_back_after_its_lease_cannot_ack_for_another(
        self, make_broker: MakeBroker
    ) -> None:
        sleeper, other = make_broker(owner="sleeper"), make_broker(owner="two")
        sleeper.register("sleeper@host", {}, 0.1)
        sleeper.subscribe(direct_queue("q"))
        sleeper.publish([publication("a")])
        old = collect(sleeper, 1)
        eventually(other.reclaim)
        other.register("two@host", {}, 30.0)
        other.subscribe(direct_queue("q"))
        new = collect(other, 1)

        sleeper.register("sleeper@host", {}, 30.0)
        sleeper.started(tags(old))
        sleeper.reject(tags(old), requeue=True)
        sleeper.ack(tags(old))

        assert stat(other) == (0, 1, 0)
        other.ack(tags(new))
        assert stat(other) == (0, 0, 0)

    def test_an_owner_whose_loans_went_back_cannot_touch_them_where_they_wait(
        self, make_broker: MakeBroker
    ) -> None:
        sleeper, other = make_broker(owner="sleeper"), make_broker(owner="two")
        sleeper.register("sleeper@host", {}, 0.1)
        sleeper.subscribe(direct_queue("q"))
        sleeper.publish([publication("a"), publication("b")])
        old = tags(collect(sleeper, 2))
        eventually(other.reclaim)

        sleeper.ack(old)
        sleeper.reject(old, requeue=False)
        sleeper.park(old[0], time.time() + 60, "t")
        sleeper.retire()

        other.subscribe(direct_queue("q"))
        assert [(t, d.deliveries) for d in collect(other, 2) for t in texts([d])] == [
            ("a", 1),
            ("b", 1),
        ]

    # --- several processes ------------------------------------------------------------------

    def test_a_message_from_another_process_wakes_an_idle_consumer(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        sender = start_peer("stamp")
        peer.heard_from(sender)
        delays = []
        for _ in range(10):
            broker.receive(10)
            eventually(lambda: not wait_readable(broker, 0) or broker.receive(10))
            peer.tell(sender)
            poller = select.poll()
            poller.register(broker.fileno(), select.POLLIN)
            deliveries: list[Delivery] = []
            while not deliveries:
                assert poller.poll(10_000)
                deliveries = broker.receive(1)
            delays.append(time.time() - float(texts(deliveries)[0]))
            broker.ack(tags(deliveries))

        assert sorted(delays)[5] < self.wake_up_within, delays

    def test_an_idle_descriptor_is_silent(self, broker: Broker) -> None:
        broker.publish([publication("a")])
        broker.ack(tags(collect(broker, 1)))

        eventually(lambda: broker.receive(1) == [] and not wait_readable(broker, 0.05))

    def test_two_processes_share_a_queue_without_overlap(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        broker.unsubscribe("q")
        peers = [start_peer("consume", f"peer{n}", 7) for n in range(2)]
        for process in peers:
            peer.heard_from(process)
        for process in peers:
            peer.tell(process)

        for start in range(0, 3000, 50):
            broker.publish([publication(str(n)) for n in range(start, start + 50)])

        shares = [peer.heard_from(process) for process in peers]
        assert sorted(map(int, itertools.chain(*shares))) == list(range(3000))
        assert all(shares), "one of them got nothing"
        assert stat(broker) == (0, 0, 0)

    def test_a_message_survives_the_death_of_its_publisher(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        process = start_peer("stamp")
        peer.heard_from(process)
        peer.tell(process)
        eventually(lambda: broker.size("q") == 1)

        process.kill()
        process.wait()

        assert len(collect(broker, 1)) == 1

    def test_what_a_killed_process_held_is_given_back_once_though_many_reclaim(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        broker.unsubscribe("q")
        broker.publish([publication(str(n)) for n in range(50)])
        holder = start_peer("hold", "holder", 50, 1.0)
        peer.heard_from(holder)
        reclaimers = [start_peer("reclaim", 400) for _ in range(3)]
        for process in reclaimers:
            peer.heard_from(process)

        holder.kill()

        names = [name for process in reclaimers for name in peer.heard_from(process)]
        assert names == ["holder@host"]
        assert stat(broker) == (50, 0, 0)
        broker.subscribe(direct_queue("q"))
        back = collect(broker, 50)
        assert texts(back) == [str(n) for n in range(50)]
        assert {d.deliveries for d in back} == {1}

    def test_a_relay_killed_half_way_neither_loses_nor_doubles(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        broker.unsubscribe("q")
        broker.publish([publication("0")])
        for n in range(3):
            process = start_peer("relay", f"relay{n}")
            peer.heard_from(process)
            eventually(lambda: broker.peek("q") or broker.reclaim(), within=10)
            time.sleep(0.02 * n)  # cut at another point each time

            process.kill()
            process.wait()

            ready, unacked, _ = stat(broker)
            assert ready + unacked == 1
            eventually(lambda: broker.reclaim() or stat(broker) == (1, 0, 0), within=10)
