"""`upgrade settings` writes what Celery's writes, for every old name Celery knows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from celery.app import defaults

from taskctl.core.settings_table import NEW_NAMES


@pytest.mark.parametrize("options", [[], ["--django"], ["--compat"]])
def test_all_old_names_become_the_same_new_ones(tmp_path: Path, options: list[str]) -> None:
    known = [old for old in sorted(defaults._TO_NEW_KEY) if old in NEW_NAMES]
    text = "".join(f"{old} = 1\n" for old in known)
    wrote = {}
    for library in ("celery", "taskctl"):
        path = tmp_path / f"{library}.py"
        path.write_text(text)
        done = subprocess.run(
            [sys.executable, "-m", library, "upgrade", "settings", *options, str(path)],
            capture_output=True, text=True, cwd=tmp_path, timeout=60, check=True,
        )  # fmt: skip
        wrote[library] = (done.stdout, done.stderr.replace(library, "X"), path.read_text())

    assert wrote["taskctl"] == wrote["celery"]
    assert len(known) > 60
