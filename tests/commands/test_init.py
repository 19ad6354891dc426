"""`taskctl init`: what it writes runs, as its README says; what is there stays."""

from __future__ import annotations

import re
import shlex

import pytest

from ..support.shell import Shell
from ..support.waiting import eventually


def test_every_line_of_the_readme_works(shell: Shell) -> None:
    made = shell.run("init", "shop-1", "-o", "name")
    shell.folder /= "shop-1"
    readme = (shell.folder / "README.md").read_text()
    first, *others = re.findall(r"^(?:taskctl|python) .*$", readme, re.MULTILINE)

    assert (made.code, len(made.out.splitlines())) == (0, 6)
    shell.start(*shlex.split(first)[1:], "-c", "1")
    eventually(lambda: " ready in " in shell.err, within=20)
    for line in others:
        program, *words = shlex.split(line)
        if program == "python":
            assert shell.python(words[1]) == "5"
        else:
            said = shell.run(*words)
            assert said.code == 0, (line, said.out, said.err)
    assert shell.run("call", "shop_1.tasks.add", "-a", "[2, 3]", "--wait", "10").out == "5\n"


def test_nothing_is_overwritten(shell: Shell) -> None:
    (shell.folder / "shop").mkdir()
    (shell.folder / "shop" / "README.md").write_text("mine\n")

    said = shell.run("init", "shop")

    assert (said.code, said.out) == (73, "")
    assert said.err.startswith(
        "error: already there: shop/README.md; nothing was written\n  choose another folder"
    )
    assert [path.name for path in (shell.folder / "shop").iterdir()] == ["README.md"]
    assert (shell.folder / "shop" / "README.md").read_text() == "mine\n"


def test_a_dry_run_names_the_files_and_writes_none(shell: Shell) -> None:
    said = shell.run("init", "shop", "--name", "store", "--dry-run", "-o", "json")

    assert said.code == 0
    assert (said.json["schema"], said.json["app"]) == ("taskctl/init/1", "store")
    assert {"path": "shop/store/tasks.py"} in said.json["items"]
    assert not (shell.folder / "shop").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["json"], "'json' is the name of a module that is there already"),
        (["x", "--name", "redis"], "'redis' is the name of a module that is there already"),
        (["x", "--name", "a-b"], "'a-b' cannot be the name of a package"),
        (["x", "--name", "class"], "'class' cannot be the name of a package"),
    ],
)
def test_a_name_that_would_not_import_is_refused(
    shell: Shell, words: list[str], message: str
) -> None:
    said = shell.run("init", *words)

    assert (said.code, said.out) == (2, "")
    assert said.err == f"error: {message}\n  give it another name: --name proj\n"


def test_a_folder_that_cannot_be_made_exits_73(shell: Shell) -> None:
    (shell.folder / "file").touch()

    said = shell.run("init", "file/shop")

    assert (said.code, said.out) == (73, "")
    assert said.err.startswith("error: cannot write file/shop/shop/__init__.py: not a directory\n")
