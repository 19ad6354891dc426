"""The guide to periodic tasks does what it says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .house.structure import ROOT
from .support.document import Reader, blocks, newcomer


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "newcomer"
    folder.mkdir()
    reader = Reader(folder, newcomer(tmp_path), {})
    yield reader
    reader.close()


def test_the_guide_to_periodic_tasks_works_word_for_word(reader: Reader) -> None:
    for block in blocks(ROOT / "docs" / "periodic.md"):
        reader.follow(block)
