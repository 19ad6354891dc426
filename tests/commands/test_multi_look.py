"""multi status and logs: the truth about nodes, from their pidfiles, health files and logs."""

from __future__ import annotations

import os
import pty
import signal
import socket
import subprocess
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from taskctl.multi.logs import point_in_time, show_logs

from ..support.nodes import Host
from ..support.waiting import eventually

HOST = socket.gethostname()


def test_stop_says_what_a_node_is_at(host: Host) -> None:
    host.start("w1", "w2", "w3", "--include:w1=busy", "--include:w2=idle")
    pids = {name: host.pid(name) for name in ("w1", "w2", "w3")}

    done = host.multi("stop", "w1", "w2", "w3", "w4", "-o", "table")

    assert done.code == 0
    first, *others = done.out.splitlines()
    told = f"w1@{HOST}  TERM to {pids['w1']}  2 tasks running, oldest "
    assert first.removeprefix(told).removesuffix(" s").isdigit(), first
    assert others == [
        f"w2@{HOST}  TERM to {pids['w2']}  idle",
        f"w3@{HOST}  TERM to {pids['w3']}",
        f"w4@{HOST}  not running",
    ]
    assert done.err == "told 3 of 4 nodes to stop; not waiting (stopwait waits)\n"


@pytest.mark.parametrize(
    ("verb", "state", "reason"),
    [
        ("busy", "ready", None),
        ("blind", "unready", "the broker is away"),
        ("stuck", "stuck", "said nothing for"),
    ],
)
def test_status_believes_the_health_file_over_the_lock(
    host: Host, verb: str, state: str, reason: str | None
) -> None:
    host.start("w1", f"--include={verb}")

    done = host.multi("status", "-o", "json")

    assert done.node("w1")["state"] == state
    assert done.code == (0 if state == "ready" else 3)
    assert (reason is None and done.err == "") or reason in done.err
    if state == "ready":
        assert done.node("w1")["running_tasks"] == 2
        assert 8 <= done.node("w1")["oldest_seconds"] < 60


def test_the_health_file_of_another_process_is_not_believed(host: Host) -> None:
    host.start("w1", "--include=busy")
    (path,) = (host.folder / "run").glob("*.health")
    path.write_text(path.read_text().replace(str(host.pid("w1")), "1"))

    done = host.multi("status", "-o", "json")

    assert done.node("w1")["running_tasks"] is None
    assert done.node("w1")["state"] == "ready"


def test_a_status_can_be_chosen_sorted_and_cut(host: Host) -> None:
    host.start("w1", "w2", "--include:w1=busy", "--include:w2=idle")
    host.multi("stopwait", "w2")

    by_state = host.multi("status", "--where", "state == ready", "--fields", "node,running_tasks")
    names = host.multi("status", "--sort", "-node", "-o", "name")
    bare = host.multi("status", "--no-header", "--fields", "state")
    wrong = host.multi("status", "--sort", "nod")

    assert by_state.out == f"node\trunning_tasks\nw1@{HOST}\t2\n"
    assert names.out == f"w2@{HOST}\nw1@{HOST}\n"
    assert bare.out == "ready\ndown\n"
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == "error: --sort nod: there is no such key\n  did you mean: node\n"


def test_a_narrow_status_cuts_names_in_the_middle_and_never_numbers(host: Host) -> None:
    host.start("a-very-long-name-of-a-node@web4", "-o", "name")
    pid = host.pid("a-very-long-name-of-a-node")

    done = host.multi("status", "-o", "table", COLUMNS="50")

    title, row = done.out.splitlines()
    assert max(len(title), len(row)) <= 50
    assert "…" in row.split()[0]
    assert str(pid) in row
    assert "too narrow for LOG" in done.err


def test_a_watched_status_appends_lines_of_json_in_a_pipe(host: Host) -> None:
    host.start("w1")
    with subprocess.Popen(
        host.command("status", "-w", "0.1"), env=host.env, stdout=subprocess.PIPE, text=True
    ) as watched:
        try:
            assert watched.stdout is not None
            assert '"state": "ready"' in watched.stdout.readline()
            assert '"state": "ready"' in watched.stdout.readline()
        finally:
            watched.send_signal(signal.SIGINT)

    assert watched.returncode == 130


def test_a_broken_record_hides_no_other_node_from_status(host: Host) -> None:
    host.start("w1", "w2")
    (path,) = (host.folder / "state" / "multi").glob("w1@*.json")
    path.write_text("{")

    done = host.multi("status", "-o", "json")

    assert done.node("w2")["state"] == "ready"
    assert done.node("w1")["state"] == "ready"  # its pidfile is where pidfiles are by default
    assert f"cannot read the record {path}" in done.node("w1")["message"]
    assert host.multi("forget", "w1").code == 0
    assert not path.exists()


def test_on_a_terminal_a_restart_shows_what_it_waits_for(host: Host) -> None:
    host.start("w1", "--include=linger-1.2")
    old = host.pid("w1")

    shown = _on_terminal(host, "restart", "w1", "--timeout", "600")

    ready = f"pid {host.pid('w1')}, was {old}"
    assert f"w1@{HOST}  stopping  waited 1 s of 600 s\n" in shown
    assert ready in shown
    assert shown.endswith("restarted 1 of 1 node\n")


def test_kill_asks_on_a_terminal_and_no_is_the_default(host: Host) -> None:
    host.start("w1")
    pid = host.pid("w1")

    refused = _on_terminal(host, "kill", "w1", answer="\n")

    assert "kill 1 node at once, running tasks and all? [y/N]" in refused
    assert "error: nothing was done" in refused
    assert host.pid("w1") == pid
    assert "killed" in _on_terminal(host, "kill", "w1", answer="y\n")
    assert host.multi("kill", "w1", TASKCTL_CONFIRM="always").code == 0  # nobody is there to kill
    host.start("w1")
    always = host.multi("kill", "w1", TASKCTL_CONFIRM="always")
    assert always.code == 2
    assert "needs an answer, and there is no terminal" in always.err


def test_logs_of_several_nodes_stand_in_order_of_time(tmp_path: Path) -> None:
    _write(tmp_path / "a", "00:00:01 first", "00:00:03 third", "  of a traceback")
    _write(tmp_path / "b", "00:00:02 second", "00:00:04 fourth")

    assert _shown({"a": tmp_path / "a", "b": tmp_path / "b"}) == [
        ("a", "[2026-01-31 00:00:01,000: INFO/MainProcess] first"),
        ("b", "[2026-01-31 00:00:02,000: INFO/MainProcess] second"),
        ("a", "[2026-01-31 00:00:03,000: INFO/MainProcess] third"),
        ("a", "  of a traceback"),
        ("b", "[2026-01-31 00:00:04,000: INFO/MainProcess] fourth"),
    ]


@pytest.mark.parametrize("count", [1, 7, 3000])
def test_as_many_last_lines_as_asked_for_come_however_long_the_log(
    tmp_path: Path, count: int
) -> None:
    _write(tmp_path / "a", *(f"00:00:00 {number} {'x' * 60}" for number in range(5000)))

    shown = _shown({"a": tmp_path / "a"}, lines=count)

    assert len(shown) == count
    assert "] 4999 x" in shown[-1][1]
    assert f"] {5000 - count} x" in shown[0][1]


@pytest.mark.parametrize("minute", [0, 1, 59, 60, 90, 119])
def test_logs_since_a_time_begin_at_that_time(tmp_path: Path, minute: int) -> None:
    times = [f"{number // 60:02}:{number % 60:02}:00" for number in range(120)]
    _write(tmp_path / "a", *(f"{at} {'x' * 3000}\nbelow {at}" for at in times))
    since = datetime(2026, 1, 31, minute // 60, minute % 60).timestamp()

    shown = _shown({"a": tmp_path / "a"}, lines=None, since=since)

    assert len(shown) == 2 * (120 - minute)
    assert shown[0][1].startswith(f"[2026-01-31 {times[minute]},000")


def test_a_point_in_time_is_a_length_a_clock_or_a_date() -> None:
    now = datetime(2026, 1, 31, 12, 0)

    for text, ago in (("90s", 90), ("10m", 600), ("1.5h", 5400), ("2d", 172800)):
        assert point_in_time(text, now) == now.timestamp() - ago
    assert point_in_time("11:30", now) == (now - timedelta(minutes=30)).timestamp()
    assert point_in_time("14:30", now) == (now - timedelta(hours=21.5)).timestamp()
    assert point_in_time("2026-01-30", now) == (now - timedelta(hours=36)).timestamp()
    for text in ("", "yesterday", "10", "25:00"):
        with pytest.raises(ValueError):
            point_in_time(text, now)


def test_a_time_that_is_none_is_refused_with_examples(host: Host) -> None:
    done = host.multi("logs", "w1", "--since", "noon")

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: --since noon: no point in time\n  examples: --since 10m")


def test_logs_are_json_lines_too(host: Host) -> None:
    host.start("w1")
    host.multi("stopwait", "w1")

    lines = host.multi("logs", "w1", "-n", "1", "-o", "jsonl")
    document = host.multi("logs", "w1", "-n", "1", "-j").document

    assert lines.out == f'{{"node": "w1@{HOST}", "line": "stand-in: got TERM"}}\n'
    assert document["items"] == [{"node": f"w1@{HOST}", "line": "stand-in: got TERM"}]
    assert host.multi("logs", "w1", "-f", "-j").code == 2


def test_a_log_is_followed_through_rotation_truncation_and_absence(host: Host) -> None:
    (host.folder / "log").mkdir()
    log = host.folder / "log" / "w1.log"
    with subprocess.Popen(
        host.command("logs", "w1", "-f", "-n", "5"),
        env=host.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as follower:
        try:
            assert follower.stdout is not None and follower.stderr is not None
            assert "has no log at" in follower.stderr.readline()
            log.write_text("made meanwhile\n")
            assert follower.stdout.readline() == "made meanwhile\n"
            with log.open("a") as old:
                log.rename(log.with_suffix(".1"))
                old.write("last words of the old one\n")
                old.flush()
                log.write_text("after the rotation\n")
            assert follower.stdout.readline() == "last words of the old one\n"
            assert follower.stdout.readline() == "after the rotation\n"
            log.write_text("cut\n")
            assert follower.stdout.readline() == "cut\n"
        finally:
            follower.send_signal(signal.SIGINT)

    assert follower.returncode == 130


def _shown(files: dict[str, Path], **options: object) -> list[tuple[str, str]]:
    lines: list[tuple[str, str]] = []
    paths = {name: str(path) for name, path in files.items()}
    show_logs(paths, lambda node, line: lines.append((node, line)), **options)  # type: ignore[arg-type]
    return lines


def _write(path: Path, *lines: str) -> None:
    path.write_text(
        "".join(
            line
            if line.startswith(" ")
            else f"[2026-01-31 {line[:8]},000: INFO/MainProcess] {line[9:]}"
            for line in (f"{line}\n" for line in lines)
        )
    )


def _on_terminal(host: Host, *words: str, answer: str = "") -> str:
    leader, follower = pty.openpty()
    with subprocess.Popen(
        host.command(*words),
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=host.folder,
        env={**host.env, "TERM": "xterm", "NO_COLOR": "1", "COLUMNS": "100"},
        start_new_session=True,
    ) as process:
        os.close(follower)
        os.write(leader, answer.encode())
        shown = b""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                shown += os.read(leader, 65536)
            except OSError:  # EIO: nobody has it open any more
                break
        os.close(leader)
    eventually(lambda: process.returncode is not None)
    return shown.decode().replace("\r\n", "\n")
