"""Manual pages are made from the command tree; man and mandoc find nothing to complain of."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from taskctl.manual import roff, text
from taskctl.manual.library import find, library, names
from taskctl.manual.tables import COMMAND_EXITS, EXITS
from taskctl.manual.topics import JSON_KEYS
from taskctl.program import COMMANDS

from ..house.structure import ROOT
from ..support.schemas import Schemas
from ..support.shell import Shell

SECTIONS = ["SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES",
            "EXAMPLES", "SEE ALSO"]  # fmt: skip


def test_there_is_a_page_for_every_command_and_topic() -> None:
    topics = {"taskctl.1", "taskctl.toml.5", "taskctl-exit-codes.7", "taskctl-json.7",
              "taskctl-internals.7"}  # fmt: skip

    assert set(names()) == topics | {f"taskctl-{name}.1" for name in COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_page_has_all_sections_and_examples(name: str) -> None:
    page = find(name)

    assert page is not None
    assert list(page.sections) == SECTIONS
    written = text.render(page)
    assert re.search(rf"taskctl (-A proj )?{name}\b", written.partition("EXAMPLES")[2])
    assert "--app APP" in written or name == "multi"


@pytest.mark.parametrize("name", names())
def test_lint_says_nothing(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(roff.render(library()[name]()))
    checks = {
        "mandoc": ["mandoc", "-Tlint", str(file)],
        "man": ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(file)],
    }
    for program, argv in checks.items():
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
        done = subprocess.run(
            argv, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"}
        )
        assert done.stderr == ""
        assert program == "man" or done.stdout == ""


def test_man_shows_a_page_without_installation(shell: Shell) -> None:
    piped = shell.run("man", "worker")
    drawn = shell.type("man", "exit-codes", MANPAGER="cat", PAGER="cat")

    assert piped.out.startswith("taskctl-worker(1)\n\nNAME\n")
    assert max(map(len, piped.out.splitlines())) <= 80
    assert "EXIT STATUS" in re.sub(".\b|\x1b\\[[0-9;]*m", "", drawn.out)
    assert shell.run("man", "json", "-o", "json").json["items"][0]["section"] == 7


def test_an_unknown_page_suggests_the_nearest(shell: Shell) -> None:
    said = shell.run("man", "taskctl-workr")

    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[0] == "error: no page 'taskctl-workr'"
    assert "taskctl-worker" in said.err


def test_every_exit_code_that_a_page_names_has_a_meaning() -> None:
    assert {code for codes in COMMAND_EXITS.values() for code in codes} <= set(EXITS)
    assert set(COMMAND_EXITS) <= set(COMMANDS)


def test_the_keys_on_the_json_page_are_those_of_the_schemas() -> None:
    schemas = Schemas()

    for command, keys in JSON_KEYS:
        word = command.partition(",")[0].replace(" ", ".")
        wanted = set(re.findall(r"\w+", keys))
        assert (word, wanted - schemas.keys(word)) == (word, set())


def test_install_extras_puts_pages_and_completions_where_systems_look(tmp_path: Path) -> None:
    make = ["make", "--no-print-directory", f"PREFIX={tmp_path}"]

    subprocess.run([*make, "install-extras"], cwd=ROOT, check=True, capture_output=True)

    share = tmp_path / "share"
    installed = {str(path.relative_to(share)) for path in share.rglob("*") if path.is_file()}
    assert {f"man/man{name.rpartition('.')[2]}/{name}" for name in names()} < installed
    assert installed >= {
        "bash-completion/completions/taskctl.bash",
        "zsh/site-functions/_taskctl",
        "fish/vendor_completions.d/taskctl.fish",
    }
    subprocess.run([*make, "uninstall-extras"], cwd=ROOT, check=True, capture_output=True)
    assert [path for path in share.rglob("*") if path.is_file()] == []


def test_the_wheel_carries_pages_completions_and_types(tmp_path: Path) -> None:
    copy = tmp_path / "source"
    ignored = shutil.ignore_patterns(".*", "*.egg-info", "build", "tests")
    shutil.copytree(ROOT, copy, ignore=ignored)
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]

    subprocess.run([*build, "-w", str(tmp_path), str(copy)], check=True, capture_output=True)

    (wheel,) = tmp_path.glob("*.whl")
    packed = zipfile.ZipFile(wheel).namelist()
    held = {name.partition(".data/data/share/")[2] for name in packed}
    assert {f"man/man{name.rpartition('.')[2]}/{name}" for name in names()} < held
    assert "bash-completion/completions/taskctl.bash" in held
    assert {"taskctl/py.typed", "taskctl/core/py.typed"} <= set(packed)
