"""multi stop, restart, kill and status: exactly the right process, and the truth about it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskctl.core.process import birth, is_alive

from ..support.nodes import STAND_IN, Host
from ..support.waiting import eventually

HOST = socket.gethostname()


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that is none of ours."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_stop_signals_and_returns(host: Host) -> None:
    host.start("w1", "--include=linger-30")
    pid = host.pid("w1")

    done = host.multi("stop", "w1")

    assert done.code == 0
    assert done.out.splitlines()[1:] == ["> Stopping nodes...", f"\t> w1@{HOST}: TERM -> {pid}"]
    assert birth(pid) is not None
    eventually(lambda: "got TERM" in host.log("w1"))


@pytest.mark.parametrize("command", ["stopwait", "stop_verify"])
def test_stopwait_returns_when_the_nodes_are_gone(host: Host, command: str) -> None:
    host.start("w1", "w2", "--include:w2=linger-0.4")
    pids = [host.pid("w1"), host.pid("w2")]

    done = host.multi(command, "w1", "w2", "-o", "json")

    assert done.code == 0
    assert [done.node(name)["state"] for name in ("w1", "w2")] == ["stopped", "stopped"]
    assert done.node("w2")["seconds"] >= 0.4
    assert [birth(pid) for pid in pids] == [None, None]
    assert list((host.folder / "run").glob("*.pid")) == []


def test_another_signal_may_be_sent(host: Host) -> None:
    host.start("w1")

    host.multi("stopwait", "w1", "-INT")

    assert "got INT" in host.log("w1")


def test_a_wait_that_runs_out_is_exit_124_and_the_node_lives(host: Host) -> None:
    host.start("w1", "--include=deaf")
    pid = host.pid("w1")

    done = host.multi("stop", "w1", "--wait", "--timeout=0.3", "-o", "json")

    assert done.code == 124
    assert done.node("w1")["message"] == f"pid {pid} still runs after 0 s"
    assert birth(pid) is not None


def test_what_does_not_stop_in_time_is_killed_if_told_so(host: Host) -> None:
    host.start("w1", "--include=deaf")

    done = host.multi("stopwait", "w1", "--timeout=0.3", "--then-kill", "-o", "json")

    assert done.code == 0
    assert done.node("w1")["state"] == "killed"
    assert not (host.folder / "run" / "w1.pid").exists()


def test_a_node_that_does_not_run_is_no_failure_to_stop(host: Host) -> None:
    done = host.multi("stopwait", "w1")

    assert done.code == 0
    assert done.out.splitlines()[1:] == [f"> w1@{HOST}: DOWN"]
    assert list(host.folder.iterdir()) == []


@pytest.mark.parametrize("command", ["stop", "stopwait", "kill", "restart"])
def test_a_recycled_pid_is_never_signalled(
    host: Host, stranger: subprocess.Popen[bytes], command: str
) -> None:
    host.start("w1")
    os.kill(host.pid("w1"), signal.SIGKILL)
    (host.folder / "run" / "w1.pid").write_text(f"{stranger.pid}\n")

    done = host.multi(command, "w1", "-o", "json")

    assert done.code == 0
    assert stranger.poll() is None
    assert f"removed stale pidfile {host.folder}/run/w1.pid: " in done.err
    assert f"pid {stranger.pid} does not hold it" in done.err
    assert "nothing was signalled" in done.err


def test_kill_ends_nodes_that_are_deaf_and_tidies_up(host: Host) -> None:
    host.start("w1", "--include=deaf")
    pid = host.pid("w1")

    done = host.multi("kill", "w1")

    assert done.code == 0
    assert done.out.splitlines()[1:] == [f"Sending KILL to node w1@{HOST} ({pid})"]
    assert birth(pid) is None
    assert not (host.folder / "run" / "w1.pid").exists()


def test_a_kill_can_be_tried_dry(host: Host) -> None:
    host.start("w1")

    done = host.multi("kill", "w1", "w2", "--dry-run")

    assert done.code == 0
    assert done.out == f"would kill 1 of 2 nodes\n  w1@{HOST}  pid {host.pid('w1')}\n"
    assert birth(host.pid("w1")) is not None


def test_restart_needs_only_names(host: Host) -> None:
    elsewhere = host.folder / "elsewhere"
    elsewhere.mkdir()
    host.start("w1", "-A", "proj", "-Q", "a b", CELERY_MARK="kept")
    old = host.pid("w1")
    before = host.told("w1")

    done = host.multi("restart", "w1", "-o", "json", cwd=elsewhere)

    assert done.code == 0
    assert (done.node("w1")["state"], done.node("w1")["old_pid"]) == ("ready", old)
    assert host.pid("w1") != old
    assert host.told("w1") == before
    assert before["mark"] == "kept"


def test_restart_without_names_means_all_on_record(host: Host) -> None:
    host.start("w1", "w2")
    old = {host.pid("w1"), host.pid("w2")}

    done = host.multi("restart", "-o", "json")

    assert done.code == 0
    assert {done.node("w1")["old_pid"], done.node("w2")["old_pid"]} == old


def test_restart_starts_what_did_not_run(host: Host) -> None:
    host.start("w1")
    host.multi("stopwait", "w1")

    done = host.multi("restart", "w1")

    assert done.code == 0
    assert done.out.splitlines()[1:] == [f"> Restarting node w1@{HOST}: OK"]
    assert birth(host.pid("w1")) is not None


def test_an_option_given_at_a_restart_replaces_the_recorded_one_alone(host: Host) -> None:
    host.start("w1", "w2", "-A", "proj", "-Q", "a", "-c", "2")

    host.multi("restart", "w1", "w2", "-c:w1", "9")

    assert _between(host, "w1") == ["-A", "proj", "-Q", "a", "-c", "9"]
    assert _between(host, "w2") == ["-A", "proj", "-Q", "a", "-c", "2"]


def test_a_restart_that_names_the_app_is_a_whole_line_as_in_celery(host: Host) -> None:
    host.start("w1", "-A", "proj", "-Q", "a", "-c", "2", CELERY_MARK="of then")

    host.multi("restart", "w1", "-A", "other", "-c", "3", f"--cmd={STAND_IN}")

    assert _between(host, "w1") == ["-A", "other", "-c", "3"]
    assert host.told("w1")["mark"] is None


def test_a_restart_to_another_pidfile_stops_the_node_at_the_old_one(host: Host) -> None:
    host.start("w1")
    old = host.pid("w1")

    done = host.multi("restart", "w1", f"--pidfile={host.folder}/%n.pid")

    assert done.code == 0
    assert birth(old) is None
    assert birth(int((host.folder / "w1.pid").read_text())) is not None


def test_a_node_that_does_not_come_back_is_a_failure(host: Host) -> None:
    host.start("w1", "w2")

    done = host.multi("restart", "w1", "w2", "--include:w1=die-3", "-o", "json")

    assert done.code == 1
    assert done.node("w1")["exit_code"] == 3
    assert done.node("w2")["state"] == "ready"


def test_a_rolling_restart_halts_at_the_first_that_does_not_come_back(host: Host) -> None:
    host.start("a", "b", "c")
    pids = {name: host.pid(name) for name in "abc"}

    done = host.multi("restart", "a", "b", "c", "--rolling", "--include:b=die-3", "-o", "json")

    assert done.code == 1
    assert done.node("a")["state"] == "ready"
    assert done.node("b")["exit_code"] == 3
    assert done.node("c")["code"] == "held"
    assert done.node("c")["message"] == f"left as it was, since b@{HOST} failed"
    assert host.pid("c") == pids["c"]
    assert birth(pids["c"]) is not None


def test_a_second_restart_of_a_node_is_told_to_try_later(host: Host) -> None:
    host.start("w1", "--include=linger-30")
    with subprocess.Popen(
        host.command("restart", "w1"),
        env=host.env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as first:
        try:
            eventually(lambda: "got TERM" in host.log("w1"))

            done = host.multi("restart", "w1")

            assert done.code == 75
            assert "another start or restart of w1@" in done.err
        finally:
            first.kill()


def test_a_broken_record_is_named_and_nothing_happens(host: Host) -> None:
    host.start("w1")
    (path,) = (host.folder / "state" / "multi").glob("*.json")
    path.write_text("{")

    done = host.multi("restart", "w1")

    assert done.code == 1
    assert str(path) in done.err
    assert birth(host.pid("w1")) is not None


def test_status_tells_all_some_or_none(host: Host) -> None:
    host.start("w1", "w2", "w3")
    all_ready = host.multi("status", "-o", "json")
    host.multi("stopwait", "w2")
    os.kill(host.pid("w3"), signal.SIGKILL)
    eventually(lambda: host.multi("status", "w3", "-o", "json").node("w3")["state"] == "stale")
    some = host.multi("status", "-o", "json")
    none = host.multi("status", "w2")

    assert (all_ready.code, some.code, none.code) == (0, 3, 69)
    assert [some.node(name)["state"] for name in ("w1", "w2", "w3")] == ["ready", "down", "stale"]
    assert some.node("w1")["pid"] == host.pid("w1")
    assert none.out.splitlines()[1].split("\t")[:2] == [f"w2@{HOST}", "down"]
    assert (host.folder / "run" / "w3.pid").exists()


def test_stop_finds_a_node_that_was_started_under_another_host_name(host: Host) -> None:
    host.start("w1", "--hostname=web3")

    done = host.multi("stopwait", "w1", "-o", "json")

    assert done.document["nodes"]["w1@web3"]["ok"]["state"] == "stopped"


def test_logs_shows_the_ends_of_the_logs(host: Host) -> None:
    host.start("w1", "w2")
    host.multi("stopwait")

    one = host.multi("logs", "w1", "-n", "1")
    both = host.multi("logs")

    assert one.out == "stand-in: got TERM\n"
    assert both.out == (f"w1@{HOST}  stand-in: got TERM\nw2@{HOST}  stand-in: got TERM\n")
    assert host.multi("logs", "w3").code == 1


def test_logs_can_be_followed_over_a_rotation(host: Host) -> None:
    host.start("w1")
    log = host.folder / "log" / "w1.log"
    with subprocess.Popen(
        host.command("logs", "w1", "-f"), env=host.env, stdout=subprocess.PIPE, text=True
    ) as follower:
        try:
            assert follower.stdout is not None
            log.write_text("already there\n")
            assert follower.stdout.readline() == "already there\n"
            log.rename(log.with_suffix(".1"))
            log.write_text("after the rotation\n")

            assert follower.stdout.readline() == "after the rotation\n"
        finally:
            follower.kill()


def test_forget_drops_the_record(host: Host) -> None:
    host.start("w1")
    host.multi("stopwait", "w1")

    done = host.multi("forget", "w1")

    assert done.out == f"w1@{HOST}  forgotten\n"
    assert list((host.folder / "state" / "multi").iterdir()) == []
    assert host.multi("restart", "w1").code == 2


def test_quiet_says_nothing_but_errors(host: Host) -> None:
    assert host.start("w1", "-q").out == ""
    done = host.multi("stopwait", "w1", "--quiet")

    assert (done.code, done.out, done.err) == (0, "", "")


def test_a_table_has_one_line_for_each_step(host: Host) -> None:
    started = host.start("w1", "-o", "table")
    pid = host.pid("w1")
    stopped = host.multi("stopwait", "w1", "-o", "table")

    (line,) = started.out.splitlines()
    assert line.startswith(f"w1@{HOST}  ready    0.")
    assert line.endswith(f"s  pid {pid}  images,video")
    assert started.err == "started 1 of 1 node\n"
    first, second = stopped.out.splitlines()
    assert first == f"w1@{HOST}  TERM to {pid}"
    assert second.startswith(f"w1@{HOST}  stopped  0.")
    assert stopped.err == "stopped 1 of 1 node\n"


def test_names_alone_are_for_xargs(host: Host) -> None:
    assert host.start("2", "-o", "name").out == f"celery1@{HOST}\ncelery2@{HOST}\n"


def test_a_killed_multi_leaves_its_nodes_running(host: Host) -> None:
    with subprocess.Popen(
        host.command("start", "w1", "--include=slow-0.5"),
        env=host.env,
        cwd=host.folder,
        stdout=subprocess.DEVNULL,
    ) as multi:
        pidfile = host.folder / "run" / "w1.pid"
        eventually(lambda: pidfile.exists() and Path(f"{pidfile}.argv").exists())
        multi.kill()

    eventually(lambda: host.multi("status", "w1").code == 0)
    pid = host.pid("w1")
    born = birth(pid)
    assert born is not None
    assert host.multi("stopwait", "w1").code == 0
    assert not is_alive(pid, born)


def _between(host: Host, name: str) -> list[str]:
    argv = host.told(name)["argv"]
    return argv[: argv.index("-n")]
