"""docs/interop.md shows every row of the matrix, and no failure."""

from __future__ import annotations

import re

from ..interop.matrix.backends import BACKENDS
from ..interop.matrix.cases import CASES
from .structure import ROOT

TEXT = (ROOT / "docs" / "interop.md").read_text()
ROWS = [line.split("|")[1].strip() for line in TEXT.splitlines() if line.startswith("| ")]


def test_every_row_of_the_matrix_is_shown() -> None:
    wanted = {case.name for case in CASES} | set(BACKENDS)

    assert wanted <= set(ROWS), "run: make interop"


def test_no_cell_fails() -> None:
    assert not re.findall(r"\*\*fails\*\*", TEXT)
