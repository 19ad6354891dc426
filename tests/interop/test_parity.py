"""The list of Celery's interface is Celery's, the page made from it fresh, and nothing unlisted."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "parity"


def run(script: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(FOLDER / script), "--check"], capture_output=True, text=True
    )
    return done.returncode, done.stderr


def test_the_page_is_fresh_and_all_that_is_missing_is_listed() -> None:
    assert run("pages.py") == (0, "")


@pytest.mark.skipif(
    not importlib.metadata.version("celery").startswith("5.7."), reason="the list is of Celery 5.7"
)
def test_the_list_is_what_the_installed_celery_has() -> None:
    assert run("collect.py") == (0, "")


def test_the_list_holds_the_whole_of_celery() -> None:
    listed = json.loads((FOLDER / "celery-5.7.json").read_text())

    assert len(listed["settings"]) == 207
    assert sum(map(len, listed["modules"].values())) > 1200
    assert {"task_prerun", "worker_ready", "beat_init"} <= listed["signals"].keys()
    assert "--autoscale" in listed["commands"]["celery worker"]["options"]
    assert listed["remote"]["revoke"]["call"][:3] == ["task_id", "terminate", "signal"]


def test_every_written_verdict_gives_a_reason() -> None:
    verdicts = json.loads((FOLDER / "verdicts.json").read_text())

    assert set(verdicts) == {"different", "missing"}
    assert [p for kind in verdicts.values() for p, why in kind.items() if len(why) < 10] == []
