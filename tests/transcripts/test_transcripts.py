"""The program as people and scripts see it: each transcript is played, and answers as written."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..commands.conftest import shell as shell  # the fixture
from ..support.shell import Shell
from ..support.transcripts import Script

TRANSCRIPTS = sorted(Path(__file__).parent.glob("*.txt"))


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_the_program_answers_as_written(path: Path, shell: Shell) -> None:
    Script(path, shell).play()
