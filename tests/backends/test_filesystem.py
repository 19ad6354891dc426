"""Results as files: the contract, in Celery's names, and whole files only."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from taskctl.core.backends import open_backend
from taskctl.core.backends.base import Backend
from taskctl.core.errors import BackendError, ImproperlyConfigured

from ..support.waiting import eventually
from .contract import OpenBackend, SharedBackendContract, fresh, meta, saved


class TestFilesystemBackend(SharedBackendContract):
    keeps_lifetime = False  # the age of the file is all there is

    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"file://{tmp_path}"

    def test_a_meta_is_a_file_under_celerys_name_that_others_may_read(
        self, backend: Backend, tmp_path: Path
    ) -> None:
        backend.store([meta("a", result=5)])
        backend.store_group("g", saved("g", "a"))

        file = tmp_path / "celery-task-meta-a"
        assert json.loads(file.read_bytes())["result"] == 5
        assert stat.S_IMODE(file.stat().st_mode) == 0o666 & ~_umask()
        assert (tmp_path / "celery-taskset-meta-g").read_bytes() == saved("g", "a")

    def test_a_global_prefix_stands_before_every_name(
        self, open: OpenBackend, tmp_path: Path
    ) -> None:
        backend = open(options={"global_keyprefix": "proj"})

        backend.store([meta("a")])

        assert (tmp_path / "proj_celery-task-meta-a").exists()
        assert backend.find("a") == ["a"]

    @pytest.mark.parametrize("task_id", ["../up", "a/b", "zero\x00", "é" * 200, "half\ud800"])
    def test_an_id_that_is_no_name_of_a_file_stays_inside_the_folder(
        self, backend: Backend, tmp_path: Path, task_id: str
    ) -> None:
        backend.store([meta(task_id)])

        assert set(backend.load([task_id])) == {task_id}
        assert sorted(tmp_path.parent.glob("up*")) == []
        assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == []

    def test_a_file_that_is_half_written_is_not_there_yet(
        self, backend: Backend, tmp_path: Path
    ) -> None:
        whole = meta("a", result="x" * 100).meta
        for part in (b"", whole[:50]):
            (tmp_path / "celery-task-meta-a").write_bytes(part)
            assert backend.load(["a"]) == {}
        (tmp_path / "celery-task-meta-a").write_bytes(whole)

        assert backend.load(["a"]) == {"a": whole}

    def test_expire_removes_what_is_old_and_nothing_else(
        self, open: OpenBackend, tmp_path: Path
    ) -> None:
        backend = open(expires=1000)
        backend.store([meta("old"), meta("new")])
        backend.store_group("old", saved("old"))
        (tmp_path / "notes").touch()
        long_ago = time.time() - 5000
        for name in ("celery-task-meta-old", "celery-taskset-meta-old", "notes"):
            os.utime(tmp_path / name, (long_ago, long_ago))

        assert backend.expire() == 2

        assert {p.name for p in tmp_path.iterdir()} == {
            ".taskctl-lock",
            "celery-task-meta-new",
            "notes",
        }

    def test_expire_keeps_failures_as_long_as_they_are_to_be_kept(
        self, open: OpenBackend, tmp_path: Path
    ) -> None:
        backend = open(expires=0.05, failure_expires=1000)
        backend.store([fresh("a"), fresh("b", "FAILURE")])
        eventually(lambda: set(backend.load(["a", "b"])) == {"b"}, within=5)

        assert backend.expire() == 1

        assert (tmp_path / "celery-task-meta-b").exists()

    def test_many_writers_never_undo_a_success(self, url: str, tmp_path: Path) -> None:
        code = (
            "import sys; from taskctl.core.backends import open_backend;"
            "from tests.backends.contract import meta;"
            f"backend = open_backend({url!r});"
            "[backend.store([meta('a', 'RETRY', n)]) for n in range(200)];"
            "backend.store([meta('a', result=sys.argv[1])]);"
            "[backend.store([meta('a', 'RETRY', n)]) for n in range(200)]"
        )
        writers = [subprocess.Popen([sys.executable, "-c", code, str(n)]) for n in range(3)]

        assert [writer.wait(timeout=60) for writer in writers] == [0, 0, 0]

        assert b"SUCCESS" in (tmp_path / "celery-task-meta-a").read_bytes()
        assert not list(tmp_path.glob(".taskctl-new-*"))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    backend = open_backend(f"file://{tmp_path}/nowhere")

    with pytest.raises(ImproperlyConfigured, match="/nowhere is no folder: make it"):
        backend.open()


def test_a_folder_that_goes_away_is_an_error_and_no_missing_result(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    backend = open_backend(f"file://{tmp_path}/results")
    backend.open()
    (tmp_path / "results").rmdir()

    for ask in (lambda: backend.store([meta("a")]), lambda: backend.load(["a"])):
        with pytest.raises(BackendError, match=r"/results.*: No such file or directory"):
            ask()


def test_a_folder_that_may_not_be_written_is_named() -> None:
    with tempfile.TemporaryDirectory(prefix="taskctl-results-") as folder:
        os.chmod(folder, 0o555)
        backend = open_backend(f"file://{folder}")
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)  # to root, nothing is forbidden
        try:
            with pytest.raises(BackendError, match=f"{folder}.*: Permission denied"):
                backend.store([meta("a")])
        finally:
            os.seteuid(user)


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").touch()

    with pytest.raises(ImproperlyConfigured, match="/results is no folder"):
        open_backend(f"file://{tmp_path}/results").open()


def test_a_url_without_a_folder_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="names no folder"):
        open_backend("file://")
