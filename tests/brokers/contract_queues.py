"""Queues, exchanges and broadcasts."""

from __future__ import annotations

from typing import Any

from taskctl.core.brokers.base import Broker
from taskctl.core.wire.queues import Binding, Exchange, Queue, direct_queue

from ..support.waiting import eventually
from .cases import Cases, MakeBroker, collect, stat, tags, texts
from .peer import envelope, publication, text_of, wait_readable


class QueueCases(Cases):
    # --- queues -------------------------------------------------------------------------------

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

    # --- exchanges ----------------------------------------------------------------------------

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

    def test_a_queue_takes_by_each_of_its_bindings_and_each_message_once(
        self, broker: Broker
    ) -> None:
        news, sport = Exchange("news", "topic"), Exchange("sport", "direct")
        queue = Queue(
            "paper",
            news,
            "local.#",
            bindings=[Binding(news, "#.urgent"), Binding(sport, "final")],
        )
        broker.declare(queue)
        broker.declare(queue)

        for exchange, key in (
            ("news", "local.fire"),
            ("news", "world.urgent"),
            ("news", "local.fire.urgent"),
            ("news", "world.fire"),
            ("sport", "final"),
            ("sport", "match"),
        ):
            broker.publish([publication(f"{exchange} {key}", exchange=exchange, routing_key=key)])

        assert broker.size("paper") == 4
        assert broker.delete("paper") == 4
        broker.publish([publication("late", exchange="sport", routing_key="final")])
        assert broker.size("paper") == 0

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

    # --- broadcasts ---------------------------------------------------------------------------

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
