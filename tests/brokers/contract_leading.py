"""Leadership: one candidate leads, and its sends and notes are one step."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskctl.core.brokers.leading import Leadership
from taskctl.core.wire.queues import direct_queue

from ..support.waiting import eventually
from .cases import Cases, MakeBroker, collect, texts
from .peer import publication

Candidate = Callable[..., Leadership]


class LeadingCases(Cases):
    #: Whether a lease ends by its time alone; else it ends with the line.
    leases_end_by_time = True

    @pytest.fixture
    def candidate(self, make_broker: MakeBroker) -> Iterator[Candidate]:
        """A function that returns one more candidate for the same leadership."""
        made: list[Leadership] = []

        def make(name: str, group: str = "g") -> Leadership:
            made.append(make_broker().leadership(group, name))
            return made[-1]

        yield make
        for one in made:
            one.close()

    def lose(self, leader: Leadership) -> None:
        """Let the lease of `leader`, a short one, come to its end without its doing."""
        if not self.leases_end_by_time:
            leader.close()

    def test_one_candidate_leads_and_the_others_hear_who(self, candidate: Candidate) -> None:
        one, two = candidate("one"), candidate("two")

        first = one.claim({"host": "here"}, 30.0)
        second = two.claim({"host": "there"}, 30.0)

        assert first.held and first.fence == 1
        assert not second.held and 0 < second.remaining <= 30.0
        seen = two.look()
        assert seen is not None
        assert (seen.held, seen.fence, seen.record) == (False, 1, {"host": "here"})
        assert candidate("three", "another group").look() is None

    def test_a_leader_goes_on_in_the_same_term(self, candidate: Candidate) -> None:
        one = candidate("one")
        fences = [one.claim({"n": n}, 30.0).fence for n in range(3)]

        assert fences == [1, 1, 1]

    def test_a_leadership_that_is_released_is_free_and_keeps_its_notes(
        self, candidate: Candidate
    ) -> None:
        one, two = candidate("one"), candidate("two")
        one.claim({}, 30.0)
        one.publish([], {"a": 1, "b": {"x": [1.5, None]}})
        one.publish([], {"a": None})
        one.release()

        claim = two.claim({}, 30.0)

        assert claim.held and claim.fence == 2
        assert two.notes() == {"b": {"x": [1.5, None]}}
        assert candidate("three").notes() == {"b": {"x": [1.5, None]}}, "anybody may read"

    def test_messages_and_notes_go_out_in_one_step(
        self, candidate: Candidate, make_broker: MakeBroker
    ) -> None:
        consumer = make_broker(owner="worker")
        one = candidate("one")
        one.claim({}, 30.0)

        assert one.publish([publication("m1"), publication("m2")], {"a": 1}) is True

        assert one.notes() == {"a": 1}
        consumer.subscribe(direct_queue("q"))
        assert texts(collect(consumer, 2)) == ["m1", "m2"]

    def test_who_does_not_lead_sends_nothing(
        self, candidate: Candidate, make_broker: MakeBroker
    ) -> None:
        one, two = candidate("one"), candidate("two")
        one.claim({}, 30.0)

        assert two.publish([publication("m")], {"a": 2}) is False
        two.release()
        assert one.publish([], {"a": 1}) is True
        assert one.notes() == {"a": 1}
        assert make_broker().size("q") == 0

    def test_a_leader_whose_lease_ended_sends_nothing_once_another_leads(
        self, candidate: Candidate, make_broker: MakeBroker
    ) -> None:
        one, two = candidate("one"), candidate("two")
        one.claim({}, 0.3)
        one.publish([], {"a": 1})
        self.lose(one)
        claim = eventually(lambda: (c := two.claim({}, 30.0)).held and c, within=10)
        assert claim.fence == 2

        assert one.publish([publication("late")], {"a": 99}) is False

        assert two.notes() == {"a": 1}
        assert make_broker().size("q") == 0
        assert one.claim({}, 30.0).held is False

    def test_a_lease_that_ended_and_nobody_took_is_still_ours(self, candidate: Candidate) -> None:
        if not self.leases_end_by_time:
            pytest.skip("there a leader is its line")
        one = candidate("one")
        one.claim({}, 0.05)
        eventually(lambda: one.look() is None)

        assert one.publish([], {"a": 1}) is True
        assert one.claim({}, 30.0).fence == 1

    def test_a_term_can_be_taken_from_one_who_is_known_to_be_dead(
        self, candidate: Candidate
    ) -> None:
        if not self.leases_end_by_time:
            pytest.skip("there the server sees who is dead")
        one, two, three = candidate("one"), candidate("two"), candidate("three")
        fence = one.claim({}, 30.0).fence

        assert two.claim({}, 30.0, over=fence).held
        assert three.claim({}, 30.0, over=fence).held is False, "that term is over"
        assert one.publish([], {"a": 1}) is False

    def test_of_many_who_claim_at_once_one_leads(self, candidate: Candidate) -> None:
        candidates = [candidate(f"c{n}") for n in range(6)]
        held: list[Any] = []
        start = threading.Barrier(len(candidates))

        def run(one: Leadership) -> None:
            start.wait()
            held.append(one.claim({}, 30.0).held)

        threads = [threading.Thread(target=run, args=[one]) for one in candidates]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)

        assert sorted(held) == [False] * 5 + [True]

    def test_notes_keep_what_came_last_through_a_thousand_changes(
        self, candidate: Candidate
    ) -> None:
        one, two = candidate("one"), candidate("two")
        one.claim({}, 30.0)
        one.publish([], {"rare": "kept"})
        until = time.monotonic() + 5.0
        n = 0
        while n < 1000 and time.monotonic() < until:
            n += 1
            one.publish([], {"often": n})

        assert two.notes() == {"rare": "kept", "often": n}
