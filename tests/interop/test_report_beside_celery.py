"""`taskctl report` and `celery report` print the same lines, names and versions aside."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_APP = """\
from {library} import Celery

app = Celery("peer", broker="redis://u:pw@h:1/0", backend="redis://:pw@h:1/1")
app.config_from_object("settings_of_both")
app.conf.task_routes = {{"a": {{"queue": "b"}}, "{long}": {{"queue": "{long}"}}}}
app.conf.imports = ("os", "sys")
"""
_SETTINGS = """\
worker_concurrency = 3
accept_content = ["json"]
task_queues = {"z": {"exchange": "e"}}
timezone = "Europe/Berlin"
"""


def _report(folder: Path, library: str) -> list[str]:
    module = f"of_{library}"
    (folder / f"{module}.py").write_text(_APP.format(library=library, long="c" * 40))
    done = subprocess.run(
        [sys.executable, "-m", library, "-A", module, "report"],
        capture_output=True,
        text=True,
        cwd=folder,
        env={k: v for k, v in os.environ.items() if not k.startswith(("CELERY_", "TASKCTL_"))},
        timeout=60,
        check=True,
    )
    return done.stdout.splitlines()


def test_every_line_but_those_of_versions_is_the_same(tmp_path: Path) -> None:
    (tmp_path / "settings_of_both.py").write_text(_SETTINGS)

    theirs, ours = _report(tmp_path, "celery"), _report(tmp_path, "taskctl")

    assert ours[3:5] == theirs[3:5]
    assert ours[5].split(".")[-1] == theirs[5].split(".")[-1] == "AppLoader"
    assert ours[6:] == theirs[6:]
    assert [line.split(":")[0][:12] for line in ours[1:3]] == ["software -> ", "            "]
