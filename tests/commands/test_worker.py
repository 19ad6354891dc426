"""`taskctl worker`, as a real program on the embedded broker."""

from __future__ import annotations

import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from ..support.shell import Shell
from ..support.waiting import eventually

SEND = "from proj.celery import add; print(add.delay(2, 3).get(timeout=10))"


def test_a_worker_runs_tasks_and_ends_with_0_on_term(shell: Shell) -> None:
    node = shell.node("w1")

    answer = shell.python(SEND)
    node.send_signal(signal.SIGTERM)

    assert answer == "5"
    assert node.wait(10) == 0
    assert "taskctl 1.0.0 node=w1@h" in shell.err
    assert "app=proj.celery:app tasks=3" in shell.err
    assert ' queues="celery empty"' in shell.err
    assert ": INFO/MainProcess] w1@h ready in " in shell.err


def test_on_a_terminal_a_worker_introduces_itself(shell: Shell) -> None:
    shell.python("from proj.celery import add; add.delay(1, 1); add.delay(1, 1)")

    said = shell.type("-A", "proj", "worker", "--check", "-c", "3", "-Q", "celery,video")

    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].startswith("taskctl 1.0.0 · celery@")
    assert lines[1:6] == [
        "  app      proj.celery:app, 3 tasks: proj.celery.add proj.celery.nap proj.celery.say",
        f"  broker   sqlite:///{shell.folder}/.taskctl/queue.db (default; local disk)",
        "  results  in the broker's database, kept 1 d",
        "  pool     prefork, 3 children, prefetch 3",
        lines[5],
    ]
    assert lines[5].startswith("  queues   celery 2 waiting, oldest ")
    assert lines[5].endswith(" s · video empty")


def test_quiet_leaves_the_banner_out(shell: Shell) -> None:
    assert shell.type("-A", "proj", "worker", "--check", "-q").out == ""


def test_settings_may_stand_on_the_command_line(shell: Shell) -> None:
    said = shell.proj(
        "worker", "--check", "-c", "2", ".prefetch_multiplier=(int)4", "result_expires=3600"
    )

    assert "prefetch 8" in said.err
    assert "kept 1 h" in said.err


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["-c", "x4"], "error: -c x4: whole number or 'auto' expected\n"),
        (["--autoscale", "a,b"], "error: --autoscale a,b: MAX,MIN as whole numbers expected"),
        (["-P", "gevent"], "error: -P gevent: choose prefork, asyncio, threads"),
        (["-l", "LOUD"], "error: -l LOUD: choose DEBUG, INFO,"),
        (["--time-limit", "x"], "error: --time-limit x: a number expected\n"),
        (["--prefetch-multiplier", "-1"], "error: --prefetch-multiplier -1: 0 or more expected\n"),
        (["--umask", "9z"], "error: --umask 9z: a mask like 022 expected\n"),
        (["--statedb", "%z"], "error: --statedb %z: no letter '%z' here: choose from %n %h"),
        (
            ["--pool-start-method", "spawn"],
            "error: --pool-start-method spawn: children are always forked\n",
        ),
        (["--concurency", "3"], "error: no option --concurency in taskctl worker\n  did you mean:"),
        (["-n", "w1@%z"], "error: -n w1@%z: no letter '%z' here"),
        (["--logfile", "%q.log"], "error: --logfile %q.log: no letter '%q' here"),
        (["foo=1"], "error: foo=1: unknown setting 'foo'"),
        (["foo"], "error: 'foo': an option or key=value expected\n"),
        (["worker_concurency=2"], "error: worker_concurency=2: unknown setting"),
        ([".prefetch_multiplier=(int)x"], "error: .prefetch_multiplier=(int)x: 'x' is no int"),
        (["--uid", "nobody-of-that-name"], "error: --uid nobody-of-that-name: no such user"),
        (["--check", "-D"], "error: --check and --detach do not go together\n"),
        (["--config", "nowhere"], "error: --config nowhere: No module named 'nowhere'\n"),
    ],
)
def test_a_wrong_option_is_exit_2_in_one_line(shell: Shell, words: list[str], error: str) -> None:
    said = shell.proj("worker", *words)

    assert said.code == 2, said.err
    assert said.err.startswith(error)


def test_a_broker_that_is_away_is_told_at_once_by_check(shell: Shell) -> None:
    said = shell.proj("worker", "--check", "-b", "redis://:secret@127.0.0.1:1/0")

    assert said.code == 69
    assert "broker redis://:********@127.0.0.1:1/0" in said.err
    assert "secret" not in said.err
    assert said.err.endswith("\n  set by -b; next: taskctl doctor\n")


def test_a_worker_goes_on_trying_a_broker_that_is_away(shell: Shell) -> None:
    node = shell.start("-A", "proj", "worker", "-b", "redis://127.0.0.1:1/0")

    eventually(lambda: "trying again in 2 s" in shell.err)

    assert node.poll() is None
    node.send_signal(signal.SIGINT)
    assert node.wait(10) == 130


def test_without_retries_a_broker_that_is_away_ends_it(shell: Shell) -> None:
    said = shell.proj(
        "worker", "-b", "redis://127.0.0.1:1/0", "broker_connection_retry_on_startup=no"
    )

    assert said.code == 69


def test_a_pidfile_is_held_while_it_runs_and_names_the_holder(shell: Shell) -> None:
    node = shell.node("w1", "--pidfile=run/%n.pid")
    second = shell.proj("worker", "-n", "w1@h", "--pidfile=run/%n.pid")

    assert second.code == 73
    assert second.err == (
        f"error: pidfile {shell.folder}/run/w1.pid is held by live process {node.pid}\n"
    )
    assert (shell.folder / "run" / "w1.pid").read_text() == f"{node.pid}\n"
    node.send_signal(signal.SIGTERM)
    assert node.wait(10) == 0
    assert not (shell.folder / "run" / "w1.pid").exists()


@pytest.mark.parametrize("option", ["--pidfile", "--logfile"])
def test_a_folder_that_cannot_be_written_is_one_clear_line(shell: Shell, option: str) -> None:
    (shell.folder / "file").touch()

    said = shell.proj("worker", f"{option}={shell.folder}/file/x")

    assert said.code == 73
    assert len(said.err.splitlines()) == 1
    assert f"{shell.folder}/file/x" in said.err
    assert option in said.err


def test_detached_it_returns_once_ready(shell: Shell) -> None:
    said = shell.proj(
        "worker", "-D", "-l", "INFO", "-n", "d1@h", "--pidfile=%n.pid", "-f", "%n.log"
    )

    pid = int((shell.folder / "d1.pid").read_text())
    assert (said.code, said.out) == (0, "")
    assert said.err.startswith("d1@h ready in ")
    assert said.err.endswith(f" s, pid {pid}, log {shell.folder}/d1.log\n")
    assert "d1@h ready in" in (shell.folder / "d1.log").read_text()
    assert shell.python(SEND) == "5"
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not (shell.folder / "d1.pid").exists())


def test_detached_it_says_why_it_did_not_get_ready(shell: Shell) -> None:
    said = shell.proj("worker", "-D", "-b", "redis://127.0.0.1:1/0")

    assert said.code == 69
    assert said.err.splitlines()[-1].startswith("error: broker redis://127.0.0.1:1/0")


def test_it_goes_on_in_the_python_that_was_asked_for(shell: Shell) -> None:
    python = shell.folder / "python"
    python.write_text(f'#!/bin/sh\nexport TASKCTL_QUIET=1 WRAPPED=1\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)

    said = shell.proj("worker", "--check", f"--executable={python}")
    missing = shell.proj("worker", "--check", "--executable=/no/python")

    assert (said.code, said.err) == (0, "")
    assert (missing.code, missing.err.splitlines()[0]) == (
        2,
        "error: --executable /no/python: no such file or directory",
    )


def test_each_child_has_a_log_of_its_own_if_the_name_says_so(shell: Shell) -> None:
    shell.start("-A", "proj", "worker", "-l", "INFO", "-c", "2", "-n", "w1@h", "-f", "log/%n%I.log")
    log = shell.folder / "log"
    eventually(lambda: (log / "w1.log").exists() and "ready in" in (log / "w1.log").read_text())

    shell.python("from proj.celery import say; say.delay('hello from a task').get(timeout=10)")

    children = [log / "w1-1.log", log / "w1-2.log"]
    eventually(lambda: any("hello from a task" in _text(path) for path in children))
    assert "hello from a task" not in (log / "w1.log").read_text()


def test_what_tasks_print_goes_into_the_log(shell: Shell) -> None:
    shell.node("w1")

    shell.python("from proj.celery import say; say.delay('printed by a task').get(timeout=10)")

    eventually(lambda: "printed by a task" in shell.err)
    (line,) = [line for line in shell.err.splitlines() if "printed by a task" in line]
    assert ": WARNING/" in line


def test_lines_of_the_log_can_be_json(shell: Shell) -> None:
    shell.start("-A", "proj", "worker", "-l", "INFO", "-n", "w1@h", "--log-format", "json")

    eventually(lambda: "ready in" in shell.err)

    assert '"level": "INFO", "logger": "taskctl.worker"' in shell.err


def test_files_get_the_umask_that_was_asked_for(shell: Shell) -> None:
    node = shell.start("-A", "proj", "worker", "-l", "INFO", "--umask=077", "--logfile=w1.log")
    log = shell.folder / "w1.log"
    eventually(lambda: "ready in" in _text(log))

    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    assert node.poll() is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may become anybody")
def test_only_root_may_become_another_user(shell: Shell) -> None:
    said = shell.proj("worker", "--uid", "0")

    assert said.code == 77


def test_multi_start_tells_soon_that_the_broker_is_away(shell: Shell) -> None:
    said = shell.run("multi", "start", "w1", "-A", "proj", "-b", "redis://127.0.0.1:1/0")

    assert said.code == 1
    assert "w1@" in said.out
    assert "broker redis://127.0.0.1:1/0" in said.err


def test_multi_starts_restarts_and_stops_a_real_node(shell: Shell) -> None:
    started = shell.run("multi", "start", "w1", "-A", "proj", "-l", "INFO", "-o", "json")
    again = shell.run("multi", "restart", "w1", "-o", "json")
    answer = shell.python(SEND)
    stopped = shell.run("multi", "stopwait", "w1", "-o", "json")

    assert (started.code, again.code, stopped.code) == (0, 0, 0), started.err + again.err
    assert answer == "5"
    assert not (shell.folder / "run" / "w1.pid").exists()


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""
