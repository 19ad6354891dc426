"""What every result backend must do; each sibling's test file names its fixtures.

A subclass gives `url` (of an empty store) and, where results are shared by processes, inherits
SharedBackendContract.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from taskctl.core.backends import open_backend
from taskctl.core.backends.base import Backend
from taskctl.core.wire.outcome import StoredMeta

from ..support.waiting import eventually
from .contract_results import ResultContract
from .contract_watch import WatchContract
from .records import DONE, OpenBackend, fresh, meta, saved, within

__all__ = [
    "DONE", "BackendContract", "OpenBackend", "SharedBackendContract", "fresh", "meta", "saved",
    "within",
]  # fmt: skip


class BackendContract(ResultContract, WatchContract):
    """Cases for one process, with as many threads and backends as it likes."""

    #: Whether a compressed meta comes back as it went in; stores of fields take it apart.
    keeps_compression = True
    #: Whether a result knows how long it is kept; else it is up to whoever reads it.
    keeps_lifetime = True

    @pytest.fixture
    def open(self, url: str) -> Iterator[OpenBackend]:
        opened = []

        def open_one(**settings: Any) -> Backend:
            backend = open_backend(url, **settings)
            backend.open()
            opened.append(backend)
            return backend

        yield open_one
        for backend in opened:
            backend.close()

    @pytest.fixture
    def backend(self, open: OpenBackend) -> Backend:
        return open()

    def test_ids_are_found_by_how_they_begin(self, backend: Backend) -> None:
        backend.store([meta(name) for name in ("abc1", "abc2", "ABC3", "a_c4", "a*c5")])

        assert sorted(backend.find("abc")) == ["abc1", "abc2"]
        assert backend.find("a*") == ["a*c5"]
        assert backend.find("a_") == ["a_c4"]
        assert len(backend.find("a", limit=2)) == 2
        assert backend.find("x") == []

    # --- store and load ---------------------------------------------------------------------

    def test_what_was_stored_is_loaded_as_the_same_bytes(self, backend: Backend) -> None:
        stored = meta("a", result={"sum": 5})

        backend.store([stored])

        assert backend.load(["a"]) == {"a": stored.meta}

    def test_a_missing_meta_is_left_out(self, backend: Backend) -> None:
        backend.store([meta("a")])

        assert set(backend.load(["a", "b"])) == {"a"}

    def test_empty_batches_and_questions_are_fine(self, backend: Backend) -> None:
        backend.store([])
        backend.forget([])

        assert backend.load([]) == {}
        assert backend.wait([], within(0.01)) == {}

    def test_metas_of_one_task_are_written_in_order(self, backend: Backend) -> None:
        last = meta("a", "RETRY", "second")

        backend.store([meta("a", "STARTED"), meta("a", "RETRY", "first"), last])

        assert backend.load(["a"]) == {"a": last.meta}

    @pytest.mark.parametrize("state", ["STARTED", "FAILURE", "REVOKED", "SUCCESS"])
    def test_nothing_is_written_over_a_success(self, backend: Backend, state: str) -> None:
        success = meta("a", result=1)
        backend.store([success])

        backend.store([meta("a", state, 2), meta("b")])

        assert backend.load(["a"]) == {"a": success.meta}
        assert "b" in backend.load(["b"])

    def test_a_success_is_final_within_one_batch_too(self, backend: Backend) -> None:
        success = meta("a", result=1)

        backend.store([meta("a", "STARTED"), success, meta("a", "FAILURE", 2)])

        assert backend.load(["a"]) == {"a": success.meta}

    def test_a_failure_may_be_written_over(self, backend: Backend) -> None:
        backend.store([meta("a", "FAILURE", "x")])

        backend.store([meta("a", "SUCCESS", "y")])

        assert b"SUCCESS" in backend.load(["a"])["a"]

    def test_the_word_success_inside_a_result_does_not_make_it_final(
        self, backend: Backend
    ) -> None:
        backend.store([meta("a", "PROGRESS", {"status": "SUCCESS"})])

        backend.store([meta("a", "FAILURE", "x")])

        assert b"FAILURE" in backend.load(["a"])["a"]

    @pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
    @pytest.mark.parametrize("compression", [None, "zlib"])
    def test_success_is_final_in_every_form_of_meta(
        self, open: OpenBackend, serializer: str, compression: str | None
    ) -> None:
        backend = open(options={"result_serializer": serializer, "accept_content": [serializer]})
        if compression and not self.keeps_compression:
            pytest.skip("this store keeps fields, which it does not compress")

        def written(state: str) -> StoredMeta:
            return meta("a", state, 1, serializer=serializer, compression=compression)

        backend.store([written("STARTED")])
        backend.store([written("SUCCESS")])
        backend.store([written("FAILURE")])

        assert backend.load(["a"]) == {"a": written("SUCCESS").meta}

    def test_a_thousand_metas_in_one_batch(self, backend: Backend) -> None:
        ids = [f"id-{n}" for n in range(1000)]

        backend.store([meta(id, result=id) for id in ids])

        metas = backend.load(ids)
        assert list(metas) == ids or set(metas) == set(ids)
        assert b"id-617" in metas["id-617"]

    def test_results_of_two_megabytes(self, backend: Backend) -> None:
        batch = [meta(id, result="é" * 350_000) for id in ("a", "b", "c")]
        assert len(batch[0].meta) > 2_000_000

        backend.store(batch)

        assert backend.load(["a", "b", "c"]) == {item.task_id: item.meta for item in batch}

    @pytest.mark.parametrize("task_id", ["ümlaut", "with space", "x" * 200, "quote'\"", "%s:{}"])
    def test_any_text_is_a_task_id(self, backend: Backend, task_id: str) -> None:
        backend.store([meta(task_id)])

        assert set(backend.load([task_id])) == {task_id}

    # --- lifetime ---------------------------------------------------------------------------

    def test_a_result_is_gone_after_its_lifetime(self, open: OpenBackend) -> None:
        backend = open(expires=0.3)
        backend.store([fresh("a"), fresh("b", "FAILURE")])
        assert set(backend.load(["a", "b"])) == {"a", "b"}

        eventually(lambda: backend.load(["a", "b"]) == {}, within=5)

    def test_failures_may_be_kept_longer_than_the_rest(self, open: OpenBackend) -> None:
        backend = open(expires=0.1, failure_expires=100)

        backend.store([fresh("a"), fresh("b", "FAILURE")])

        eventually(lambda: set(backend.load(["a", "b"])) == {"b"}, within=5)

    @pytest.mark.parametrize("expires", [None, 0])
    def test_no_lifetime_keeps_results_for_ever(
        self, open: OpenBackend, expires: float | None
    ) -> None:
        backend = open(expires=expires)
        backend.store([meta("a")])
        backend.store_group("g", saved("g", "a"))

        assert backend.expire() == 0

        assert set(backend.load(["a"])) == {"a"}
        assert backend.load_group("g") == saved("g", "a")

    def test_an_expired_success_may_be_written_over(self, open: OpenBackend) -> None:
        backend = open(expires=0.05)
        backend.store([fresh("a", result=1)])
        eventually(lambda: not backend.load(["a"]), within=5)

        later = open(expires=100) if self.keeps_lifetime else open(expires=0.05)
        later.store([meta("a", "FAILURE", 2, date_done=datetime.now(UTC) + timedelta(hours=1))])

        assert b"FAILURE" in later.load(["a"])["a"]

    # --- forget and groups ------------------------------------------------------------------

    def test_a_forgotten_result_is_gone_and_may_be_stored_anew(self, backend: Backend) -> None:
        backend.store([meta("a"), meta("b")])

        backend.forget(["a", "missing"])

        assert set(backend.load(["a", "b"])) == {"b"}
        backend.store([meta("a", "FAILURE")])
        assert b"FAILURE" in backend.load(["a"])["a"]

    def test_a_group_is_saved_loaded_replaced_and_forgotten(self, backend: Backend) -> None:
        assert backend.load_group("g") is None
        backend.store_group("g", saved("g", "a"))
        backend.store_group("g", saved("g", "a", "b"))

        assert backend.load_group("g") == saved("g", "a", "b")

        backend.forget_group("g")
        backend.forget_group("g")
        assert backend.load_group("g") is None

    def test_a_group_and_a_task_of_one_id_do_not_mix(self, backend: Backend) -> None:
        backend.store([meta("x")])
        backend.store_group("x", saved("x"))

        backend.forget(["x"])

        assert backend.load_group("x") == saved("x")

    # --- wait -------------------------------------------------------------------------------

    def test_waiting_for_what_is_there_returns_at_once(self, backend: Backend) -> None:
        stored = meta("a")
        backend.store([stored])
        started = time.monotonic()

        assert backend.wait(["a"], within(10)) == {"a": stored.meta}

        assert time.monotonic() - started < 1

    def test_a_wait_ends_at_its_deadline(self, backend: Backend) -> None:
        started = time.monotonic()

        assert backend.wait(["a"], within(0.2)) == {}

        assert 0.2 <= time.monotonic() - started < 1

    def test_a_deadline_that_has_passed_still_looks_once(self, backend: Backend) -> None:
        backend.store([meta("a")])

        assert set(backend.wait(["a"], within(-1))) == {"a"}
        assert backend.wait(["b"], within(-1)) == {}

    def test_what_is_known_is_no_news(self, backend: Backend) -> None:
        backend.store([meta("a", "STARTED")])
        known = backend.wait(["a"], within(5))

        started = time.monotonic()
        again = backend.wait(["a"], within(0.2), known)

        assert again == known
        assert time.monotonic() - started >= 0.2

    def test_a_result_stored_while_waiting_is_news_within_milliseconds(
        self, open: OpenBackend
    ) -> None:
        waiting, storing = open(), open()
        late = []
        for n in range(20):
            with ThreadPoolExecutor(1) as pool:
                future = pool.submit(
                    lambda id=f"a{n}": (waiting.wait([id], None), time.monotonic())
                )
                time.sleep(0.005)  # not for luck: it is news whenever it comes
                storing.store([meta(f"a{n}")])
                stored = time.monotonic()
                metas, heard = future.result(timeout=10)
            assert set(metas) == {f"a{n}"}
            late.append(heard - stored)

        assert sorted(late)[10] < 0.05

    def test_each_state_of_a_task_is_heard_in_turn(self, open: OpenBackend) -> None:
        waiting, storing = open(), open()
        known: dict[str, bytes] = {}
        heard = []
        for state in ("STARTED", "RETRY", "PROGRESS", "FAILURE"):
            storing.store([meta("a", state)])
            known = waiting.wait(["a"], within(5), known)
            heard.append(known["a"])

        assert heard == [meta("a", s).meta for s in ("STARTED", "RETRY", "PROGRESS", "FAILURE")]

    def test_any_of_many_ends_the_wait(self, open: OpenBackend) -> None:
        waiting, storing = open(), open()
        ids = [f"id-{n}" for n in range(1000)]
        pending = set(ids)

        def store_some() -> None:
            for start in range(0, 1000, 100):
                storing.store([meta(id) for id in ids[start : start + 100]])

        thread = threading.Thread(target=store_some)
        thread.start()
        while pending:
            metas = waiting.wait(sorted(pending), within(10))
            assert metas
            pending -= set(metas)
        thread.join()

    def test_many_threads_wait_at_once_on_one_backend(self, backend: Backend) -> None:
        ids = [f"id-{n}" for n in range(16)]
        with ThreadPoolExecutor(17) as pool:
            waits = [pool.submit(backend.wait, [id, "common"], within(10)) for id in ids]
            for id in reversed(ids):
                pool.submit(backend.store, [meta(id, result=id)])
            found = [wait.result(timeout=10) for wait in waits]

        assert [set(metas) for metas in found] == [{id} for id in ids]

    def test_two_threads_hear_of_one_result(self, backend: Backend) -> None:
        with ThreadPoolExecutor(2) as pool:
            waits = [pool.submit(backend.wait, ["a"], within(10)) for _ in range(2)]
            backend.store([meta("a")])

            assert all(set(wait.result(timeout=10)) == {"a"} for wait in waits)

    def test_expected_results_are_not_missed_and_may_be_forsaken(self, backend: Backend) -> None:
        backend.expect(["a", "b"])
        backend.store([meta("a"), meta("b")])

        assert set(backend.wait(["a", "b"], within(5))) == {"a", "b"}

        backend.forsake(["a", "b"])
        assert set(backend.wait(["a"], within(5))) == {"a"}

    def test_waits_for_changing_sets_of_ids_miss_nothing(self, backend: Backend) -> None:
        backend.store([meta("a", "STARTED")])
        known = backend.wait(["a", "b"], within(5))
        backend.wait(["b"], within(0.01))
        backend.store([meta("a", result=1)])

        assert backend.wait(["a", "b"], within(5), known) == {"a": meta("a", result=1).meta}

    # --- open and close ---------------------------------------------------------------------

    def test_a_closed_backend_can_be_opened_again(self, backend: Backend) -> None:
        backend.store([meta("a")])
        backend.close()
        backend.close()

        backend.open()
        backend.open()

        assert set(backend.load(["a"])) == {"a"}

    def test_closing_leaves_no_descriptor_behind(self, open: OpenBackend) -> None:
        gc.collect()  # what earlier tests left may close at any time, and must not be counted
        before = len(os.listdir("/proc/self/fd"))
        backend = open()
        backend.store([meta("a")])
        backend.wait(["a", "b"], within(0.01), backend.load(["a"]))

        backend.close()

        eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)


def _in_child(work: Callable[[], None]) -> int:
    """Run `work` in a forked process; return its exit code."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join(20)
    if process.exitcode is None:
        process.kill()
        process.join()
    assert process.exitcode is not None
    return process.exitcode


class SharedBackendContract(BackendContract):
    """Cases for backends that other processes can read."""

    def test_a_child_stores_and_its_parent_hears(self, backend: Backend, url: str) -> None:
        backend.store([meta("before")])

        def work() -> None:
            own = open_backend(url)
            own.open()
            own.store([meta("a", result="from the child")])
            own.close()

        with ThreadPoolExecutor(1) as pool:
            wait = pool.submit(backend.wait, ["a"], within(10))
            assert _in_child(work) == 0
            assert b"from the child" in wait.result(timeout=10)["a"]
        assert set(backend.load(["before", "a"])) == {"before", "a"}

    def test_an_open_backend_goes_on_in_both_processes_after_a_fork(self, backend: Backend) -> None:
        backend.store([meta("a")])
        backend.wait(["a", "b"], within(5))

        def work() -> None:
            assert set(backend.wait(["a"], within(5))) == {"a"}
            backend.store([meta("b")])
            backend.close()

        assert _in_child(work) == 0
        backend.store([meta("c")])
        assert set(backend.load(["a", "b", "c"])) == {"a", "b", "c"}
        assert set(backend.wait(["c"], within(5))) == {"c"}

    def test_results_outlive_the_backend_that_stored_them(self, open: OpenBackend) -> None:
        first = open()
        first.store([meta("a")])
        first.close()

        assert set(open().load(["a"])) == {"a"}
