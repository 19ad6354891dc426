"""Starting in the background: ready, failed and dead are told apart, and nothing leaks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from taskctl.core.daemon import READY_VARIABLE, read_report, tail
from taskctl.core.places import log_folder, make_folder, run_folder, state_folder
from taskctl.core.process import age, birth, is_alive

from .support.waiting import eventually

DAEMON = """
import os, sys, time
from taskctl.core.daemon import daemonize, report_ready, report_failed
daemonize(sys.argv[1] or None)
print("words on stdout", flush=True)
print("words on stderr", file=sys.stderr, flush=True)
how = sys.argv[2]
if how == "ready":
    report_ready({"seconds": 0.1, "queues": ["celery"]})
    open(sys.argv[3], "w").write(f"{os.getpid()} {os.getsid(0)}")
    print("words after ready", flush=True)
    time.sleep(60)
elif how == "failed":
    report_failed(78, "unknown setting 'task_acks_lat'")
    sys.exit(78)
elif how == "killed":
    os.kill(os.getpid(), 9)
sys.exit(3)
"""


def run_daemon(
    tmp_path: Path, how: str, logfile: str = "", env: dict[str, str] | None = None, fd: int = -1
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DAEMON, logfile, how, str(tmp_path / "who")],
        capture_output=True,
        text=True,
        timeout=20,
        env={**os.environ, **(env or {})},
        pass_fds=() if fd < 0 else (fd,),
    )


def test_the_starting_process_exits_0_once_the_daemon_is_ready(tmp_path: Path) -> None:
    done = run_daemon(tmp_path, "ready", str(tmp_path / "log"))

    pid, session = map(int, eventually((tmp_path / "who").read_text).split())
    born = birth(pid)
    os.kill(pid, signal.SIGKILL)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert session == pid
    assert born is not None
    assert "words on stdout" in (tmp_path / "log").read_text()
    eventually(lambda: not is_alive(pid, born))


def test_a_daemon_without_logfile_drops_its_output_once_it_is_ready(tmp_path: Path) -> None:
    done = run_daemon(tmp_path, "ready")

    pid = int(eventually((tmp_path / "who").read_text).split()[0])
    outputs = {os.readlink(f"/proc/{pid}/fd/{number}") for number in (0, 1, 2)}
    os.kill(pid, signal.SIGKILL)
    assert done.returncode == 0
    assert outputs == {"/dev/null"}


def test_a_daemon_that_fails_tells_why_and_lends_its_exit_code(tmp_path: Path) -> None:
    done = run_daemon(tmp_path, "failed")

    assert done.returncode == 78
    assert done.stderr == "error: unknown setting 'task_acks_lat'\n"


def test_a_daemon_that_dies_shows_its_last_words(tmp_path: Path) -> None:
    done = run_daemon(tmp_path, "died")

    assert done.returncode == 3
    assert done.stderr == (
        "words on stdout\nwords on stderr\n"
        "error: the worker ended with exit 3 before it was ready\n"
    )


def test_a_daemon_that_is_killed_gives_128_and_the_signal(tmp_path: Path) -> None:
    assert run_daemon(tmp_path, "killed", str(tmp_path / "log")).returncode == 137


def test_a_daemon_passes_its_report_on_to_who_started_the_starter(tmp_path: Path) -> None:
    reader, writer = os.pipe()

    done = run_daemon(tmp_path, "ready", env={READY_VARIABLE: str(writer)}, fd=writer)

    os.close(writer)
    with open(reader, "rb") as pipe:
        report = read_report(pipe.read())
    assert report is not None
    assert done.returncode == 0
    assert report["queues"] == ["celery"]
    assert report["pid"] == int((tmp_path / "who").read_text().split()[0])
    os.kill(report["pid"], signal.SIGKILL)


def test_the_ready_pipe_reaches_no_child_and_ends_with_its_process() -> None:
    """A forked pool child that lived on with the pipe open would hide its parent's death."""
    reader, writer = os.pipe()
    program = (
        "import os, subprocess, sys, time\n"
        "from taskctl.core.daemon import claim_ready_pipe\n"
        "claim_ready_pipe()\n"
        f"assert {READY_VARIABLE!r} not in os.environ\n"
        "subprocess.Popen(['sleep', '60'], close_fds=False)\n"
        "if os.fork() == 0:\n"
        "    time.sleep(60)\n"
        "os._exit(3)\n"
    )

    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, READY_VARIABLE: str(writer)},
        pass_fds=(writer,),
        start_new_session=True,
    )
    os.close(writer)
    code = process.wait()
    with open(reader, "rb") as pipe:
        said = pipe.read()

    os.killpg(process.pid, signal.SIGKILL)
    assert (code, said) == (3, b"")


def test_a_report_that_nobody_asked_for_is_no_trouble() -> None:
    program = (
        "from taskctl.core.daemon import report_ready, report_failed\n"
        "report_ready({'queues': []})\n"
        "report_failed(1, 'x')\n"
    )

    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_who_asked_may_be_gone_by_the_time_of_the_report() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    program = "from taskctl.core.daemon import report_ready\nreport_ready({'queues': []})\n"

    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, READY_VARIABLE: str(writer)},
        pass_fds=(writer,),
    )

    os.close(writer)
    assert done.returncode == 0


@pytest.mark.parametrize("line", [b"", b"\n", b"ready", b"[]", b'{"pid": 1}', b"\xff\n"])
def test_what_is_no_report_is_none(line: bytes) -> None:
    assert read_report(line) is None


def test_a_report_is_read_as_it_was_written() -> None:
    facts = {"state": "failed", "exit": 78, "error": "größe"}

    assert read_report(json.dumps(facts).encode() + b"\n") == facts


def test_the_tail_of_a_log_begins_where_this_start_began(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("of yesterday\n")
    start = log.stat().st_size
    with log.open("a") as file:
        file.writelines(f"line {number}\n" for number in range(50))

    assert tail(str(log), start) == [f"line {number}" for number in range(30, 50)]
    assert tail(str(log), start, 2) == ["line 48", "line 49"]
    assert tail(str(tmp_path / "absent")) == []


def test_the_age_of_a_process_counts_from_its_start() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        young = age(process.pid)
        process.kill()

    assert young is not None
    assert young < 5
    own = age(os.getpid())
    assert own is not None
    assert own >= young


def test_places_come_from_taskctl_then_systemd_then_the_home(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for name in ("TASKCTL_RUN_DIR", "TASKCTL_LOG_DIR", "TASKCTL_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("RUNTIME_DIRECTORY", "LOGS_DIRECTORY", "STATE_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", "/home/ops/.state")

    assert (run_folder(), log_folder(), state_folder()) == (
        "/home/ops/.state/taskctl/run",
        "/home/ops/.state/taskctl/log",
        "/home/ops/.state/taskctl",
    )
    monkeypatch.setenv("XDG_RUNTIME_DIR", "relative/does/not/count")
    assert run_folder() == "/home/ops/.state/taskctl/run"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert run_folder() == "/run/user/1000/taskctl"
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/shop:/run/shop-more")
    assert run_folder() == "/run/shop"
    monkeypatch.setenv("TASKCTL_RUN_DIR", "/srv/run")
    assert run_folder() == "/srv/run"


def test_root_has_the_folders_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("TASKCTL_RUN_DIR", "TASKCTL_LOG_DIR", "TASKCTL_STATE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("RUNTIME_DIRECTORY", "LOGS_DIRECTORY", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)

    assert (run_folder(), log_folder(), state_folder()) == (
        "/run/taskctl",
        "/var/log/taskctl",
        "/var/lib/taskctl",
    )


def test_a_folder_that_is_a_file_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(NotADirectoryError):
        make_folder(str(tmp_path / "file"))
