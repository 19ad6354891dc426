"""However a broker fails to answer, a question is over within its timeout and 0.2 s."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from ..support.gate import blackhole
from ..support.servers import RedisServer
from ..support.shell import Said, Shell

TIMEOUT = 0.6
#: What the program takes to start and to end on a busy machine, beside the question itself.
_PROGRAM = 3.0


@pytest.fixture
def dumb() -> Iterator[int]:
    """The port of somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield int(listener.getsockname()[1])


@pytest.fixture
def hole() -> Iterator[int]:
    """A port that gives no answer at all."""
    listener, crowd = blackhole()
    yield int(listener.getsockname()[1])
    for one in [listener, *crowd]:
        one.close()


def timed(shell: Shell, url: str, *words: str) -> tuple[Said, float]:
    """Return what a question said, and how long the question itself took."""
    code = (
        "import sys, time\n"
        "from taskctl import remote\n"
        "ask = remote.Fleet.ask\n"
        "def timed(*given, **named):\n"
        "    began = time.monotonic()\n"
        "    try:\n"
        "        return ask(*given, **named)\n"
        "    finally:\n"
        "        print('took', time.monotonic() - began, file=sys.stderr)\n"
        "remote.Fleet.ask = timed\n"
        "from taskctl.program import run\n"
        f"sys.exit(run({['-b', url, *words, '-t', str(TIMEOUT)]!r}))\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=shell.folder,
        env=shell.env, timeout=30,
    )  # fmt: skip
    said = Said(done.returncode, done.stdout, done.stderr)
    assert time.monotonic() - began < TIMEOUT + 0.2 + _PROGRAM
    first, _, rest = said.err.partition("\n")
    return Said(said.code, said.out, rest), float(first.removeprefix("took "))


@pytest.mark.parametrize("words", [("status",), ("inspect", "active"), ("control", "heartbeat")])
def test_a_broker_that_takes_connections_and_says_nothing(
    shell: Shell, dumb: int, words: tuple[str, ...]
) -> None:
    said, took = timed(shell, f"redis://127.0.0.1:{dumb}/0", *words)

    assert (said.code, said.out) == (69, "")
    assert took < TIMEOUT + 0.2
    assert f"redis://127.0.0.1:{dumb}/0" in said.err


def test_a_broker_that_gives_no_answer_at_all(shell: Shell, hole: int) -> None:
    said, took = timed(shell, f"redis://127.0.0.1:{hole}/0", "inspect", "ping")

    assert (said.code, said.out) == (69, "")
    assert took < TIMEOUT + 0.2


def test_several_brokers_that_hang_share_one_timeout(shell: Shell, dumb: int, hole: int) -> None:
    urls = f"redis://127.0.0.1:{hole}/0;redis://127.0.0.1:{dumb}/0;redis://127.0.0.1:{hole}/1"

    said, took = timed(shell, urls, "inspect", "ping")

    assert said.code == 69
    assert took < TIMEOUT + 0.2


def test_a_broker_that_falls_asleep_in_the_middle(shell: Shell) -> None:
    server = RedisServer().start()
    try:
        server.pause()
        said, took = timed(shell, server.url, "status")
    finally:
        server.stop()

    assert said.code == 69
    assert took < TIMEOUT + 0.2


def test_nodes_that_are_silent_cost_the_timeout_and_no_more(shell: Shell) -> None:
    said, took = timed(shell, f"sqlite:///{shell.folder}/q.db", "inspect", "ping", "-d", "a@b")

    assert said.code == 69
    assert said.err.startswith("error: no worker answered in 0.6 s; 1 is named but silent:\n")
    assert took < TIMEOUT + 0.2
