"""What docs/operating.md tells an operator to do works."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskctl import failures

from .house.structure import ROOT
from .support.document import Block, Reader, blocks, newcomer
from .support.waiting import eventually

PAGE = ROOT / "docs" / "operating.md"
WORKER = Block(["console", "worker"], "$ taskctl -A proj worker -l INFO -c 1\n", 0, 0)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Reader]:
    """The project of the tutorial, written and not started."""
    folder = tmp_path / "srv"
    folder.mkdir()
    reader = Reader(folder, newcomer(tmp_path), {})
    for block in list(blocks(ROOT / "docs" / "tutorial.md"))[:3]:
        reader.follow(block)
    yield reader
    reader.close()


def run_python(reader: Reader, text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", text],
        cwd=reader.folder,
        env=dict(reader.env),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_dead_letters_are_read_as_the_page_says(project: Reader) -> None:
    (snippet,) = [block.text for block in blocks(PAGE) if "celery.dead" in block.text]
    project.follow(WORKER)

    run_python(project, "from proj.app import app; app.send_task('proj.tasks.gone', (1,))")

    eventually(lambda: "unknown task 'proj.tasks.gone'" in run_python(project, snippet))


def test_two_variables_move_a_project_to_redis(project: Reader, redis_url: str) -> None:
    project.env = {
        **project.env,
        "TASKCTL_BROKER_URL": redis_url,
        "TASKCTL_RESULT_BACKEND": redis_url,
    }
    project.follow(WORKER)

    shown = run_python(
        project, "from proj.tasks import add; print(add.delay(4, 4).get(timeout=10))"
    )

    assert shown == "8\n"
    assert not (project.folder / ".taskctl").exists()


def test_the_exit_codes_of_the_page_are_those_of_the_program() -> None:
    text = PAGE.read_text().partition("| Exit code of a command")[2].partition("\n\n")[0]
    codes = {value for name, value in vars(failures).items() if name.isupper() and name != "OK"}
    codes = {code for code in codes if isinstance(code, int)}

    told = {int(word) for line in text.splitlines() for word in _numbers(line)}

    assert told == codes | {0}


def _numbers(line: str) -> list[str]:
    first = line.split("|")[1] if line.count("|") > 1 else ""
    return [word for word in first.replace(",", " ").split() if word.isdigit()]
