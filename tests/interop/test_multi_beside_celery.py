"""The same `multi` line gives the same nodes and options in Celery 5.7 and here."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from celery.apps.multi import MultiParser, NamespacedOptionParser

from taskctl.commands.worker_options import GLOBAL_OPTIONS, WORKER_OPTIONS
from taskctl.multi.grammar import parse
from taskctl.multi.resolve import nodes_to_start


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
