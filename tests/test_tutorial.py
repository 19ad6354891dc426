"""The tutorial does what it says: every file, example and shell line of it is run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from .house.structure import ROOT
from .support.document import Reader, alike, blocks, newcomer

TUTORIAL = ROOT / "docs" / "tutorial.md"
#: What the tutorial names and only root can make.
SYSTEM_PLACES = ("/var/run/taskctl", "/var/log/taskctl")


def _places(folder: Path) -> dict[str, str]:
    """Return what stands in for the system's folders: nothing for root, if they are not in use."""
    if os.geteuid() == 0 and not any(os.path.exists(place) for place in SYSTEM_PLACES):
        return {}
    return {place: str(folder / Path(place).parts[2]) for place in SYSTEM_PLACES}


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return newcomer(tmp_path)


@pytest.fixture
def reader(tmp_path: Path, env: Mapping[str, str]) -> Iterator[Reader]:
    folder = tmp_path / "newcomer"
    folder.mkdir()
    places = _places(tmp_path)
    reader = Reader(folder, env, places)
    yield reader
    multi = [sys.executable, "-m", "taskctl", "multi", "stopwait", "--timeout", "10", "--then-kill"]
    subprocess.run(multi, cwd=folder, env=dict(env), capture_output=True)
    reader.close()
    if not places:
        for place in SYSTEM_PLACES:
            shutil.rmtree(place, ignore_errors=True)


def test_the_tutorial_works_word_for_word(reader: Reader) -> None:
    for block in blocks(TUTORIAL):
        reader.follow(block)


def test_what_a_document_shows_is_compared_but_for_what_varies() -> None:
    shown = "w1@web3  ready  0.41 s  pid 4210  images\n"

    assert alike(shown, "w1@web3 ready 1.2 s pid 7 images")
    assert alike("w1@web3 ...", shown)
    assert not alike(shown, "w1@web3 ready 0.41 s pid 4210 video")
    assert not alike(shown, "")
