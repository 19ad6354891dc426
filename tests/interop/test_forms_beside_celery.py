"""Forms of retries, of definitions and of annotations: run with Celery and with ours, compared.

The scripts print a line for each form; ids and our better words for errors are left out.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parent / "projects" / "forms"


def printed(script: str, whose: str) -> list[str]:
    """Return what a script prints with one of the two libraries."""
    done = subprocess.run(
        [sys.executable, PROJECT / script, whose],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # The checker of arguments bears a name of its own in Celery.
    return [re.sub(r"TypeError .*\(\) ", "TypeError ", line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("script", ["retries.py", "definitions.py"])
def test_every_form_does_what_it_does_in_celery(script: str) -> None:
    celerys, ours = (printed(script, whose) for whose in ("celery", "taskctl"))

    assert len(ours) > 20
    assert ours == celerys
