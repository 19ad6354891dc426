"""A shell script written for Celery's program does the same with ours in its place."""

from __future__ import annotations

import difflib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.servers import RedisServer

SCRIPT = Path(__file__).parent / "scripts" / "operate.sh"

PROJECT = """\
from {module} import Celery

app = Celery("proj", broker={url!r}, backend={url!r})
app.conf.worker_hijack_root_logger = True

@app.task
def add(x, y):
    return x + y
"""


def run_script(folder: Path, module: str, url: str) -> list[str]:
    """Return the lines the script prints with `celery` being the program of that module."""
    folder.mkdir()
    for name in ("bin", "run", "log"):
        (folder / name).mkdir()
    (folder / "proj.py").write_text(PROJECT.format(module=module, url=url))
    program = folder / "bin" / "celery"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    env = {k: v for k, v in os.environ.items() if not k.startswith(("TASKCTL_", "CELERY_"))}
    env["PATH"] = f"{folder / 'bin'}:{env['PATH']}"
    env["PYTHONPATH"] = str(folder)
    env["C_FORCE_ROOT"] = "1"
    env["XDG_CACHE_HOME"] = str(folder / "cache")
    env.update({f"TASKCTL_{kind}_DIR": str(folder / "own") for kind in ("RUN", "LOG", "STATE")})
    done = subprocess.run(
        ["sh", str(SCRIPT)], cwd=folder, env=env, capture_output=True, text=True, timeout=240
    )
    return done.stdout.splitlines()


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis of this test's own: what one program leaves behind must not meet the other."""
    server = RedisServer().start()
    yield server
    server.stop()


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_a_script_written_for_celery_prints_the_same(server: RedisServer, tmp_path: Path) -> None:
    theirs = run_script(tmp_path / "theirs", "celery", server.url)
    ours = run_script(tmp_path / "ours", "taskctl", server.url.removesuffix("0") + "1")

    assert "\n".join(difflib.unified_diff(theirs, ours, "celery", "taskctl", lineterm="")) == ""
