"""Help: one line, two examples, every option with its words, on stdout and 80 columns wide."""

from __future__ import annotations

import re

import click
import pytest

from taskctl.commands.remote_words import visible
from taskctl.manual.library import find
from taskctl.manual.roff import render
from taskctl.program import run

from ..support.shell import Said
from ..support.tree import commands, options, unread

PATHS = {" ".join(path): command for path, command in commands()}
REMOTE = [(kind, name) for kind in ("inspect", "control") for name in visible(kind)]
MULTI = ["start", "stop", "stopwait", "restart", "kill", "status", "show", "names", "logs"]

#: Options of Celery's that are taken for the sake of old lines.
WITHOUT_EFFECT = {"worker": {"optimization"}}
#: Options that a command hands on whole, to `App.send_task`.
HANDED_ON = {"call": {"queue", "exchange", "routing_key", "expires"}}


def say(capture: pytest.CaptureFixture[str], *words: str) -> Said:
    capture.readouterr()
    return Said(run(words), *capture.readouterr())


@pytest.mark.parametrize("path", PATHS)
def test_help_is_one_line_two_examples_and_80_columns(
    path: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = say(capsys, *path.split(), "--help")
    usage, summary, examples = said.out.split("\n\n")[:3]

    assert (said.code, said.err) == (0, "")
    assert usage.startswith("Usage: taskctl ")
    assert len(summary.splitlines()) == 1 and summary.rstrip().endswith(".")
    lines = examples.splitlines()
    assert len(lines) >= 2
    assert all(re.match(r"  \$ .*\btaskctl ", line) for line in lines)
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize("path", PATHS)
def test_help_of_a_command_prints_the_same(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = path.split()
    said = say(capsys, *words, "--help")

    again = say(capsys, "help", *words)
    assert (again.code, again.err, again.out) == (0, "", said.out)
    assert say(capsys, *words, "-h") == said


@pytest.mark.parametrize("path", PATHS)
def test_examples_show_the_command_they_belong_to(path: str) -> None:
    command = PATHS[path]
    group = isinstance(command, click.Group)

    for example in getattr(command, "examples", ()):
        words = example.replace("'", " ").split()
        assert all(word in words for word in path.split()[: 1 if group else None]), example


@pytest.mark.parametrize("path", PATHS)
def test_every_option_says_what_it_does(path: str) -> None:
    silent = [option.opts for option in options(PATHS[path]) if not option.help]

    assert silent == []


@pytest.mark.parametrize("path", [path for path, command in PATHS.items() if command.callback])
def test_no_option_is_taken_and_forgotten_unless_its_help_says_so(path: str) -> None:
    command = PATHS[path]
    forgotten = unread(command) - HANDED_ON.get(path, set())

    assert forgotten == WITHOUT_EFFECT.get(path, set())
    told = {option.name for option in options(command) if "no effect" in str(option.help)}
    assert told == forgotten


@pytest.mark.parametrize(("kind", "name"), REMOTE, ids=[" ".join(one) for one in REMOTE])
def test_each_remote_command_has_its_own_help(
    kind: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = say(capsys, kind, name, "--help")
    command = visible(kind)[name]

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith(f"Usage: taskctl {kind} {name} ")
    assert f"\n  $ taskctl {kind} {name}" in said.out
    assert max(map(len, said.out.splitlines())) <= 80
    assert all(argument.help for argument in command.arguments)
    assert say(capsys, "help", kind, name) == said


@pytest.mark.parametrize("word", MULTI)
def test_multi_has_one_help_for_all_it_does(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = say(capsys, "multi", "--help")

    assert say(capsys, "multi", word, "--help") == said
    assert say(capsys, "help", "multi", word) == said
    assert say(capsys, "multi", "help").out == said.out


@pytest.mark.parametrize("words", [("nope",), ("queue", "nope"), ("inspect", "nope")])
def test_help_of_what_does_not_exist_is_an_error(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    said = say(capsys, "help", *words)

    assert (said.code, said.out) == (2, "")
    assert "'nope'" in said.err


def test_a_manual_page_spells_options_as_help_does() -> None:
    page = find("queue")
    assert page is not None
    text = render(page)

    assert text.count("\\-\\-help") == text.count("\\fB\\-h, \\-\\-help\\fR") == 1
    multi = find("multi")
    assert multi is not None
    assert '.SS "Stopping (stop, stopwait, restart)"' in render(multi)
