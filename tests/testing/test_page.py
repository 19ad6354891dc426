"""docs/testing.md does what it says: its files are written, its lines typed."""

from __future__ import annotations

from pathlib import Path

from ..house.structure import ROOT
from ..support.document import Reader, blocks, newcomer


def test_the_page_on_testing_works_word_for_word(tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    reader = Reader(folder, {**newcomer(tmp_path), "PYTEST_ADDOPTS": "-p no:cacheprovider"}, {})
    try:
        for block in blocks(ROOT / "docs" / "testing.md"):
            if block.words[:1] == ["ini"]:
                (folder / block.words[1].removeprefix("title=")).write_text(block.text)
            else:
                reader.follow(block)
    finally:
        reader.close()
