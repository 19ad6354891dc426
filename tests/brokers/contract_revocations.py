"""Revocations: what is noted at the broker, and messages found by the id of their task."""

from __future__ import annotations

from taskctl.core.brokers.base import Broker
from taskctl.core.messaging import revocations

from ..support.waiting import eventually
from .cases import Cases, MakeBroker
from .peer import publication, text_of


class RevocationCases(Cases):
    #: Whether waiting messages are found by the id of their task.
    finds_waiting = True

    def test_what_is_revoked_is_known_to_whoever_comes_later(self, make_broker: MakeBroker) -> None:
        first = make_broker()
        revocations.note_ids(first, ["a", "b"], 60.0)
        revocations.note_stamps(first, {"tenant": ["acme", 7]}, 60.0)
        first.close()

        found = revocations.load(make_broker())

        assert sorted(found.ids) == ["a", "b"]
        assert all(50 < seconds <= 60 for seconds in found.ids.values())
        assert sorted((name, str(value)) for name, value, _ in found.stamps) == [
            ("tenant", "7"),
            ("tenant", "acme"),
        ]

    def test_a_revocation_ends_and_the_longer_of_two_counts(self, make_broker: MakeBroker) -> None:
        broker = make_broker()
        revocations.note_ids(broker, ["kept"], 60.0)
        revocations.note_ids(broker, ["kept", "short"], 0.001)
        revocations.note_ids(broker, ["other"], 60.0)

        eventually(lambda: sorted(revocations.load(broker).ids) == ["kept", "other"])

    def test_marks_nobody_of_us_wrote_are_left_alone(self, make_broker: MakeBroker) -> None:
        broker = make_broker()
        broker.note_revoked(["?", "stamp:[", "stamp:[1, 2]", "id:a"], 60.0)

        found = revocations.load(broker)

        assert (list(found.ids), found.stamps) == (["a"], [])

    def test_waiting_messages_of_a_task_are_dropped_once(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        broker.publish([publication(text) for text in ("a", "b", "c")])

        dropped = [text_of(one) for one in make_broker().cancel_waiting(["b", "unknown"])]

        if self.finds_waiting:
            assert dropped == ["b"]
            assert make_broker().cancel_waiting(["b"]) == []
        assert broker.size("q") == 3 - len(dropped)
