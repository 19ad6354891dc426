"""The same `multi` line gives the same nodes and options in Celery 5.7 and here."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from celery.apps.multi import MultiParser, NamespacedOptionParser
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from taskctl.commands.worker_options import GLOBAL_OPTIONS, WORKER_OPTIONS
from taskctl.multi.grammar import parse
from taskctl.multi.resolve import nodes_to_start

from ..support.shell import Shell
from ..support.waiting import eventually


@pytest.mark.parametrize(
    "line",
    [
        "Leslie -E",
        "3 -c 3 -c:1 10",
        "3 --range-prefix=worker -c 3",
        "image video data -c 3 -c:image 10",
        "2 --hostname=worker.example.com -c 3",
        "foo@worker.example.com bar@worker.example.com -c 3",
        "foo@%h bar@%h --prefix=x -Q a",
        "10 -l INFO -Q:1-3 images,video -Q:4,5 data -Q default -l:4,5 DEBUG",
        "5 -c 3 -c:1-3 10",
        "foo bar baz xuzzy -c 3 -c:foo,bar,baz 10",
        "foo bar baz -c:1,3 5",
        "w1 w2 -c:1 10 -A proj",
        "a-1 b-2 --suffix=example.com --max-tasks-per-child:1=10",
        'jerry -Q a,b --without-mingle --autoscale=10,3 --prefix=tom- -- worker.x=1 y="2"',
        "2 -A proj -b redis://localhost:6379/0 -C",
    ],
)
def test_nodes_and_options_are_celerys(line: str, tmp_path: Path) -> None:
    places = [f"--pidfile={tmp_path}/%n.pid", f"--logfile={tmp_path}/%h-%d%I.log"]
    argv = [*places, *shlex.split(line)]

    theirs = _celerys(argv)
    ours = _ours(argv)

    assert ours == theirs


def _celerys(argv: list[str]) -> dict[str, list[str]]:
    parser = NamespacedOptionParser(argv)
    parser.parse()
    return {
        node.name: sorted(
            _normal(shlex.split(" ".join(node.argv[:-1]))) + shlex.split(node.argv[-1])
        )
        for node in MultiParser(cmd="-m celery worker").parse(parser)
    }


def _ours(argv: list[str]) -> dict[str, list[str]]:
    line = parse(["start", *argv])
    nodes, _ = nodes_to_start(line, line.words)
    return {
        node.name: sorted(
            _normal(word.replace("taskctl", "celery") for word in node.argv[1 : _end(node.argv)])
            + list(node.argv[_end(node.argv) :])
        )
        for node in nodes
    }


def _end(argv: tuple[str, ...]) -> int:
    return argv.index("--") if "--" in argv else len(argv)


def _normal(words: object) -> list[str]:
    """Join each short option with its value, so that the order of options does not matter."""
    shorts = {
        name
        for option in (*GLOBAL_OPTIONS, *WORKER_OPTIONS)
        if option.takes_value
        for name in option.names
        if not name.startswith("--")
    }
    joined: list[str] = []
    for word in words:  # type: ignore[attr-defined]
        if joined and joined[-1] in shorts:
            joined[-1] += f" {word}"
        else:
            joined.append(word)
    return joined


VALUES = st.text("abcxyz0123456789,.:/_=", min_size=1, max_size=8)
NAMES = st.lists(
    st.from_regex(r"[a-z][a-z0-9-]{0,5}(@[a-z]{1,4})?", fullmatch=True),
    min_size=1,
    max_size=5,
    unique_by=lambda name: name.partition("@")[0],
)
#: One spelling of each: Celery knows no two names of one option.
SHORT, LONG = ("-c", "-Q", "-l", "-P"), ("--max-tasks-per-child", "--time-limit")
FLAGS = ("--without-mingle", "--purge", "-E")
NAMING = ("--prefix", "--suffix", "--hostname", "--range-prefix")


@st.composite
def lines(draw: st.DrawFn) -> list[str]:
    """A line that both programs accept: nodes first, then options, each at most twice."""
    count = draw(st.none() | st.integers(1, 6))
    words = draw(NAMES) if count is None else [str(count)]
    scopes = st.lists(st.integers(1, count or len(words)).map(str), min_size=1, max_size=3)
    if count is None:
        scopes |= st.lists(st.sampled_from(words), min_size=1, max_size=2)
    scope = scopes.map(",".join)
    if count is not None:
        bounds = st.tuples(st.integers(1, count), st.integers(0, 4))
        scope |= bounds.map(lambda pair: f"{pair[0]}-{pair[0] + pair[1]}")
    argv = list(words)
    for option in draw(st.lists(st.sampled_from((*SHORT, *LONG)), unique=True, max_size=5)):
        scoped = [f":{draw(scope)}"] if draw(st.booleans()) else []
        for where in draw(st.sampled_from([[""], scoped, ["", *scoped]])):
            value = draw(VALUES)
            spelling = f"{option}{where}"
            argv += [f"{spelling}={value}"] if option in LONG else [spelling, value]
    for option in draw(st.lists(st.sampled_from(NAMING), unique=True, max_size=2)):
        argv.append(f"{option}={draw(st.from_regex('[a-z]{1,5}', fullmatch=True))}")
    argv += draw(st.lists(st.sampled_from(FLAGS), unique=True, max_size=2))
    rest = draw(st.lists(VALUES, max_size=2))
    return [*argv, "--", *rest] if rest else argv


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(lines())
def test_any_line_gives_celerys_nodes_and_options(tmp_path: Path, line: list[str]) -> None:
    places = [f"--pidfile={tmp_path}/%n.pid", f"--logfile={tmp_path}/%n%I.log"]
    argv = [*line[:1], *places, *line[1:]]

    assert _ours(argv) == _celerys(argv)


def test_the_line_of_celerys_manual_that_celery_refuses_works_here(tmp_path: Path) -> None:
    line = "10 -A proj -Q:1-3 images,video -Q:4,5 data -Q default -L:4,5 DEBUG".split()
    places = [f"--pidfile={tmp_path}/%n.pid", f"--logfile={tmp_path}/%n%I.log"]

    meant = [word.replace("-L", "-l") for word in line]

    assert _ours([*line, *places]) == _celerys([*meant, *places])


@pytest.mark.parametrize(
    "line",
    [
        ["names", "3"],
        ["names", "a", "b@%h", "c-d", "--prefix=x-", "-n", "web"],
        ["expand", "%n/%N/%h/%d/%p%I.%%", "a", "b@c.d"],
    ],
)
def test_names_and_expanded_templates_are_celerys_byte_for_byte(
    both: Shell, line: list[str]
) -> None:
    theirs = _theirs(both, line)

    assert both.run("multi", *line).out == theirs


@pytest.fixture
def both(tmp_path: Path) -> Iterator[Shell]:
    """A folder with a project for each program; what they start ends with the test."""
    shell = Shell(tmp_path)
    (tmp_path / "theirs.py").write_text(
        "from celery import Celery\napp = Celery(broker='memory://')\n"
    )
    yield shell
    shell.close()
    for pidfile in tmp_path.glob("celerys-*.pid"):
        os.kill(int(pidfile.read_text()), 9)


def test_in_a_pipe_multi_says_what_celerys_says(both: Shell) -> None:
    """Program name and version, process ids and the dots of waiting aside, and without the lines
    about nodes that are gone (`-> None`)."""
    host, solo = ["-n", "h"], ["-n", "h", "-P", "solo"]
    scripts = [
        [["start", "2", *solo], ["stopwait", "2", *host], ["stop", "2", *host]],
        [["start", "a", *solo], ["restart", "a", *solo], ["kill", "b", *host]],
        [["start", "c", *host, "-P", "none"]],
    ]

    with ThreadPoolExecutor() as pool:  # Celery mostly sleeps meanwhile
        theirs = list(pool.map(lambda script: [_theirs(both, line) for line in script], scripts))
    for script, said in zip(scripts, theirs, strict=True):
        for line, text in zip(script, said, strict=True):
            ours = both.run("-A", "proj", "multi", *line).out
            assert _spoken(ours) == _spoken(text), line


def _theirs(shell: Shell, line: list[str]) -> str:
    places = [f"--{kind}file={shell.folder}/celerys-%n.{kind}" for kind in ("pid", "log")]
    done = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "theirs", "multi", *line, *places],
        capture_output=True, text=True, cwd=shell.folder, timeout=60,
        env={**shell.env, "C_FORCE_ROOT": "1"},
    )  # fmt: skip
    if line[0] == "start" and "solo" in line:
        # Celery comes back before the nodes are there; they cannot be told to stop until then.
        for name in ("celery1", "celery2") if line[1] == "2" else (line[1],):
            pidfile = shell.folder / f"celerys-{name}.pid"
            eventually(lambda file=pidfile: file.exists() and file.read_text().endswith("\n"))
    return done.stdout


def _spoken(text: str) -> list[str]:
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = re.sub(r"-> (\d+)$", "-> PID", text, flags=re.MULTILINE)
    text = re.sub(r"-> ([\d, ]+)\.+$", "-> PIDS", text, flags=re.MULTILINE)
    lines = [line for line in text.splitlines()[1:] if line and "None" not in line]
    # How often it says that it waits depends on how long it does.
    return sorted({line for line in lines if "Waiting" in line}) + sorted(
        line for line in lines if "Waiting" not in line
    )
