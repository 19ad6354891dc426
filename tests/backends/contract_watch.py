"""What every result backend must do for many who wait through one thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from taskctl.core.backends.base import Backend
from taskctl.core.backends.watching import Watch
from taskctl.core.wire.result_meta import decode_meta

from .records import meta


class WatchContract:
    """Inherited by BackendContract, whose fixtures it uses."""

    @pytest.fixture
    def watch(self, backend: Backend) -> Iterator[Watch]:
        watch = backend.watch()
        yield watch
        watch.close()

    def test_a_watch_hears_what_was_stored_before_and_what_comes(
        self, backend: Backend, watch: Watch
    ) -> None:
        backend.store([meta("before", result=1)])
        watch.add(["before", "after", "never"])
        assert heard(watch, {"before"}) == {"before": 1}
        late = threading.Timer(0.05, backend.store, [[meta("after", result=2)]])

        late.start()

        assert heard(watch, {"after"}) == {"after": 2}
        late.join()

    def test_a_watch_hears_of_what_is_added_while_it_hears(
        self, backend: Backend, watch: Watch
    ) -> None:
        backend.store([meta("late", result=3)])
        watch.add(["never"])
        late = threading.Timer(0.05, watch.add, [["late"]])

        late.start()

        assert heard(watch, {"late"}) == {"late": 3}
        late.join()

    def test_a_watch_hears_no_more_of_what_was_dropped_and_again_of_what_is_added_anew(
        self, backend: Backend, watch: Watch
    ) -> None:
        watch.add(["dropped", "kept"])
        watch.hear(0.01)
        watch.drop(["dropped"])
        backend.store([meta("dropped", result=1), meta("kept", result=2)])

        assert heard(watch, {"kept"}) == {"kept": 2}

        watch.drop(["kept"])
        watch.add(["dropped", "kept"])
        assert heard(watch, {"dropped", "kept"}) == {"dropped": 1, "kept": 2}


def heard(watch: Watch, wanted: set[str]) -> dict[str, int]:
    """Hear until all of these have come; return the values of all that came."""
    until = time.monotonic() + 20
    values: dict[str, int] = {}
    while not wanted <= set(values) and time.monotonic() < until:
        news = watch.hear(1.0)
        values.update({task_id: decode_meta(data)["result"] for task_id, data in news.items()})
    return values
