"""The documents keep up with the code they speak of."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from taskctl.core import signals
from taskctl.core.settings_table import SETTINGS

from .structure import ROOT

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.joinpath("docs").rglob("*.md")])


def test_generated_pages_are_fresh() -> None:
    check = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]

    done = subprocess.run(check, capture_output=True, text=True)

    assert (done.returncode, done.stderr) == (0, "")


def test_every_setting_is_on_the_settings_page() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()

    assert [name for name in SETTINGS if f"### `{name}`" not in page] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_a_document_links_to_exists(document: Path) -> None:
    links = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", document.read_text())
    local = [link for link in links if "://" not in link]

    assert [link for link in local if not (document.parent / link).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_headings_a_document_points_to_exist(document: Path) -> None:
    text = document.read_text()
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert [name for name in re.findall(r"\]\(#(.+?)\)", text) if name not in anchors] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_source_files_a_document_names_exist(document: Path) -> None:
    named = re.findall(
        r"`((?:core|taskctl|tests|docs|examples|\.ci)/[\w./-]+)`", document.read_text()
    )

    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_settings_a_document_names_exist(document: Path) -> None:
    prefixes = "|".join(("task", "worker", "broker", "result", "event", "control", "beat"))
    named = set(re.findall(rf"`((?:{prefixes})_[a-z_]+)`", document.read_text()))
    if document.name == "celery-api.md":
        return  # it lists names of Celery's of every kind
    others = {"task_id", "task_name", "task_id_generator", "worker_pid", "task_cls", *vars(signals)}

    assert {name for name in named - others if name not in SETTINGS} == set()
