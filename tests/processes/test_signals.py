"""HUP, USR1 and USR2 to a real worker; how it ends is in test_shutdown."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ..support.shell import Shell
from ..support.waiting import eventually
from ..support.workers import Farm, Node, gone

TASKS = """\
import ctypes, time
from taskctl import App
from taskctl.core.worker.debugger import set_trace

app = App("proj")

@app.task(name="loop")
def loop(seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass

@app.task(name="in_c")
def in_c(seconds):
    # It holds the interpreter's lock all the while: no handler written in Python would run.
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))

@app.task(name="nap")
def nap(seconds):
    time.sleep(seconds)

@app.task(name="add")
def add(x, y):
    return x + y

@app.task(name="look_inside")
def look_inside(x):
    set_trace()
    return x * 2
"""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    (tmp_path / "proj" / "celery.py").write_text(TASKS)
    yield shell
    shell.close()


def send(shell: Shell, *calls: str) -> str:
    lines = ["from proj.celery import *", *calls]
    return shell.python("\n".join(lines))


def ready_count(shell: Shell) -> int:
    return shell.err.count("ready in")


def test_usr1_shows_the_stacks_of_the_parent_and_of_children_whatever_they_do(
    shell: Shell,
) -> None:
    node = shell.node("w1", "-c", "4")
    send(shell, "loop.delay(30)", "in_c.delay(30)", "nap.delay(30)")
    said = shell.run("-A", "proj", "inspect", "active", "-j")
    eventually(lambda: shell.err.count(" received") == 3 and said.code == 0)
    eventually(lambda: len(_running(shell)) == 3)

    node.send_signal(signal.SIGUSR1)

    eventually(lambda: "stacks of w1@h" in shell.err and ": waits for work" in shell.err)
    text = shell.err[shell.err.index("stacks of w1@h") :]
    assert f"parent, pid {node.pid}, thread MainThread:" in text
    for task, line in (("loop", "in loop"), ("in_c", "in in_c"), ("nap", "time.sleep(seconds)")):
        (part,) = [part for part in text.split("\n\n") if f": runs {task}[" in part]
        assert line in part
        assert "pool/prefork.py" not in part  # what it has from its parent is left out
    assert node.poll() is None


def _running(shell: Shell) -> list[object]:
    said = shell.run("-A", "proj", "inspect", "active", "-j")
    return said.json["w1@h"] if said.code == 0 else []


def test_usr1_names_a_child_that_does_not_answer(shell: Shell) -> None:
    node = shell.node("w1", "-c", "1")
    child = _children(node.pid)[0]
    os.kill(child, signal.SIGSTOP)

    node.send_signal(signal.SIGUSR1)

    eventually(lambda: "stacks of w1@h" in shell.err)
    assert f"child 0, pid {child}: no task; no answer within 0.25 s, is it stopped?" in shell.err
    os.kill(child, signal.SIGCONT)


@pytest.mark.parametrize(("pool", "thread"), [("threads", "taskctl-0"), ("solo", "MainThread")])
def test_usr1_names_the_thread_that_runs_a_task(shell: Shell, pool: str, thread: str) -> None:
    node = shell.node("w1", "-P", pool, "-c", "1")
    send(shell, "nap.delay(30)")
    eventually(lambda: " received" in shell.err)
    time_to_begin = time.monotonic() + 0.3
    eventually(lambda: time.monotonic() > time_to_begin)

    node.send_signal(signal.SIGUSR1)

    eventually(lambda: f"thread {thread}: runs nap[" in shell.err)
    assert "    time.sleep(seconds)" in shell.err


def _children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_hup_begins_anew_with_the_same_pid_name_and_pidfile_and_loses_nothing(
    shell: Shell,
) -> None:
    node = shell.node("w1", "--pidfile=w1.pid", "-c", "1", "--purge")
    send(shell, "nap.delay(0.5)", "[add.delay(1, 1) for _ in range(5)]")
    eventually(lambda: " received" in shell.err)
    holder = (shell.folder / "w1.pid").stat().st_ino

    node.send_signal(signal.SIGHUP)
    eventually(lambda: ready_count(shell) == 2)

    assert "SIGHUP: will start again" in shell.err
    assert "succeeded in 0.5" in shell.err
    eventually(lambda: shell.err.count("Task add[") >= 10)  # received and succeeded, five each
    assert node.poll() is None
    assert (shell.folder / "w1.pid").read_text() == f"{node.pid}\n"
    assert (shell.folder / "w1.pid").stat().st_ino != holder
    second = shell.proj("worker", "-n", "w1@h", "--pidfile=w1.pid")
    assert second.code == 73
    node.send_signal(signal.SIGTERM)
    assert node.wait(10) == 0
    assert not (shell.folder / "w1.pid").exists()


def test_hup_of_a_detached_node_keeps_it_in_the_background(shell: Shell) -> None:
    words = ("-l", "INFO", "-n", "d1@h", "--pidfile=%n.pid", "-f", "%n.log")
    said = shell.proj("worker", "-D", *words)
    assert said.code == 0, said.err
    pid = int((shell.folder / "d1.pid").read_text())
    log = shell.folder / "d1.log"

    os.kill(pid, signal.SIGHUP)

    eventually(lambda: log.read_text().count("d1@h ready in") == 2)
    assert int((shell.folder / "d1.pid").read_text()) == pid
    os.kill(pid, signal.SIGHUP)
    eventually(lambda: log.read_text().count("d1@h ready in") == 3)
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: gone(pid))


def test_after_hup_a_term_ends_it_for_good(shell: Shell) -> None:
    node = shell.node("w1", "-c", "1")
    send(shell, "nap.delay(0.7)")
    eventually(lambda: " received" in shell.err)

    node.send_signal(signal.SIGHUP)
    eventually(lambda: "warm shutdown: waiting for 1 running task" in shell.err)
    node.send_signal(signal.SIGTERM)

    assert node.wait(10) == 0
    assert "SIGTERM: the node will not start again" in shell.err
    assert ready_count(shell) == 1


def test_when_its_terminal_is_gone_a_node_finishes_and_ends(shell: Shell) -> None:
    leader, follower = pty.openpty()
    log = shell.folder / "w.log"
    node = subprocess.Popen(
        ["setsid", "-c", *shell.argv("-A", "proj", "worker", "-l", "INFO", "-f", str(log))],
        stdin=follower, stdout=follower, stderr=follower, cwd=shell.folder, env=shell.env,
    )  # fmt: skip
    shell._started.append(node)
    os.close(follower)
    eventually(lambda: log.exists() and "ready in" in log.read_text())

    os.close(leader)  # the kernel sends HUP

    assert node.wait(10) == 0
    assert "SIGHUP: the terminal is gone" in log.read_text()


def test_usr2_is_ignored_unless_a_debugger_was_allowed(shell: Shell) -> None:
    node = shell.node("w1")

    node.send_signal(signal.SIGUSR2)

    eventually(lambda: "USR2 ignored: start the node with CELERY_RDBSIG=1" in shell.err)
    assert node.poll() is None


def test_usr2_opens_a_debugger_on_loopback_and_the_node_works_on(shell: Shell) -> None:
    node = shell.node("w1", CELERY_RDBSIG="1", CELERY_RDB_PORT="0")
    node.send_signal(signal.SIGUSR2)
    eventually(lambda: "debugger: connect with: telnet 127.0.0.1 " in shell.err)
    assert send(shell, "print(add.delay(2, 3).get(timeout=5))") == "5"

    with Dialogue(shell) as dialogue:
        answer = dialogue.ask("p worker.hostname")
        dialogue.say("quit")

    assert "'w1@h'" in answer
    assert send(shell, "print(add.delay(2, 4).get(timeout=5))") == "6"
    node.send_signal(signal.SIGTERM)
    assert node.wait(10) == 0


def test_a_task_can_be_debugged_from_outside(shell: Shell) -> None:
    shell.node("w1", CELERY_RDB_PORT="0")
    send(shell, "look_inside.apply_async([21], task_id='inside')")

    with Dialogue(shell) as dialogue:
        answer = dialogue.ask("p x + 1")
        dialogue.say("continue")

    assert "22" in answer
    assert send(shell, "print(app.AsyncResult('inside').get(timeout=5))") == "42"


class Dialogue:
    """A connection to the debugger whose address is in the log."""

    def __init__(self, shell: Shell) -> None:
        line = eventually(lambda: [w for w in shell.err.splitlines() if "telnet" in w])[-1]
        host, port = line.split("telnet ")[1].split()
        self.line = socket.create_connection((host, int(port)), timeout=10)
        self._read_to_prompt()

    def __enter__(self) -> Dialogue:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.line.close()

    def say(self, words: str) -> None:
        self.line.sendall(f"{words}\n".encode())

    def ask(self, words: str) -> str:
        self.say(words)
        return self._read_to_prompt()

    def _read_to_prompt(self) -> str:
        said = b""
        with contextlib.suppress(TimeoutError):
            while not said.endswith(b"(rdb) "):
                part = self.line.recv(4096)
                if not part:
                    break
                said += part
        return said.decode()


def loaded(farm: Farm, **options: object) -> Node:
    """Return a node that runs one long task."""
    node = farm.start("w1", concurrency=1, **options)
    farm.send("mark", "running", 60.0)
    eventually(lambda: farm.runs()["running"])
    return node


def test_term_again_changes_nothing(farm: Farm) -> None:
    node = farm.start("w1", concurrency=1)
    farm.send("mark", "running", 1.0)
    eventually(lambda: farm.runs()["running"])

    node.tell(signal.SIGTERM)
    eventually(lambda: "warm shutdown" in node.log)
    node.tell(signal.SIGTERM)

    assert node.exit_code() == 0
    assert farm.unacked() == farm.size() == 0


def test_int_three_times_stops_at_once(farm: Farm) -> None:
    node = loaded(farm, settings={"worker_soft_shutdown_timeout": 30.0})
    for words in ("warm shutdown", "cold shutdown"):
        node.tell(signal.SIGINT)
        eventually(lambda words=words: words in node.log)

    node.tell(signal.SIGINT)

    assert node.exit_code(within=5) == 1
    assert "stopped at once" in node.log
