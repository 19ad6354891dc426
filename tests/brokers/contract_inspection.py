"""Looking at queues, and the verbs of those who operate them."""

from __future__ import annotations

import threading
import time

from taskctl.core.brokers.base import Binding, Broker
from taskctl.core.wire.queues import Exchange, Queue, direct_queue

from .cases import Cases, MakeBroker, collect, tags, texts
from .peer import envelope, publication, text_of


class InspectionCases(Cases):
    #: Whether the broker knows when a message came.
    keeps_times = True
    #: Whether the broker knows the type of an exchange that others declared.
    keeps_exchange_types = True

    # --- looking ------------------------------------------------------------------------------

    def test_browsing_tells_when_a_message_came_and_whether_it_was_given_back(
        self, broker: Broker
    ) -> None:
        broker.publish([publication("a"), publication("b")])
        broker.reject(tags(collect(broker, 1)), requeue=True)

        found = broker.browse("q")

        assert [text_of(w.envelope) for w in found] == ["a", "b"]
        assert [w.redelivered for w in found] == [True, False]
        for waiting in found:
            if self.keeps_times:
                assert waiting.at is not None and abs(time.time() - waiting.at) < 60
            else:
                assert waiting.at is None
        assert [text_of(w.envelope) for w in broker.browse("q", 1)] == ["a"]

    def test_a_queue_exists_once_it_is_declared_or_holds_something(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        broker.publish([publication("a", "never-declared")])

        other = make_broker()

        assert other.exists("q")
        assert other.exists("never-declared")
        assert not other.exists("unheard-of")
        assert not other.exists("unheard-of"), "asking makes none"

    def test_bindings_are_listed_by_queue(self, make_broker: MakeBroker) -> None:
        maker, other = make_broker(), make_broker()
        news = Exchange(name="news", type="topic")
        maker.declare(Queue(name="paper", exchange=news, routing_key="sport.#"))
        maker.declare(direct_queue("images"))

        found = other.bindings()

        direct = "direct" if self.keeps_exchange_types else ""
        assert found == [
            Binding(queue="images", exchange="images", routing_key="images", type=direct),
            Binding(queue="paper", exchange="news", routing_key="sport.#", type="topic"),
        ]

    # --- swapping -----------------------------------------------------------------------------

    def test_a_swapped_message_is_gone_and_its_successor_waits(self, broker: Broker) -> None:
        broker.publish([publication("a", "dead"), publication("b", "dead", priority=9)])
        wanted = broker.peek("dead")[1]

        assert broker.swap("dead", wanted, [publication("again", "q")])

        assert [text_of(e) for e in broker.peek("dead")] != [text_of(wanted)]
        assert broker.size("dead") == 1
        assert texts(collect(broker, 1)) == ["again"]

    def test_what_does_not_wait_is_not_swapped(self, broker: Broker) -> None:
        broker.publish([publication("a")])
        (waiting,) = broker.peek("q")
        loans = collect(broker, 1)

        assert not broker.swap("q", waiting, [publication("again", "other")])
        assert not broker.swap("unheard-of", waiting, [publication("again", "other")])
        assert not broker.swap("q", envelope("another"), [publication("again", "other")])

        assert broker.size("other") == 0
        broker.ack(tags(loans))

    def test_a_swap_without_successor_drops_one_message(self, broker: Broker) -> None:
        broker.publish([publication(text, "dead") for text in "abc"])

        assert broker.swap("dead", broker.peek("dead")[1])

        assert [text_of(e) for e in broker.peek("dead")] == ["a", "c"]

    def test_of_two_who_swap_one_message_one_succeeds(self, make_broker: MakeBroker) -> None:
        make_broker().publish([publication(str(n), "dead") for n in range(100)])
        letters = make_broker().peek("dead", 100)
        done: list[list[bool]] = [[], []]

        def swap(who: int) -> None:
            broker = make_broker()
            for letter in letters:
                again = publication(text_of(letter), "back")
                done[who].append(broker.swap("dead", letter, [again]))

        threads = [threading.Thread(target=swap, args=(who,)) for who in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [one + two for one, two in zip(*done, strict=True)] == [1] * 100
        back = [text_of(e) for e in make_broker().peek("back", 200)]
        assert sorted(back, key=int) == [str(n) for n in range(100)]

    # --- pausing ------------------------------------------------------------------------------

    def test_a_pause_is_seen_by_all_until_it_is_taken_away(self, make_broker: MakeBroker) -> None:
        one, two = make_broker(), make_broker()

        one.pause("images")
        since = two.paused()["images"]
        one.pause("images")
        one.pause("my-queue.a:b")

        assert abs(time.time() - since) < 60
        assert two.paused()["images"] == since, "a second pause changes nothing"
        assert sorted(two.paused()) == ["images", "my-queue.a:b"]
        assert two.resume("images")
        assert not one.resume("images")
        assert list(one.paused()) == ["my-queue.a:b"]

    def test_a_pause_outlives_its_queue_and_makes_none(self, broker: Broker) -> None:
        broker.pause("q")
        broker.pause("unheard-of")
        broker.delete("q")

        assert set(broker.paused()) == {"q", "unheard-of"}
        assert not broker.exists("unheard-of")

    # --- deleting -----------------------------------------------------------------------------

    def test_deleting_drops_what_is_held_too(self, broker: Broker) -> None:
        broker.publish([publication(text) for text in "abc"])
        (loan,) = collect(broker, 1)
        broker.park(loan.tag, time.time() + 600, "a")

        assert broker.delete("q") == 3

        assert broker.parked(queues=["q"]) == []
        assert broker.size("q") == 0

    def test_only_an_empty_queue_is_deleted_if_empty(self, broker: Broker) -> None:
        broker.publish([publication("a"), publication("b", "other")])
        (loan,) = collect(broker, 1)
        broker.park(loan.tag, time.time() + 600, "a")

        assert not broker.delete_empty("q"), "one is held"
        assert not broker.delete_empty("other"), "one waits"

        assert broker.cancel_parked(["a"])
        assert broker.delete_empty("q")
        assert not broker.exists("q")
        assert broker.size("other") == 1
        assert broker.delete_empty("unheard-of")

    def test_held_messages_are_shown_of_any_queue(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        broker.publish([publication("a")])
        (loan,) = collect(broker, 1)
        broker.park(loan.tag, time.time() + 600, "a")

        other = make_broker()

        assert other.parked() == []
        assert [text_of(e) for _, e in other.parked(queues=["q", "unheard-of"])] == ["a"]
