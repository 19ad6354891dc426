"""`taskctl top`: one frame for pipes, and the live view on a real terminal with real nodes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..support.servers import RedisServer
from ..support.shell import Shell
from ..support.terminal import Terminal
from ..support.waiting import eventually

Look = Callable[..., Terminal]

FAIL = """
@app.task
def fail(text):
    raise ValueError(text)
"""


def send(shell: Shell, code: str) -> str:
    """Run a few lines with the project's tasks at hand; return what they print."""
    return shell.python(f"from proj.celery import add, fail, nap; {code}")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Two nodes of two children, w1@h and w2@h, which send task events."""
    shell = Shell(tmp_path_factory.mktemp("fleet"))
    app = shell.folder / "proj" / "celery.py"
    app.write_text(app.read_text() + FAIL)
    try:
        shell.node("w1", "-E")
        shell.node("w2", "-E", "-Q", "celery,video")
        yield shell
    finally:
        shell.close()


@pytest.fixture
def look(fleet: Shell) -> Iterator[Look]:
    """Starts `taskctl -A proj WORDS` on a terminal; none outlives the test."""
    terminals: list[Terminal] = []

    def start(*words: str, columns: int = 80, lines: int = 24, **env: str) -> Terminal:
        argv = fleet.argv("-A", "proj", *words)
        terminals.append(
            Terminal(argv, fleet.folder, {**fleet.env, **env}, columns=columns, lines=lines)
        )
        return terminals[-1]

    yield start
    for terminal in terminals:
        terminal.close()


@pytest.fixture(scope="module")
def nap(fleet: Shell) -> str:
    """A task that runs all the time; its id."""
    task_id = send(fleet, "print(nap.delay(600).id)")
    eventually(lambda: task_id in fleet.proj("inspect", "active", "-o", "name").out)
    return task_id


# -- one frame


def test_once_prints_a_frame_of_plain_text(fleet: Shell, nap: str) -> None:
    said = fleet.proj("top", "--once")

    nodes, queues, tasks = (part.splitlines() for part in said.out.split("\n\n"))
    assert (said.code, said.err) == (0, "")
    assert nodes[0].split()[:4] == ["NODE", "STATE", "SLOTS", "QUEUES"]
    assert [line.split()[0] for line in nodes[1:]] == ["w1@h", "w2@h"]
    assert queues[0].split()[:3] == ["QUEUE", "DEPTH", "UNACKED"]
    assert tasks[0].split() == ["TASK", "ID", "NODE", "RUNNING", "CHILD", "ARGUMENTS"]
    assert tasks[1].split()[:2] == ["proj.celery.nap", nap[:8]]
    assert tasks[1].endswith("  600")
    assert "\x1b" not in said.out


def test_once_on_a_terminal_selects_no_row(look: Look, nap: str) -> None:
    terminal = look("top", "--once", columns=100)

    assert terminal.end() == 0
    assert "defect" not in terminal.text and nap[:8] in terminal.text
    assert "\x1b[7m" not in terminal.raw.decode()


def test_once_as_json_is_a_document_with_nodes_queues_and_tasks(fleet: Shell, nap: str) -> None:
    document = fleet.proj("top", "--once", "-o", "json").json

    assert (document["schema"], document["ok"], document["missing"]) == ("taskctl/top/1", True, [])
    assert document["nodes"]["w1@h"]["ok"]["slots"] == 2
    assert {"celery", "video"} <= {queue["queue"] for queue in document["queues"]}
    (task,) = document["tasks"]
    assert (task["id"], task["name"], task["state"]) == (nap, "proj.celery.nap", "STARTED")
    assert task["running_seconds"] >= 0 and task["started_at"].endswith("Z")


def test_json_is_one_document_also_without_once(fleet: Shell) -> None:
    said = fleet.proj("top", "-j")

    assert json.loads(said.out)["schema"] == "taskctl/top/1"
    assert said.err == ""


def test_in_a_pipe_it_is_one_frame_and_a_note(fleet: Shell) -> None:
    said = fleet.proj("top")

    assert said.code == 0
    assert said.err == "note: no terminal to draw on: one frame, as with --once\n"
    assert said.out.startswith("NODE ")


def test_a_dumb_terminal_gets_one_frame(fleet: Shell) -> None:
    said = fleet.type("-A", "proj", "top", TERM="dumb")

    assert said.code == 0
    assert "note: no terminal to draw on" in said.out
    assert "\x1b" not in said.out


def test_nobody_there_is_exit_69_with_the_frame(shell: Shell) -> None:
    said = shell.proj("top", "--once", "-t", "0.2")
    document = shell.proj("top", "-o", "json", "-t", "0.2")

    assert said.code == document.code == 69
    assert said.out.startswith("NODES     none is registered")
    assert said.err == "warning: no node answered in 0.2 s\n"
    assert document.json["ok"] is False


@pytest.mark.parametrize("words", [("--once",), ("-o", "json")])
def test_a_broker_that_is_away_is_exit_69(shell: Shell, words: tuple[str, ...]) -> None:
    said = shell.proj("top", *words, "-b", "redis://127.0.0.1:1/0")

    assert (said.code, said.out) == (69, "")
    assert said.err.startswith("error: broker redis://127.0.0.1:1/0")
    assert "set by -b" in said.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--interval", "0"), "error: --interval 0: 0.1 or more expected"),
        (("--interval", "x"), "error: --interval x: a number expected"),
        (("-o", "plain"), "error: -o plain does not exist for this command: choose table, wide"),
        (("now",), "error: got unexpected extra argument (now)"),
    ],
)
def test_wrong_use_is_exit_2(shell: Shell, words: tuple[str, ...], error: str) -> None:
    said = shell.proj("top", *words)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(error)


# -- the live view


def test_it_shows_nodes_queues_tasks_and_failures_and_q_leaves(
    fleet: Shell, look: Look, nap: str
) -> None:
    terminal = look("top")
    terminal.until("2/2 nodes", "w1@h", "w2@h", "QUEUE", nap[:8], "FAILURES  none was told of")
    assert terminal.grid.alternate and not terminal.grid.cursor_shown

    send(fleet, "fail.delay('boom')")
    terminal.until("FAILURE", "ValueError('boom')")
    terminal.press("q")

    assert terminal.end() == 0
    assert terminal.is_clean


@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (120, 40), (50, 12), (30, 6)])
def test_every_size_shows_whole_numbers_and_no_more_than_fits(
    look: Look, nap: str, columns: int, lines: int
) -> None:
    terminal = look("top", columns=columns, lines=lines)

    shown = terminal.until("2/2 nodes", "q quit").splitlines()

    assert len(shown) <= lines and all(len(line) <= columns for line in shown)
    assert terminal.rows[-1].startswith("? help  q quit")
    table = next((line for line in shown if line.startswith("w1@h")), None)
    assert table is None or "…" not in " ".join(table.split()[:3])


def test_a_new_size_is_drawn_at_once(look: Look) -> None:
    terminal = look("top", columns=80, lines=24)
    terminal.until("2/2 nodes")

    terminal.resize(120, 40)

    eventually(lambda: terminal.rows[39].startswith("? help  q quit"))
    terminal.resize(60, 10)
    eventually(lambda: terminal.rows[9].startswith("? help  q quit"))


def test_a_task_is_opened_from_the_list(look: Look, nap: str) -> None:
    terminal = look("top")
    terminal.until(nap[:8])

    terminal.press("\r")
    shown = terminal.until("Esc back")
    terminal.press("\x1b")
    terminal.until("q quit")

    assert f"id         {nap}" in shown
    assert "args       (600,)" in shown and "started    " in shown


def test_a_task_is_killed_after_a_yes_and_nothing_else(fleet: Shell, look: Look, nap: str) -> None:
    terminal = look("top")
    terminal.until("2/2 nodes")
    own = send(fleet, "print(nap.delay(60).id)")
    terminal.press(f"/{own}\r")
    terminal.until(f"{own[:8]}  w")

    terminal.press("X")
    terminal.until(f"kill proj.celery.nap[{own[:8]}] on w", "[y/N]")
    terminal.press("\r")
    terminal.until("nothing was done")
    terminal.press("X")
    terminal.until("[y/N]")
    terminal.press("y")

    terminal.until(f"proj.celery.nap[{own[:8]}] killed")
    terminal.until("TASKS     none is running")
    terminal.press("\x1b")
    terminal.until(nap[:8])


def test_read_only_offers_nothing_that_changes(look: Look, nap: str) -> None:
    terminal = look("top", "--read-only")
    terminal.until(nap[:8])

    terminal.press("Xxe")
    terminal.wait_a_frame()
    terminal.press("?")

    shown = terminal.until("read-only: nothing can be revoked")
    assert "revoke the task" not in shown and "[y/N]" not in shown


def test_a_failed_task_shows_its_traceback(fleet: Shell, look: Look) -> None:
    terminal = look("top")
    terminal.until("2/2 nodes", "FAILURES")
    send(fleet, "fail.delay('deep')")
    terminal.until("ValueError('deep')")

    terminal.press("/deep\r")
    terminal.until("TASKS     none is running")
    terminal.press("\r")

    shown = terminal.until("Traceback (most recent call last):")
    assert "raise ValueError(text)" in shown
    assert "exception  ValueError('deep')" in shown


def test_a_filter_is_typed_and_leaves_what_fits(fleet: Shell, look: Look, nap: str) -> None:
    terminal = look("top")
    terminal.until(nap[:8])

    terminal.press("/")
    terminal.press("nothing like it")
    terminal.until("filter: nothing like it", "TASKS     none is running")
    terminal.press("\x15celery.nap\r")

    terminal.until(nap[:8], "filter 'celery.nap' (Esc: all)")


def test_the_display_can_be_held(fleet: Shell, look: Look) -> None:
    terminal = look("top")
    terminal.until("2/2 nodes")
    terminal.press("p")
    terminal.until("paused")

    send(fleet, "fail.delay('unseen')")
    fleet.proj("status")
    terminal.wait_a_frame()
    assert "unseen" not in terminal.text
    terminal.press("p")

    terminal.until("unseen")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_leaves_a_clean_terminal(look: Look, number: int, code: int) -> None:
    terminal = look("top")
    terminal.until("2/2 nodes")

    terminal.press("\x03") if number == signal.SIGINT else os.kill(terminal.process.pid, number)

    assert terminal.end() == code
    assert terminal.is_clean
    assert b"Traceback" not in terminal.raw


def test_a_defect_leaves_a_clean_terminal_and_says_so(
    fleet: Shell, look: Look, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import taskctl.views.top as top\n"
        "def frame(*_):\n    raise ZeroDivisionError('drawn over nothing')\n"
        "top.frame = frame\n"
    )

    terminal = look("top", PYTHONPATH=str(tmp_path), TMPDIR=str(tmp_path))

    assert terminal.end() == 70
    assert terminal.is_clean
    assert b"a defect of taskctl: ZeroDivisionError" in terminal.raw


def test_no_color_still_shows_what_is_selected(look: Look, nap: str) -> None:
    terminal = look("top", NO_COLOR="1")

    terminal.until(nap[:8])

    assert b"\x1b[7m" in terminal.raw
    assert not any(b"\x1b[%dm" % colour in terminal.raw for colour in range(30, 38))


def test_while_the_broker_is_gone_it_says_so_and_goes_on(
    shell: Shell, redis_server: RedisServer
) -> None:
    server = RedisServer().start()
    env = {**shell.env, "TASKCTL_BROKER_URL": server.url}
    shell.node("w1", TASKCTL_BROKER_URL=server.url)
    terminal = Terminal(shell.argv("-A", "proj", "top", "--interval", "0.2"), shell.folder, env)
    try:
        terminal.until("1/1 nodes", "no node sends task events (e: on)")
        terminal.press("e")
        terminal.until("task events are on at 1 node")

        server.pause()
        shown = terminal.until("broker gone since", "w1@h  unknown", within=20)
        server.resume()

        terminal.until("1/1 nodes", gone="unknown", within=20)
        assert "redis://127.0.0.1" in shown
        terminal.press("q")
        assert terminal.end(20) == 0
        assert terminal.is_clean
    finally:
        terminal.close()
        server.stop()
