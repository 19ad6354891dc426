"""The state file: what is remembered, and what is done about a file that cannot be read."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.clock import LamportClock
from taskctl.core.errors import ImproperlyConfigured, StateFileError
from taskctl.core.worker.revoked import LimitedSet, revoked_set
from taskctl.core.worker.statedb import StateFile


def state_file(path: Path, *ids: str) -> StateFile:
    revoked = LimitedSet()
    revoked.update(ids)
    return StateFile(str(path), revoked, LamportClock(3))


def saved(path: Path, *ids: str) -> None:
    file = state_file(path, *ids)
    file.load()
    file.save()


def test_what_was_revoked_is_remembered(tmp_path: Path) -> None:
    saved(tmp_path / "state", "a", "b")

    found = state_file(tmp_path / "state", "c")
    found.load()

    assert set(found.revoked) == {"a", "b", "c"}
    assert found.clock.value == 4


@given(st.lists(st.text(), unique=True, max_size=20))
def test_any_id_comes_back_in_its_order(ids: list[str]) -> None:
    written, read = LimitedSet(), LimitedSet()
    written.update(ids)

    read.restore(written.ages())

    assert list(read) == ids


def test_time_goes_on_while_the_node_is_down(tmp_path: Path) -> None:
    path = tmp_path / "state"
    saved(path, "old")
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "at": time.time() - 4 * 3600}))

    found = state_file(path)
    found.load()

    assert list(found.revoked) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\x00\xff gdbm", b'{"format": 9}', b"[1, 2]"])
def test_a_damaged_file_is_set_aside_and_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    path = tmp_path / "state"
    path.write_bytes(content)
    found = state_file(path)

    with caplog.at_level(logging.ERROR):
        found.load()

    assert (tmp_path / "state.unreadable").read_bytes() == content
    assert "damaged, or a file of Celery's" in caplog.text
    found.load()  # the new one is whole


def test_a_file_that_cannot_be_written_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StateFileError, match=r"cannot \w+ state file .*/file/state: not a dir"):
        state_file(tmp_path / "file" / "state").load()


def test_it_is_written_soon_after_a_change_but_not_at_each(tmp_path: Path) -> None:
    found = state_file(tmp_path / "state")
    found.load()
    now = time.monotonic()
    found.revoked.add("a")

    found.look(now)
    first = os.stat(found.path).st_ino
    found.revoked.add("b")
    found.look(now + 0.5)
    unchanged = os.stat(found.path).st_ino
    found.look(now + 2.0)

    assert first == unchanged != os.stat(found.path).st_ino


def test_limits_come_from_celerys_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_WORKER_REVOKES_MAX", "2")
    monkeypatch.setenv("CELERY_WORKER_REVOKE_EXPIRES", "60")
    revoked = revoked_set()
    assert (revoked.maxlen, revoked.expires) == (2, 60.0)

    monkeypatch.setenv("CELERY_WORKER_REVOKES_MAX", "many")
    with pytest.raises(ImproperlyConfigured, match="CELERY_WORKER_REVOKES_MAX=many: a number"):
        revoked_set()
