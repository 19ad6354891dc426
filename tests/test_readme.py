"""The README is true: its quickstart runs, and all it names is there."""

from __future__ import annotations

import functools
import json
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest

from taskctl.program import COMMANDS

from .house.structure import ROOT
from .support.document import Reader, blocks, newcomer

PICTURES = ROOT / "docs" / "pictures"
README = ROOT / "README.md"
#: Pages whose command lines must be right, though not all of them are run.
PAGES = [README, ROOT / "docs" / "operating.md", ROOT / "docs" / "tutorial.md"]


def command_lines(page: Path) -> Iterator[str]:
    """Yield each line of `taskctl ...` that a page shows, in a block or within a sentence."""
    text = page.read_text()
    shown = re.findall(r"^(?:\$ |    )?(taskctl [^\d].+)$", text, re.MULTILINE)
    for line in shown + re.findall(r"`(taskctl [^`\n]+)`", text):
        yield line.partition("  #")[0].partition(" | ")[0].strip()


@functools.cache
def words_of_help(*command: str) -> str:
    """Return the help of a command, or of a command's part, as somebody reads it."""
    words = ["multi", "help"] if command[0] == "multi" else [*command, "--help"]
    done = subprocess.run(
        [sys.executable, "-m", "taskctl", *words], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_quickstart_works(tmp_path: Path) -> None:
    env = newcomer(tmp_path)
    folder = tmp_path / "empty"
    folder.mkdir()
    reader = Reader(folder, env, {})

    try:
        for block in blocks(README):
            reader.follow(block)
    finally:
        reader.close()
        end_all_nodes(folder, env)


def end_all_nodes(folder: Path, env: Mapping[str, str]) -> None:
    """Leave no node behind when a step failed."""
    multi = [sys.executable, "-m", "taskctl", "multi", "stopwait", "--timeout", "10", "--then-kill"]
    subprocess.run(multi, cwd=folder, env=dict(env), capture_output=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_a_page_names_exists(page: Path) -> None:
    wrong = []
    for line in command_lines(page):
        words = shlex.split(line)[1:]
        while words and words[0].startswith("-"):  # a global option, with its value
            words = words[2:]
        if not words or words[0] not in COMMANDS:
            wrong.append(line)
            continue
        text = words_of_help(words[0])
        if words[0] == "multi":  # a node's options may be given to it too
            text += words_of_help("worker")
        if "COMMAND [ARGS]..." in text:  # it has parts, with options of their own
            if len(words) < 2 or not re.search(rf"^  {re.escape(words[1])} ", text, re.MULTILINE):
                wrong.append(line)
                continue
            text = words_of_help(words[0], words[1])
        options = [re.split("[=:]", word)[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
        if any(option not in re.findall(r"--?[a-zA-Z][\w-]*", text) for option in options):
            wrong.append(line)

    assert wrong == []


def test_every_remote_command_a_page_names_exists() -> None:
    known = {
        kind: words_of_list(kind) for kind in ("inspect", "control")
    }  # fmt: skip
    wrong = [
        line
        for page in PAGES
        for line in command_lines(page)
        for kind, names in known.items()
        if (found := re.search(rf" {kind} (\w+)", line)) and found.group(1) not in names
    ]

    assert wrong == []


def words_of_list(kind: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-m", "taskctl", kind, "--list"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(re.findall(r"\w+", done.stdout))


def test_every_make_target_the_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()

    named = set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)", README.read_text()))

    assert {"demo", "test", "pictures", "install-extras"} <= named
    assert [target for target in named if f"\n{target}:" not in makefile] == []


def test_every_dependency_is_explained_and_none_else() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = README.read_text().partition("## What it stands on")[2].partition("\n## ")[0]

    needed = {re.split(r"[\[<>=]", name)[0] for name in project["dependencies"]}
    explained = set(re.findall(r"^\| ([a-z]+) \|", table, re.MULTILINE))
    tools = {re.split(r"[\[<>=]", name)[0] for name in project["optional-dependencies"]["test"]}

    assert explained == needed
    assert [tool for tool in tools if tool not in table] == []


def test_the_readme_lists_every_command_and_none_else() -> None:
    part = README.read_text().partition("## Operate it")[2].partition("\n## ")[0]

    assert re.findall(r"^\| `(\w+)` \|", part, re.MULTILINE) == list(COMMANDS)


def test_what_is_said_to_be_missing_is_missing() -> None:
    missing = README.read_text().partition("## What is not there yet")[2].partition("\n## ")[0]

    named = set(re.findall(r"`([a-z]+)`", missing))

    assert sorted(named & set(COMMANDS)) == []


def scenes() -> dict[str, tuple[str, ...]]:
    """Return the command lines of each picture, as the script that draws it has them."""
    script = runpy.run_path(str(ROOT / "docs" / "pictures.py"))
    return {scene.name: scene.lines for scene in script["SCENES"]}


def typed(picture: Path) -> tuple[str, ...]:
    """Return the command lines that a picture shows."""
    lines: dict[float, str] = {}
    for element in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text"):
        if "clip-path" in element.attrib:  # the others are the title
            at = float(element.attrib["y"])
            lines[at] = lines.get(at, "") + (element.text or "").replace("\xa0", " ")
    return tuple(text[2:].strip() for text in lines.values() if text.startswith("$ "))


def test_every_picture_is_shown_and_made() -> None:
    pages = [README, *ROOT.joinpath("docs").glob("*.md")]

    shown = {
        name for page in pages for name in re.findall(r"!\[.+\]\(.*?(\w+)\.svg\)", page.read_text())
    }

    assert shown == set(scenes()) == {path.stem for path in PICTURES.iterdir()}


def test_pictures_show_the_lines_that_are_typed_for_them() -> None:
    assert {path.stem: typed(path) for path in PICTURES.iterdir()} == scenes()


def test_all_pictures_can_be_drawn_anew(tmp_path: Path) -> None:
    script = [sys.executable, str(ROOT / "docs" / "pictures.py"), str(tmp_path)]

    subprocess.run(script, check=True, timeout=60)

    drawn = {path.stem: path for path in tmp_path.iterdir()}
    assert {name: typed(path) for name, path in drawn.items()} == scenes()
    for name, path in drawn.items():
        text = "".join(ElementTree.parse(path).getroot().itertext())
        assert (name, re.findall("defect|Traceback", text)) == (name, [])


def test_pages_hold_no_path_of_a_machine() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.joinpath("docs").rglob("*.md")]
    private = re.compile(r"(?<![\w/])/(?:home|root|work|tmp)/\S*")

    found = {page.name: private.findall(page.read_text()) for page in pages}

    assert json.dumps({name: paths for name, paths in found.items() if paths}) == "{}"
