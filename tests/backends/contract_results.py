"""What every result backend must do with metas of every kind, and when many write at once."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import Any

import pytest

from taskctl.core.backends.base import Backend
from taskctl.core.errors import BackendError, DecodeError, TaskctlError
from taskctl.core.wire.outcome import StoredMeta
from taskctl.core.wire.result_meta import decode_meta

from ..support.waiting import eventually
from .records import OpenBackend, meta, within

#: What `result_extended` adds, as MetaWriter does.
EXTENDED: dict[str, Any] = {
    "name": "proj.add",
    "args": [2, {"deep": [None, "\u2603"]}],
    "kwargs": {"y": 3},
    "worker": "w@host",
    "retries": 1,
    "queue": "celery",
    "stamped_headers": ["tenant"],
    "tenant": "acme",
}


def read(backend: Backend, task_id: str) -> dict[str, Any]:
    """Return the fields of what a backend holds; it may be on its way for a moment."""
    found = eventually(lambda: backend.load([task_id]), within=10)
    return decode_meta(found[task_id])


class ResultContract:
    """Inherited by BackendContract, whose fixtures it uses."""

    #: Whether a compressed meta comes back as it went in; stores of fields take it apart.
    keeps_compression = True
    #: Whether looking for a SUCCESS and writing are one step; else who writes in between wins.
    settles_races = True

    def test_every_field_of_an_extended_meta_comes_back(self, backend: Backend) -> None:
        written = meta(
            "a",
            "FAILURE",
            ValueError("boom", 42),
            extended=EXTENDED,
            traceback="Traceback: text",
            children=[[["child", None], None]],
            group_id="g",
            parent_id="p",
        )
        backend.store([written])

        fields = read(backend, "a")

        expected = decode_meta(written.meta)
        # Celery's tables have no columns for these two.
        assert fields.pop("group_id", "g") == expected.pop("group_id")
        assert fields.pop("parent_id", "p") == expected.pop("parent_id")
        assert repr(fields.pop("result")) == repr(expected.pop("result"))
        date_done = fields.pop("date_done")
        assert str(date_done)[:19].replace(" ", "T") == str(expected.pop("date_done"))[:19]
        assert {key: fields.get(key) for key in expected} == expected

    def test_a_field_that_was_not_written_is_not_made_up(self, backend: Backend) -> None:
        backend.store([meta("a", result=None)])

        fields = read(backend, "a")

        assert fields["result"] is None
        assert fields["traceback"] is None
        assert not fields["children"]
        assert not any(fields.get(key) for key in (*EXTENDED, "group_id", "parent_id"))

    @pytest.mark.parametrize("compression", ["gzip", "bzip2", "lzma"])
    def test_compressed_metas_are_read_by_their_marker(
        self, backend: Backend, compression: str
    ) -> None:
        if not self.keeps_compression:
            pytest.skip("this store keeps fields, which it does not compress")
        plain = meta("a", result="x" * 10_000)
        packed = meta("b", result="x" * 10_000, compression=compression)
        assert len(packed.meta) < 1000 < len(plain.meta)

        backend.store([plain, packed])

        assert read(backend, "a")["result"] == read(backend, "b")["result"] == "x" * 10_000

    @pytest.mark.parametrize(
        "task_id", ["\u65e5\u672c\u8a9e", "a/b/../../c", ".", "100%", "{h}:*?"]
    )
    def test_odd_ids_are_kept_apart(self, backend: Backend, task_id: str) -> None:
        backend.store([meta(task_id, result=1), meta(task_id + "x", result=2), meta("x", result=3)])

        assert read(backend, task_id)["result"] == 1
        assert read(backend, task_id + "x")["result"] == 2
        backend.forget([task_id])
        assert set(backend.load([task_id, task_id + "x", "x"])) == {task_id + "x", "x"}

    def test_a_success_is_final_among_many_who_write_at_once(self, open: OpenBackend) -> None:
        if not self.settles_races:
            pytest.skip("this store has no way to write only where nothing else was written")
        ids = [f"id-{n}" for n in range(10)]
        first = open()
        first.load(ids)
        others = {
            "FAILURE": open(), "STARTED": open(), "REVOKED": open(), "SUCCESS": open(),
        }  # fmt: skip
        barrier = threading.Barrier(len(others))

        def write(state: str, backend: Backend) -> None:
            order = random.sample(ids, len(ids))
            barrier.wait(20)
            for task_id in order:
                backend.store([meta(task_id, state, state)])

        threads = [threading.Thread(target=write, args=pair) for pair in others.items()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

        def states() -> set[str]:
            metas = first.load(ids)
            return {decode_meta(m)["status"] for m in metas.values()} if len(metas) == 10 else set()

        eventually(lambda: states() == {"SUCCESS"}, within=10)

    def test_a_wait_for_a_thousand_that_never_come_ends_in_time(self, backend: Backend) -> None:
        backend.store([meta("id-500", "STARTED")])
        ids = [f"id-{n}" for n in range(1000)]
        known = eventually(lambda: backend.load(ids), within=10)
        began = time.monotonic()

        assert set(backend.wait(ids, within(0.3), known)) == {"id-500"}

        assert 0.3 <= time.monotonic() - began < 5

    def test_what_is_no_meta_harms_nothing_else(self, backend: Backend) -> None:
        """A store may refuse it, at once or when it is read; else it is refused by who decodes."""
        garbage = StoredMeta(task_id="bad", state="SUCCESS", meta=b"\xff\x00 no meta")
        with contextlib.suppress(TaskctlError):
            backend.store([garbage])
        backend.store([meta("a", result=1)])

        assert read(backend, "a")["result"] == 1
        with pytest.raises((DecodeError, BackendError), match=r"bad|cannot be read|missing"):
            if "bad" not in (metas := backend.load(["bad"])):
                raise BackendError("bad is missing: it was refused when it was stored")
            decode_meta(metas["bad"])
        backend.forget(["bad"])
        assert set(backend.load(["bad", "a"])) == {"a"}
