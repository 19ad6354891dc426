"""mypy and pyright know the parameters of tasks and the types of results, in users' code."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ..support.document import blocks

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
FILES = ("accepted.py", "refused.py")

#: The lines of each file on which a mistake stands.
MISTAKES = {
    name: {
        number
        for number, line in enumerate((HERE / name).read_text().splitlines(), 1)
        if line.endswith("# error")
    }
    for name in FILES
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files, and the package as an installed one lies: core/ in taskctl/."""
    folder = tmp_path_factory.mktemp("typed")
    unread = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "taskctl", folder / "taskctl", ignore=unread)
    shutil.copytree(ROOT / "core", folder / "taskctl" / "core", ignore=unread)
    for name in FILES:
        shutil.copy(HERE / name, folder)
    return folder


def mypy(project: Path, *files: str) -> str:
    """Return what mypy --strict says of files of the project.

    It shares the cache of `make types`, so that it reads the library only if that has changed.
    """
    argv = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--no-color-output"]
    cache = ["--cache-dir", str(ROOT / ".mypy_cache")]
    run = subprocess.run([*argv, *cache, *files], cwd=project, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    # What is wrong in the library itself is for `make types` to say.
    lines = run.stdout.splitlines(keepends=True)
    return "".join(line for line in lines if line.startswith(files) and "defined in" not in line)


def found_by_mypy(project: Path) -> dict[str, set[int]]:
    """Return the lines of each file on which mypy finds an error."""
    found: dict[str, set[int]] = {name: set() for name in FILES}
    for line in mypy(project, *FILES).splitlines():
        told = re.match(r"(\w+\.py):(\d+): error:", line)
        if told and told[1] in found:
            found[told[1]].add(int(told[2]))
    return found


def found_by_pyright(project: Path) -> dict[str, set[int]]:
    """Return the lines of each file on which pyright, as strict as it can be, finds an error."""
    program = shutil.which("basedpyright", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.fail("basedpyright is not installed: make test installs it")
    settings = {"typeCheckingMode": "strict", "include": FILES, "pythonVersion": "3.11"}
    (project / "pyrightconfig.json").write_text(json.dumps(settings))
    argv = [program, "--outputjson", "--pythonpath", sys.executable, "--project", str(project)]
    run = subprocess.run(argv, cwd=project, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stdout + run.stderr
    found: dict[str, set[int]] = {name: set() for name in FILES}
    for told in json.loads(run.stdout)["generalDiagnostics"]:
        if told["severity"] == "error":
            found[Path(told["file"]).name].add(told["range"]["start"]["line"] + 1)
    return found


def test_mypy_finds_the_mistakes_and_nothing_else(project: Path) -> None:
    assert found_by_mypy(project) == MISTAKES


def test_pyright_finds_the_mistakes_and_nothing_else(project: Path) -> None:
    assert found_by_pyright(project) == MISTAKES


def test_the_page_on_types_shows_what_mypy_finds(project: Path) -> None:
    shown = [block for block in blocks(ROOT / "docs" / "typing.md") if block.words]
    source, told = (block.text for block in shown)
    (project / "shop.py").write_text(source)
    command, _, expected = told.partition("\n")
    assert command == "$ mypy --strict shop.py"

    assert mypy(project, "shop.py") == expected


def test_both_packages_say_that_they_are_typed() -> None:
    assert (ROOT / "taskctl" / "py.typed").is_file()
    assert (ROOT / "core" / "py.typed").is_file()
