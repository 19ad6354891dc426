"""What every result backend must do that counts the parts of chords (`counts_parts`)."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from taskctl.core.backends.base import Backend
from taskctl.core.wire.chord_part import Count, Part

from ..support.waiting import eventually
from .contract import OpenBackend

#: Seconds a claim lasts that no test waits for.
LONG = 60.0


def part(task_id: str, index: int | None = 0, group_id: str = "g", state: str = "SUCCESS") -> Part:
    member = json.dumps([1, task_id, state, index]).encode()
    return Part(group_id=group_id, task_id=task_id, index=index, member=member)


class ChordContract:
    """To be inherited beside BackendContract, whose fixtures it uses."""

    def test_the_last_part_owns_the_chord(self, backend: Backend) -> None:
        backend.begin_chord("g", 2)

        assert backend.count_part(part("a", 0), "one", LONG) == Count(1, 2)
        last = backend.count_part(part("b", 1), "two", LONG)

        assert last == Count(2, 2, owned=True)
        assert last.complete

    def test_parts_may_come_before_their_number_is_known(self, backend: Backend) -> None:
        early = backend.count_part(part("a", 0), "one", LONG)
        backend.begin_chord("g", 2)

        assert early == Count(1, None)
        assert not early.complete
        assert backend.count_part(part("b", 1), "two", LONG).owned

    def test_a_part_counts_once_however_often_it_comes(self, backend: Backend) -> None:
        backend.begin_chord("g", 2)

        for _ in range(3):
            count = backend.count_part(part("a", 0), "one", LONG)

        assert count == Count(1, 2)
        assert backend.load_parts("g") in ([part("a", 0).member], [])

    def test_one_task_at_two_places_counts_twice(self, backend: Backend) -> None:
        backend.begin_chord("g", 2)
        backend.count_part(part("a", 0), "one", LONG)

        assert backend.count_part(part("a", 1), "one", LONG).owned

    def test_parts_are_loaded_by_index_and_those_without_one_last(self, backend: Backend) -> None:
        if backend.keeps_headers:
            return
        backend.begin_chord("g", 12)
        members = [part("z", None), *(part(f"id{n}", n) for n in (10, 9, 2, 1, 0))]

        for one in members:
            backend.count_part(one, "one", LONG)

        assert backend.load_parts("g") == [one.member for one in reversed(members)]

    def test_a_chord_may_grow_while_a_part_runs(self, backend: Backend) -> None:
        backend.begin_chord("g", 1)
        backend.grow_chord("g")

        assert backend.count_part(part("a", 0), "one", LONG) == Count(1, 2)
        assert backend.count_part(part("b", 0), "one", LONG).owned

    def test_a_chord_that_is_claimed_is_nobody_elses(self, backend: Backend) -> None:
        backend.begin_chord("g", 1)
        backend.count_part(part("a", 0), "one", LONG)

        again = backend.count_part(part("a", 0), "two", LONG)

        assert (again.complete, again.owned, again.done) == (True, False, False)
        assert 0 < again.held <= LONG
        assert not backend.hold_chord("g", "two", LONG)
        assert not backend.end_chord("g", "two", LONG)
        assert backend.hold_chord("g", "one", LONG)

    def test_a_claim_ends_by_itself_and_a_part_that_comes_again_takes_over(
        self, backend: Backend
    ) -> None:
        backend.begin_chord("g", 1)
        backend.count_part(part("a", 0), "dead", 1.0)

        def taken() -> bool:
            return backend.count_part(part("a", 0), "heir", LONG).owned

        assert eventually(taken, within=10)
        assert not backend.hold_chord("g", "dead", LONG)
        assert backend.end_chord("g", "heir", LONG)

    def test_a_claim_may_be_held_for_longer(self, backend: Backend) -> None:
        backend.begin_chord("g", 1)
        backend.count_part(part("a", 0), "one", 5.0)

        assert backend.hold_chord("g", "one", LONG)

        assert backend.count_part(part("a", 0), "two", LONG).held > 10
        assert backend.end_chord("g", "one", LONG)

    def test_a_chord_that_is_done_counts_nothing_any_more(self, backend: Backend) -> None:
        backend.begin_chord("g", 1)
        backend.count_part(part("a", 0), "one", LONG)
        backend.end_chord("g", "one", LONG)

        late = backend.count_part(part("a", 0), "two", LONG)

        assert late.done
        assert not late.complete
        assert backend.load_parts("g") == []

    def test_a_group_may_be_a_chord_again(self, backend: Backend) -> None:
        for _ in range(2):
            backend.begin_chord("g", 1)
            assert backend.count_part(part("a", 0), "one", LONG).owned
            assert backend.end_chord("g", "one", LONG)

    def test_a_failed_chord_is_never_complete(self, backend: Backend) -> None:
        backend.begin_chord("g", 1)
        backend.count_part(part("a", 0), "one", LONG)

        backend.fail_chord("g")

        again = backend.count_part(part("a", 0), "one", LONG)
        assert not again.complete
        assert not again.owned

    def test_chords_do_not_mix(self, backend: Backend) -> None:
        backend.begin_chord("g", 1)
        backend.begin_chord("h", 2)

        assert backend.count_part(part("a", 0, "h"), "one", LONG) == Count(1, 2)
        assert backend.count_part(part("a", 0, "g"), "one", LONG).owned

    def test_of_parts_that_come_at_once_exactly_one_owns_the_chord(self, open: OpenBackend) -> None:
        backends = [open() for _ in range(4)]
        backends[0].begin_chord("g", 40)

        def count(index: int) -> Count:
            return backends[index % 4].count_part(part(f"id{index}", index), f"w{index}", LONG)

        with ThreadPoolExecutor(8) as pool:
            counts = list(pool.map(count, [*range(40), *range(40)]))

        assert sum(count.owned for count in counts) == 1

    # --- steps of workflows -------------------------------------------------------------------

    def test_steps_are_kept_as_they_are(self, backend: Backend) -> None:
        steps = {f"w.{n}": bytes(range(256)) * n for n in (1, 2, 3)}

        backend.store_steps(steps, 60.0)

        assert backend.load_steps(["w.1", "w.2", "w.3", "w.4"]) == steps
        assert backend.load_steps(["w.4"]) == {}

    def test_many_steps_are_kept_for_ever(self, backend: Backend) -> None:
        steps = {f"w.{n}": str(n).encode() for n in range(1100)}

        backend.store_steps(steps, None)
        backend.expire()

        assert backend.load_steps(list(steps)) == steps

    def test_steps_that_are_let_go_stay_for_the_time_that_is_given(self, backend: Backend) -> None:
        backend.store_steps({"w.0": b"first", "w.1": b"second"}, None)

        backend.forget_steps(["w.0", "w.9"], 60.0)

        assert backend.load_steps(["w.0", "w.1"]) == {"w.0": b"first", "w.1": b"second"}
