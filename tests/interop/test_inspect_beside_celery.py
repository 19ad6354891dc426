"""`taskctl` and `celery` ask the same nodes and print the same bytes; the last tests end one."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.waiting import eventually

_CELERY_APP = """\
from celery import Celery

app = Celery("peer", broker={url!r}, backend={url!r})

@app.task(name="proj.add", rate_limit="10/m")
def add(x, y):
    return x + y
"""


class Pair:
    """One node of Celery and one of ours on one broker, and both programs to ask them."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        (folder / "peer.py").write_text(_CELERY_APP.format(url=url))
        (folder / "ours.py").write_text(
            _CELERY_APP.format(url=url).replace("celery", "taskctl").replace('"peer"', '"ours"')
        )
        names = ("TASKCTL_", "CELERY_", "COLUMNS")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(names)}
        self.env["TASKCTL_RUN_DIR"] = str(folder / "run")
        self.env["XDG_CACHE_HOME"] = str(folder / "cache")
        self.processes = [
            self._start("celery", "-A", "peer", "worker", "-n", "theirs@h", "--pool=solo"),
            self._start("taskctl", "-A", "ours", "worker", "-n", "ours@h", "-c", "1"),
        ]

    def _start(self, program: str, *words: str) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{program}.log").open("wb")
        return subprocess.Popen(
            [sys.executable, "-m", program, *words, "-l", "INFO"],
            stdout=log,
            stderr=log,
            cwd=self.folder,
            env=self.env,
        )

    def ask(self, program: str, app: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", program, "-A", app, *words],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.env,
            timeout=60,
        )

    def both(self, *words: str) -> tuple[str, str]:
        """Return what Celery and we print for the same question, to the same node."""
        return self.ask("celery", "peer", *words).stdout, self.ask("taskctl", "ours", *words).stdout

    def ready(self) -> bool:
        logs = [(self.folder / f"{name}.log").read_text() for name in ("celery", "taskctl")]
        assert all(process.poll() is None for process in self.processes), logs
        return "ready" in logs[0] and "ready in" in logs[1]

    def close(self) -> None:
        for process in self.processes:
            process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, redis_server: object) -> Iterator[Pair]:
    url = f"redis://127.0.0.1:{redis_server.port}/63"  # type: ignore[attr-defined]
    pair = Pair(tmp_path_factory.mktemp("pair"), url)
    try:
        eventually(pair.ready, within=30)
        yield pair
    finally:
        pair.close()


@pytest.mark.parametrize(
    ("node", "words"),
    [
        ("theirs@h", "status"),
        ("theirs@h", "-q status"),
        ("theirs@h", "inspect ping"),
        ("theirs@h", "inspect revoked"),
        ("theirs@h", "inspect objgraph"),
        ("theirs@h", "-C inspect query_task nothing"),
        ("theirs@h", "inspect registered rate_limit name"),
        ("theirs@h", "control time_limit proj.add 5 10"),
        ("theirs@h", "control disable_events"),
        ("theirs@h", "control pool_restart"),
        ("theirs@h", "control heartbeat"),
        ("theirs@h", "control revoke one"),
        ("theirs@h", "control revoke_by_stamped_headers a=1"),
        ("ours@h", "status"),
        ("ours@h", "control pool_grow"),
        ("ours@h", "control autoscale 2 1"),
        ("ours@h", "control revoke_by_stamped_headers a=1"),
        ("theirs@h", "inspect active"),
        ("theirs@h", "inspect active_queues"),
        ("theirs@h", "-q inspect registered"),
        ("theirs@h", "control rate_limit proj.add 5/m"),
        ("ours@h", "inspect registered"),
        ("ours@h", "inspect active_queues"),
        ("ours@h", "control rate_limit nope 5/m"),
    ],
)
def test_text_in_a_pipe_is_the_same_byte_for_byte(pair: Pair, node: str, words: str) -> None:
    theirs, ours = pair.both(*words.split(), "-d", node)

    assert theirs.strip() != ""
    assert ours == theirs


@pytest.mark.parametrize("words", ["inspect registered", "control heartbeat"])
def test_j_has_the_same_shape(pair: Pair, words: str) -> None:
    theirs, ours = pair.both(*words.split(), "-d", "theirs@h", "-j")

    assert json.loads(ours) == json.loads(theirs)


def test_stats_are_the_same_but_for_their_numbers(pair: Pair) -> None:
    # Where Pygments is installed Celery writes a line of blanks behind each dict, unless told -C.
    theirs, ours = pair.both("-C", "inspect", "stats", "-d", "theirs@h")

    assert _without_digits(ours) == _without_digits(theirs)


def test_a_node_of_celerys_is_seen_without_a_word_and_without_waiting(pair: Pair) -> None:
    said = pair.ask("taskctl", "ours", "status", "-t", "20", "-o", "table")

    assert said.returncode == 0
    assert [line.split()[:2] for line in said.stdout.splitlines()[1:]] == [
        ["ours@h", "ok"],
        ["theirs@h", "unknown"],
    ]
    assert said.stderr == "2 of 2 nodes answered\n"


def test_a_node_of_celerys_that_is_halted_is_missed_also_by_who_never_saw_it(pair: Pair) -> None:
    celery = pair.processes[0]
    celery.send_signal(signal.SIGSTOP)
    try:
        said = pair.ask("taskctl", "ours", "status", "-t", "0.5", "-o", "table")
        shutil.rmtree(pair.folder / "cache", ignore_errors=True)
        new = pair.ask("taskctl", "ours", "status", "-t", "0.5", "-o", "json", "--strict")
    finally:
        celery.send_signal(signal.SIGCONT)

    assert said.stdout.splitlines()[2].split()[:2] == ["theirs@h", "silent"]
    assert said.stderr == "1 of 2 nodes answered; silent: theirs@h\n"
    assert (new.returncode, json.loads(new.stdout)["missing"]) == (3, ["theirs@h"])


def test_a_node_of_celerys_that_was_killed_is_missed_by_who_saw_it(pair: Pair) -> None:
    pair.ask("taskctl", "ours", "status", "--expect", "2")
    pair.processes[0].kill()
    pair.processes[0].wait()

    said = pair.ask("taskctl", "ours", "status", "-t", "0.5", "-o", "table")

    assert re.search(r"theirs@h +silent .* seen \d+ s ago", said.stdout)
    assert said.stderr == "1 of 2 nodes answered; silent: theirs@h\n"


def _without_digits(text: str) -> list[str]:
    return ["".join(c for c in line if not c.isdigit()) for line in text.splitlines()]
