"""`taskctl upgrade settings`: old names become new ones, as Celery's command has it, or safer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.settings_table import NEW_NAMES
from taskctl.upgrading import upgrade

from ..support.shell import Shell

OLD = """\
import os
BROKER_URL = 'redis://:hunter2@h/0'  # BROKER_URL
CELERYD_CONCURRENCY = int(os.environ["CELERYD_CONCURRENCY"])
MY_BROKER_URL = app.conf.CELERY_ROUTES
x = {'CELERYD_POOL': 'solo', 'CELERY_ACKS_LATE': True}
"""
NEW = """\
import os
broker_url = 'redis://:hunter2@h/0'  # broker_url
worker_concurrency = int(os.environ["CELERYD_CONCURRENCY"])
MY_BROKER_URL = app.conf.task_routes
x = {'worker_pool': 'solo', 'task_acks_late': True}
"""


@pytest.fixture
def conf(shell: Shell) -> Path:
    path = shell.folder / "conf.py"
    path.write_text(OLD)
    path.chmod(0o640)
    return path


def test_names_are_replaced_and_a_copy_is_kept(shell: Shell, conf: Path) -> None:
    said = shell.run("upgrade", "settings", "conf.py")

    assert (said.code, said.out) == (0, "Changes to your setting have been made!\n")
    assert said.err == "processing conf.py...\nwriting backup to conf.py.orig...\n"
    assert conf.read_text() == NEW
    assert (shell.folder / "conf.py.orig").read_text() == OLD
    assert conf.stat().st_mode & 0o777 == 0o640


def test_a_second_time_there_is_nothing_to_do(shell: Shell, conf: Path) -> None:
    shell.run("upgrade", "settings", "conf.py", "--no-backup")

    said = shell.run("upgrade", "settings", "conf.py", "-q")

    assert (said.code, said.err) == (0, "")
    assert said.out == "Does not seem to require any changes :-)\n"
    assert not (shell.folder / "conf.py.orig").exists()


def test_the_first_copy_is_never_lost(shell: Shell, conf: Path) -> None:
    (shell.folder / "conf.py.orig").write_text("the original")

    said = shell.run("upgrade", "settings", "conf.py", "-o", "json")

    assert said.json["backup"] == "conf.py.orig.1"
    assert (shell.folder / "conf.py.orig").read_text() == "the original"
    assert said.json["items"][0] == {"line": 2, "old": "BROKER_URL", "new": "broker_url"}


def test_check_and_dry_run_show_the_changes_without_secrets(shell: Shell, conf: Path) -> None:
    check = shell.run("upgrade", "settings", "--check", "conf.py")
    dry = shell.run("upgrade", "settings", "--dry-run", "--django", "conf.py")

    assert (check.code, dry.code) == (1, 0)
    assert "-BROKER_URL = 'redis://:********@h/0'  # BROKER_URL" in check.out.splitlines()
    assert "+CELERY_BROKER_URL = 'redis://:********@h/0'  # CELERY_BROKER_URL" in dry.out
    assert conf.read_text() == OLD
    assert sorted(os.listdir(shell.folder)) == ["conf.py", "proj"]


def test_a_file_that_is_not_there_and_a_missing_argument(shell: Shell) -> None:
    absent = shell.run("upgrade", "settings", "nope.py", "-q")
    missing = shell.run("upgrade", "settings")

    assert (absent.code, absent.err) == (1, "error: nope.py: no such file or directory\n")
    assert missing.code == 2
    assert missing.err.startswith("error: taskctl upgrade settings wants FILE, got nothing\n")


@given(st.sampled_from(sorted(NEW_NAMES)), st.booleans())
def test_a_name_alone_on_a_line_becomes_the_right_one(old: str, compat: bool) -> None:
    text, changes = upgrade(f"{old} = 1\r\n", compat=compat)

    new = NEW_NAMES[old]
    if compat:
        new = new.upper() if new.upper().startswith("CELERY") else f"CELERY_{new.upper()}"
    assert text == f"{new} = 1\r\n"
    assert [change.old for change in changes] == ([old] if new != old else [])


@given(st.text())
def test_what_holds_no_old_name_stays_as_it_is(text: str) -> None:
    if not any(name in text for name in NEW_NAMES):
        assert upgrade(text) == (text, [])
