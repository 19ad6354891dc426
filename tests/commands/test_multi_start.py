"""multi start: ready means ready, and a node that is not says why."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from taskctl.core.process import birth, is_alive

from ..support.nodes import Host
from ..support.waiting import eventually

HOST = socket.gethostname()


def test_start_returns_when_every_node_is_ready(host: Host) -> None:
    done = host.multi("start", "2", "--include:2=slow-0.4", "-o", "json")

    assert done.code == 0
    assert done.document["schema"] == "taskctl/multi.start/1"
    assert done.document["ok"] is True
    assert [done.node(name)["state"] for name in ("celery1", "celery2")] == ["ready", "ready"]
    assert done.node("celery2")["pid"] == host.pid("celery2")
    assert done.node("celery2")["seconds"] >= 0.4
    assert done.node("celery2")["queues"] == ["images", "video"]
    assert done.err == ""


def test_in_a_pipe_it_prints_celerys_lines(host: Host) -> None:
    done = host.multi("start", "w1", "w2", "--include:w2=die-78")

    splash, *lines = done.out.splitlines()
    assert splash.startswith("taskctl multi v")
    assert lines == [
        "> Starting nodes...",
        f"\t> w1@{HOST}: OK",
        f"\t> w2@{HOST}: * Child terminated with exit code 78",
        "FAILED",
    ]


def test_a_node_that_dies_shows_its_exit_code_and_last_words(host: Host) -> None:
    done = host.multi("start", "2", "--include:2=die-3", "-o", "json")

    assert done.code == 1
    assert done.node("celery1")["state"] == "ready"
    assert done.node("celery2")["code"] == "failed"
    assert done.node("celery2")["exit_code"] == 3
    assert done.node("celery2")["message"] == "it ended with exit 3 before it was ready"


def test_the_last_words_of_a_dead_node_are_on_stderr(host: Host) -> None:
    done = host.multi("start", "w1", "--include=die-3")

    assert done.err.splitlines() == [
        "   | stand-in: broken as asked, die 3",
        f"   w1@{HOST}: it ended with exit 3 before it was ready",
        "   more: taskctl multi logs w1",
    ]


def test_only_the_words_of_this_start_are_shown(host: Host) -> None:
    (host.folder / "log").mkdir()
    (host.folder / "log" / "w1.log").write_text("of yesterday\n")

    done = host.multi("start", "w1", "--include=die-3")

    assert "of yesterday" not in done.err
    assert host.log("w1").startswith("of yesterday\nstand-in: broken")


def test_a_node_that_says_why_it_fails_is_quoted(host: Host) -> None:
    done = host.multi("start", "w1", "--include=fail-78", "-o", "json")

    assert done.code == 1
    assert done.node("w1")["exit_code"] == 78
    assert done.node("w1")["message"] == "unknown setting 'task_acks_lat'"


def test_a_node_that_is_killed_while_booting_is_a_failure(host: Host) -> None:
    done = host.multi("start", "w1", "--include=crash", "-o", "json")

    assert done.code == 1
    assert done.node("w1")["exit_code"] == 137
    assert done.node("w1")["message"] == "killed by signal 9 before it was ready"


def test_a_node_that_is_not_ready_in_time_is_a_failure_and_lives_on(host: Host) -> None:
    done = host.multi("start", "w1", "--include=unready", "--ready-timeout=0.5", "-o", "json")

    pid = done.node("w1")["pid"]
    assert done.code == 1
    assert done.node("w1")["message"] == f"not ready after 0.5 s; left running, pid {pid}"
    assert host.multi("status", "-o", "json").node("w1")["state"] == "starting"


def test_nobody_waits_if_told_so(host: Host) -> None:
    done = host.multi("start", "w1", "--include=slow-20", "--no-wait", "-o", "json")

    assert done.code == 0
    assert done.node("w1")["state"] == "spawned"


def test_a_node_that_runs_already_is_left_alone(host: Host) -> None:
    host.start("w1")
    pid = host.pid("w1")

    done = host.multi("start", "w1", "w2")

    assert done.code == 0
    assert host.pid("w1") == pid
    assert done.err == f"note: w1@{HOST} runs already, pid {pid}\n"
    assert f"\t> w1@{HOST}: OK" in done.out


def test_nodes_boot_at_once_or_as_many_as_told(host: Host) -> None:
    at_once = host.multi("start", "3", "--include=slow-0.5", "-o", "json").document
    in_turn = host.multi("start", "a", "b", "--include=slow-0.3", "--parallel=1", "-o", "json")

    assert max(node["ok"]["seconds"] for node in at_once["nodes"].values()) < 1.4
    assert in_turn.code == 0
    first, second = in_turn.node("a")["pid"], in_turn.node("b")["pid"]
    assert _started(second) - _started(first) >= 0.3


def test_a_node_is_a_session_of_its_own_with_nothing_of_ours_open(host: Host) -> None:
    host.start("w1")

    pid = host.pid("w1")
    files = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()}
    assert os.getsid(pid) == pid
    assert files == {"/dev/null", f"{host.folder}/log/w1.log", f"{host.folder}/run/w1.pid"}


def test_the_stale_file_of_a_stranger_is_replaced_and_the_stranger_left_alone(host: Host) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            (host.folder / "run").mkdir()
            (host.folder / "run" / "w1.pid").write_text(f"{stranger.pid}\n")

            done = host.multi("start", "w1")

            assert done.code == 0
            assert host.pid("w1") != stranger.pid
            assert f"removed stale pidfile {host.folder}/run/w1.pid: " in done.err
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_folder_that_cannot_be_made_is_exit_73_and_one_clear_line(host: Host) -> None:
    (host.folder / "file").write_text("")

    for option in ("--pidfile", "--logfile"):
        done = host.multi("start", "w1", f"{option}={host.folder}/file/%n.x", "-o", "json")

        assert done.code == 73
        assert done.node("w1")["message"] == (
            f"cannot make {host.folder}/file: Not a directory; "
            f"choose another place with --pidfile and --logfile"
        ) or done.node("w1")["message"].startswith(f"cannot read pidfile {host.folder}/file/w1.x")


def test_an_interpreter_that_is_not_there_is_named(host: Host) -> None:
    done = host.multi("start", "w1", "--executable=/no/python", "-o", "json")

    assert done.code == 1
    assert done.node("w1")["message"] == (
        "cannot run /no/python: No such file or directory; see --executable"
    )


def test_a_state_folder_that_cannot_be_made_stops_no_node(host: Host) -> None:
    (host.folder / "file").write_text("")

    done = host.multi("start", "w1", TASKCTL_STATE_DIR=f"{host.folder}/file/state")

    assert done.code == 0
    assert "cannot write the record of w1@" in done.err
    assert "TASKCTL_STATE_DIR" in done.err


def test_a_record_can_be_read_by_its_owner_alone(host: Host) -> None:
    host.start("w1", "-A", "proj", CELERY_BROKER_URL="redis://:secret@a/0")

    (path,) = (host.folder / "state" / "multi").glob("*.json")
    record = json.loads(path.read_text())
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert record["pid"] == host.pid("w1")
    assert record["env"]["CELERY_BROKER_URL"] == "redis://:secret@a/0"
    assert record["spec"]["cwd"] == str(host.folder)


def test_show_names_expand_and_get_touch_nothing(host: Host) -> None:
    names = host.multi("names", "2")
    show = host.multi("show", "w1", "-Q", "a b", "-b", "redis://u:canary@a/0")
    expand = host.multi("expand", "%n/%h%I", "w1@a.b", "w2@c")
    got = host.multi("get", "w2", "w1", "w2", "-c:2", "7")

    assert names.out == f"celery1@{HOST}\ncelery2@{HOST}\n"
    assert " worker -Q 'a b' -n w1@" in show.out
    assert "canary" not in show.out
    assert expand.out == "w1/w1@a.b%I\nw2/w2@c%I\n"
    assert got.out.startswith("-m taskctl worker -c 7 -n w2@")
    assert {names.code, show.code, expand.code, got.code} == {0}
    assert list(host.folder.iterdir()) == []


def test_show_shows_secrets_only_if_told(host: Host) -> None:
    done = host.multi("show", "w1", "-b", "redis://u:canary@a/0", "--no-censor")

    assert "redis://u:canary@a/0" in done.out


def test_get_of_a_node_that_is_not_there_fails_and_says_so(host: Host) -> None:
    done = host.multi("get", "w9", "w1", "w2")

    assert (done.code, done.out) == (1, "")
    assert done.err == f"error: no node 'w9': there are w1@{HOST}, w2@{HOST}\n"


def test_wrong_usage_is_exit_2_and_starts_nothing(host: Host) -> None:
    for argv in (
        ["start", "w1", "--concurency=3"],
        ["strat", "w1"],
        [],
        ["start", "w1", "--pidfile=%x.pid"],
        ["start", "w1", "-o", "xml"],
        ["stop"],
        ["kill"],
        ["restart", "w1"],
        ["stop", "w1", "--then-kill"],
    ):
        done = host.multi(*argv)
        assert done.code == 2, argv
        assert done.err.startswith("error: ")
        assert done.out == ""
    assert list(host.folder.iterdir()) == []


def test_help_lists_every_sub_command_and_option(host: Host) -> None:
    done = host.multi("help")

    assert done.code == 0
    for word in ("start", "stopwait", "forget", "--ready-timeout", "%n"):
        assert word in done.out
    assert host.multi("start", "--help").out == done.out
    assert max(map(len, done.out.splitlines())) <= 80


def _started(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def test_no_stand_in_outlives_its_test(host: Host) -> None:
    host.start("w1")
    pid = host.pid("w1")
    born = birth(pid)
    assert born is not None

    host.kill_all()

    eventually(lambda: not is_alive(pid, born))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_node_that_gives_up_root_owns_the_folders_made_for_it(host: Host) -> None:
    done = host.multi("start", "w1", "--uid=1234", "--gid=77", "--include=die-3")

    assert done.code == 1
    for path in (host.folder / "run", host.folder / "log", host.folder / "log" / "w1.log"):
        assert (path.stat().st_uid, path.stat().st_gid) == (1234, 77)


def test_a_user_that_does_not_exist_is_refused_before_anything_starts(host: Host) -> None:
    done = host.multi("start", "w1", "--uid=nobody-of-that-name")

    assert done.code == 2
    assert done.err == "error: --uid nobody-of-that-name: no such user on this host\n"
    assert list(host.folder.iterdir()) == []
