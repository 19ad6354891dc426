"""The health file: written whole, believed only while its writer lives and goes on writing."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from taskctl.core.errors import HealthFileError
from taskctl.core.health import (
    Health,
    default_health_file,
    health_files,
    judge,
    read_health,
    remove_health,
    write_health,
)
from taskctl.core.process import birth


def said(**changes: object) -> Health:
    """What this very process could say now."""
    born = birth(os.getpid())
    assert born is not None
    health = Health(
        node="w1@h", pid=os.getpid(), born=born, at=time.time(), every=5.0, ready=True,
        facts={"state": "ok"}, tick=time.monotonic(),
    )  # fmt: skip
    return health._replace(**changes)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = str(tmp_path / "run" / "w1@h.health")
    health = said(ready=False, reasons=("the broker is away",))

    write_health(path, health)

    assert read_health(path) == health
    assert judge(path)[:3] == (True, False, ("the broker is away",))
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    assert os.listdir(tmp_path / "run") == ["w1@h.health"]


def test_a_writer_that_is_over_does_not_live(tmp_path: Path) -> None:
    path = str(tmp_path / "w1.health")
    write_health(path, said(born="7@another"))

    verdict = judge(path)

    assert verdict[:3] == (False, False, (f"process {os.getpid()} is over",))
    assert verdict.age is not None and verdict.age < 5


def test_a_writer_that_has_said_nothing_for_four_intervals_does_not_live(tmp_path: Path) -> None:
    path = str(tmp_path / "w1.health")

    write_health(path, said(tick=time.monotonic() - 19))
    assert judge(path).live
    write_health(path, said(tick=time.monotonic() - 21))
    assert not judge(path).live
    assert judge(path).reasons[0].startswith("its main loop has said nothing for 21.")


def test_a_clock_that_was_set_back_or_forward_does_not_matter(tmp_path: Path) -> None:
    path = str(tmp_path / "w1.health")

    for at in (time.time() - 86400, time.time() + 86400):
        write_health(path, said(at=at))
        assert judge(path).live


def test_without_a_file_nothing_lives(tmp_path: Path) -> None:
    assert judge(str(tmp_path / "none"))[:3] == (
        False, False, (f"no health file {tmp_path}/none",),
    )  # fmt: skip


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"node": "w1"}', "\udcff"])
def test_a_file_of_something_else_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "w1.health"
    path.write_text(text, errors="surrogateescape")

    with pytest.raises(HealthFileError, match=rf"^{path} is no health file: "):
        judge(str(path))


def test_keys_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "w1.health"
    path.write_text(json.dumps({**said()._asdict(), "mood": "good"}))

    assert judge(str(path)).ready


def test_a_folder_that_cannot_be_made_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(HealthFileError, match=r"cannot write health file .*/file/w1: not a dir"):
        write_health(f"{tmp_path}/file/w1", said())


def test_what_a_killed_writer_left_is_no_hindrance_and_a_link_is_not_followed(
    tmp_path: Path,
) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / f".w1.health.{os.getpid()}").symlink_to(tmp_path / "precious")

    write_health(str(tmp_path / "w1.health"), said())

    assert (tmp_path / "precious").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["precious", "w1.health"]


def test_only_the_writer_removes_its_file(tmp_path: Path) -> None:
    path = str(tmp_path / "w1.health")
    write_health(path, said())

    remove_health(path, os.getpid() + 1)
    assert os.path.exists(path)
    remove_health(path, os.getpid())
    assert not os.path.exists(path)
    remove_health(path, os.getpid())


def test_the_files_of_a_folder_are_found_by_node(tmp_path: Path) -> None:
    write_health(str(tmp_path / "b@h.health"), said())
    write_health(str(tmp_path / "a@h.health"), said())
    (tmp_path / ".a@h.health.7").touch()
    (tmp_path / "a.pid").touch()

    assert list(health_files(str(tmp_path))) == ["a@h", "b@h"]
    assert health_files(str(tmp_path / "none")) == {}


def test_the_default_place_is_in_the_run_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKCTL_RUN_DIR", "/srv/run")

    assert default_health_file("w1@h") == "/srv/run/w1@h.health"


def test_reading_one_imports_nothing_that_takes_time() -> None:
    script = (
        "import sys; import taskctl.core.health\n"
        "heavy = ('dataclasses', 'tempfile', 'logging', 'click', 'msgspec', 'inspect', 'socket')\n"
        "print([name for name in heavy if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert done.stdout == "[]\n", done.stderr
