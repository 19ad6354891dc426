"""Where a worker lives and what it is given: files, rights, settings, users' options, beat."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest

from ..support.shell import APP, Shell
from ..support.waiting import eventually
from ..support.workers import gone

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


def add_to_app(shell: Shell, *lines: str) -> None:
    """Write lines below the app of the project."""
    (shell.folder / "proj" / "celery.py").write_text("\n".join([APP, *lines, ""]))


def test_files_and_umask_may_stand_in_the_settings(shell: Shell) -> None:
    add_to_app(
        shell,
        "app.conf.worker_pidfile = 'run/%n.pid'",
        "app.conf.worker_logfile = 'log/%n%I.log'",
        "app.conf.worker_state_db = 'state/%n.revoked'",
        "app.conf.worker_umask = '077'",
    )

    said = shell.proj("worker", "-D", "-l", "INFO", "-n", "d1@h", "-c", "1")

    assert said.code == 0, said.err
    assert said.err.endswith(f", log {shell.folder}/log/d1.log\n")
    log = shell.folder / "log" / "d1.log"
    assert "d1@h ready in" in log.read_text()
    assert (shell.folder / "log" / "d1-1.log").exists()
    assert (shell.folder / "state" / "d1.revoked").exists()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600
    pid = int((shell.folder / "run" / "d1.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: gone(pid))
    assert not (shell.folder / "run" / "d1.pid").exists()


def test_the_command_line_wins_over_the_settings(shell: Shell) -> None:
    add_to_app(shell, "app.conf.worker_logfile = 'no/such/%q.log'")

    said = shell.proj("worker", "--check", "-f", "w.log")
    wrong = shell.proj("worker", "--check")

    assert said.code == 0, said.err
    assert wrong.code == 2
    assert wrong.err.startswith("error: worker_logfile no/such/%q.log: no letter '%q' here")


def test_a_python_named_in_the_settings_is_taken_also_in_the_background(shell: Shell) -> None:
    python = shell.folder / "python"
    python.write_text(f'#!/bin/sh\necho "$@" >> {shell.folder}/went\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    add_to_app(shell, f"app.conf.worker_executable = {str(python)!r}")

    said = shell.proj("worker", "-D", "-n", "d1@h", "--pidfile=d1.pid", "-c", "1")

    assert said.code == 0, said.err
    assert "d1@h ready in" in said.err
    assert len((shell.folder / "went").read_text().splitlines()) == 1
    os.kill(int((shell.folder / "d1.pid").read_text()), signal.SIGTERM)
    eventually(lambda: not (shell.folder / "d1.pid").exists())


def test_revoked_tasks_are_remembered_though_the_node_is_killed(shell: Shell) -> None:
    words = ("-c", "1", "--statedb=%n.state")
    node = shell.node("w1", *words)
    assert shell.proj("control", "revoke", "the-one").code == 0
    eventually(lambda: "the-one" in (shell.folder / "w1.state").read_text())
    os.killpg(node.pid, signal.SIGKILL)
    node.wait(10)

    shell.start("-A", "proj", "worker", "-l", "INFO", "-n", "w1@h", *words)
    eventually(lambda: "1 revoked tasks remembered in" in shell.err)
    eventually(lambda: shell.err.count("ready in") == 2)

    said = shell.proj("inspect", "revoked", "-j")
    assert said.json["w1@h"] == ["the-one"]


def test_a_state_file_that_cannot_be_made_is_exit_73(shell: Shell) -> None:
    (shell.folder / "file").touch()

    said = shell.proj("worker", "--statedb=file/x")

    assert said.code == 73
    assert said.err.startswith(f"error: cannot read state file {shell.folder}/file/x: not a dir")


@root_only
def test_root_does_not_take_pickle_unless_forced(shell: Shell) -> None:
    words = ("worker", "--check", "accept_content=json,pickle")

    refused = shell.proj(*words)
    forced = shell.proj(*words, C_FORCE_ROOT="1")

    assert refused.code == 77
    assert "running as root with pickle in accept_content" in refused.err
    assert forced.code == 0


@root_only
@pytest.mark.parametrize("by", ["option", "setting"])
def test_a_node_becomes_the_user_that_was_named(shell: Shell, by: str) -> None:
    words = ["--uid", "65534", "--gid", "65534"]
    if by == "setting":
        add_to_app(shell, "app.conf.worker_uid = 65534", "app.conf.worker_gid = 65534")
        words = []
    open_to_all = [shell.folder, *list(shell.folder.parents)[:-2]]
    modes = [path.stat().st_mode for path in open_to_all]
    for path in open_to_all:
        path.chmod(0o777)
    try:
        url = f"sqlite:///{shell.folder}/q.db"
        node = shell.node("w1", "-b", url, "-P", "threads", "-c", "1", *words)
        status = Path(f"/proc/{node.pid}/status").read_text()
    finally:
        for path, mode in zip(open_to_all, modes, strict=True):
            path.chmod(stat.S_IMODE(mode))

    assert "Uid:\t65534\t65534\t65534\t65534" in status
    assert "Gid:\t65534\t65534\t65534\t65534" in status


def test_an_app_may_add_options_whose_values_go_to_its_steps(shell: Shell) -> None:
    add_to_app(
        shell,
        "import click",
        "from taskctl import bootsteps",
        "app.user_options['worker'].add(click.Option(['--watch'], default=7, type=int))",
        "class Watch(bootsteps.StartStopStep):",
        "    def __init__(self, parent, watch=None, **options):",
        "        self.watch = watch",
        "    def start(self, parent):",
        "        print('watching', self.watch, 'on', parent.hostname)",
        "app.steps['worker'].add(Watch)",
    )

    shell.node("w1", "--watch", "3")
    shell.node("w2")
    unknown = shell.proj("worker", "--wach", "3")
    without_app = shell.run("worker", "--watch", "3")

    assert "watching 3 on w1@h" in shell.err
    assert "watching 7 on w2@h" in shell.err
    assert unknown.code == without_app.code == 2
    assert "error: no option --wach in taskctl worker\n  did you mean: --watch" in unknown.err
    assert without_app.err.startswith("error: no option --watch in taskctl worker\n")


def test_options_of_every_command_are_told_before_it_runs(shell: Shell) -> None:
    add_to_app(
        shell,
        "import click",
        "from taskctl.signals import user_preload_options",
        "app.user_options['preload'].add(click.Option(['--theme'], default='dark'))",
        "@user_preload_options.connect",
        "def hear(sender, app, options, **_):",
        f"    print(app.main, options['theme'], file=open('{shell.folder}/theme', 'a'))",
    )

    shell.node("w1")
    listed = shell.proj("status", "--theme", "light")
    unknown = shell.proj("status", "--them", "light")

    assert (shell.folder / "theme").read_text() == "proj dark\nproj light\n"
    assert listed.code == 0
    assert unknown.code == 2
    assert "error: no option --them in taskctl status\n  did you mean: --theme" in unknown.err


def test_a_loader_and_skip_checks_reach_the_app(shell: Shell) -> None:
    (shell.folder / "own.py").write_text(
        "from taskctl.core.loaders import BaseLoader\n"
        "class Loader(BaseLoader):\n"
        "    def read_configuration(self):\n"
        "        return {'worker_concurrency': 3}\n"
    )
    add_to_app(shell, "assert os.environ['CELERY_SKIP_CHECKS'] == 'true'")

    said = shell.proj("worker", "--check", "--loader", "own:Loader", "--skip-checks")
    missing = shell.proj("worker", "--check", "--loader=own:Lader", CELERY_SKIP_CHECKS="true")

    assert said.code == 0, said.err
    assert "3 children" in said.err
    assert missing.code == 78
    assert "error: loader 'own:Lader'" in missing.err


def test_a_second_node_of_the_same_name_is_told_who_the_first_is(shell: Shell) -> None:
    first = shell.node("w1", "-c", "1")

    shell.start("-A", "proj", "worker", "-l", "INFO", "-n", "w1@h", "-c", "1")

    host = socket.gethostname()
    eventually(lambda: f"another node is called w1@h: pid {first.pid} on {host}, seen" in shell.err)


def test_every_line_of_a_json_log_is_an_object_with_all_there_is_to_know(shell: Shell) -> None:
    add_to_app(
        shell,
        "from taskctl.core.log import get_task_logger",
        "@app.task",
        "def fail():",
        "    get_task_logger(__name__).warning('two\\nlines')",
        "    raise ValueError('no')",
    )
    node = shell.node("w1", "-c", "1", "--log-format=json")

    shell.python("from proj.celery import fail; fail.apply_async(task_id='the-id')")
    eventually(lambda: "raised unexpected" in shell.err)
    node.send_signal(signal.SIGTERM)
    assert node.wait(10) == 0

    lines = [json.loads(line) for line in shell.err.splitlines()]
    assert {line["node"] for line in lines} == {"w1@h"}
    assert all({"time", "level", "logger", "message", "pid"} <= line.keys() for line in lines)
    (said,) = [line for line in lines if line["message"] == "two\nlines"]
    assert (said["task_id"], said["task_name"]) == ("the-id", "proj.celery.fail")
    assert said["pid"] != node.pid
    (failed,) = [line for line in lines if "raised unexpected" in line["message"]]
    assert "ValueError: no" in json.dumps(failed)


def test_beat_runs_beside_the_worker_and_ends_with_it(shell: Shell) -> None:
    add_to_app(
        shell,
        "app.conf.beat_schedule = {'often': {'task': 'proj.celery.say', 'schedule': 0.3,"
        " 'args': ('from beat',)}}",
    )
    node = shell.node("w1", "-c", "1", "-B", "-s", "%n.schedule")
    eventually(lambda: shell.err.count("from beat") >= 2)
    assert (shell.folder / "w1.schedule.sqlite").exists()
    children = Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()

    node.send_signal(signal.SIGTERM)

    assert node.wait(10) == 0
    assert len(children) == 2
    assert all(gone(int(pid)) for pid in children)


def test_what_is_meant_for_beat_has_no_effect_without_it(shell: Shell) -> None:
    said = shell.proj("worker", "--check", "-s", "x.schedule")

    assert said.code == 0
    assert "note: --schedule has no effect without -B\n" in said.err


def test_a_node_has_a_queue_of_its_own_if_the_settings_say_so(shell: Shell) -> None:
    add_to_app(shell, "app.conf.worker_direct = True")
    shell.node("w1", "-c", "1")
    shell.node("w2", "-c", "1")

    answer = shell.python(
        "from proj.celery import *\n"
        "say.apply_async(['for w2 alone'], queue='w2@h.dq2').get(timeout=10)\n"
        "print('done')"
    )

    assert answer == "done"
    eventually(lambda: "for w2 alone" in shell.err)


def test_check_asks_broker_and_backend_and_reads_the_settings(shell: Shell) -> None:
    fine = shell.proj("worker", "--check")
    no_backend = shell.proj("worker", "--check", "--result-backend", "redis://127.0.0.1:1/0")
    add_to_app(shell, "app.conf.update(task_acks_lat=True)")
    wrong = shell.proj("worker", "--check")

    assert fine.code == 0
    assert fine.err.endswith(
        "ok: everything loads, the broker answers, so does the result backend\n"
    )
    assert no_backend.code == 69
    assert "127.0.0.1:1/0" in no_backend.err
    assert wrong.code in (2, 78)
    assert "task_acks_late?" in wrong.err


def test_an_override_on_the_command_line_is_checked_and_known_by_its_origin(shell: Shell) -> None:
    shell.node("w1", "-c", "1", ".redirect_stdouts_level=(string)ERROR", "task_track_started=yes")

    said = shell.proj("inspect", "conf", "-j")

    assert said.json["w1@h"]["worker_redirect_stdouts_level"] == "ERROR"
    assert said.json["w1@h"]["task_track_started"] is True


def test_the_deadline_of_a_warm_shutdown_may_stand_on_the_command_line(shell: Shell) -> None:
    node = shell.node("w1", "-c", "1", "--shutdown-timeout", "0.3")
    shell.python("from proj.celery import nap; nap.delay(60)")
    eventually(lambda: "nap[" in shell.err and _busy(shell))

    node.send_signal(signal.SIGTERM)

    assert node.wait(10) == 1
    assert "cut off by the shutdown" in shell.err


def _busy(shell: Shell) -> bool:
    said = shell.proj("inspect", "active", "-j")
    return said.code == 0 and bool(said.json["w1@h"])
