"""The pages of the guide do what they say: every file, example and shell line of them is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from .house.structure import ROOT
from .support.document import Reader, blocks, newcomer

#: Pages with examples that are run from the first block to the last.
PAGES = (
    "application",
    "tasks",
    "async",
    "async-client",
    "calling",
    "canvas",
    "results",
    "signals",
    "extending",
    "django",
    "limits",
    "routing",
    "security",
)


@pytest.mark.parametrize("page", PAGES)
def test_a_page_works_word_for_word(page: str, tmp_path: Path) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    reader = Reader(folder, newcomer(tmp_path), {})
    try:
        for block in blocks(ROOT / "docs" / f"{page}.md"):
            reader.follow(block)
    finally:
        reader.close()
