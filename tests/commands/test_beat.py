"""`taskctl beat` and `taskctl beat status`, as real programs on the embedded broker."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from ..support.shell import Shell
from ..support.waiting import eventually

APP = """\
from taskctl import App
from taskctl.schedules import crontab

app = App("proj", beat_schedule={
    "mail": {"task": "proj.celery.add", "schedule": 0.2, "args": (1, 2)},
    "report": {"task": "proj.report", "schedule": crontab(0, 4, "mon-fri")},
})

@app.task
def add(x, y):
    return x + y
"""


@pytest.fixture(autouse=True)
def project(shell: Shell) -> None:
    (shell.folder / "proj" / "celery.py").write_text(APP)


def beat(shell: Shell, *words: str, **env: str) -> subprocess.Popen[str]:
    """Start beat and return once it is ready."""
    process = shell.start("-A", "proj", "beat", "-l", "INFO", *words, **env)
    eventually(lambda: "beat ready in" in shell.err or process.poll() is not None, within=20)
    assert process.poll() is None, shell.err
    return process


def waiting(shell: Shell) -> int:
    script = "from proj.celery import app; print(app.count_waiting(['celery'])['celery'])"
    return int(shell.python(script))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_beat_sends_what_is_due_and_ends_with_0(shell: Shell, number: int) -> None:
    process = beat(shell)
    eventually(lambda: shell.err.count("due task mail: proj.celery.add (") >= 2)

    process.send_signal(number)

    assert process.wait(5) == 0
    assert "INFO/MainProcess] stopped" in shell.err
    assert waiting(shell) == shell.err.count("due task mail")
    assert f"schedule={shell.folder}/celerybeat-schedule.sqlite next=mail" in shell.err


def test_on_a_terminal_beat_introduces_itself(shell: Shell) -> None:
    # It ends by itself: another beat has the file by the time it is typed again.
    process = beat(shell)
    said = shell.type("-A", "proj", "beat", "beat_election=no")
    process.send_signal(signal.SIGTERM)
    process.wait(5)
    assert said.out == (
        f"error: another beat (pid {process.pid}) uses {shell.folder}/celerybeat-schedule.sqlite: "
        "stop it, or name another file with --schedule\n"
    )
    assert said.code == 73

    script = f"sleep 1; kill -INT $(head -1 {shell.folder}/b.pid)"
    subprocess.Popen(["sh", "-c", script])
    shown = shell.type("-A", "proj", "beat", "--pidfile", "b.pid")

    assert shown.code == 0
    lines = shown.out.splitlines()
    assert lines[0].startswith("taskctl 1.0.0 · beat · pid ")
    assert lines[1:4] == [
        "  app       proj, 2 entries: mail report",
        f"  broker    sqlite:///{shell.folder}/.taskctl/queue.db (default; local disk)",
        f"  schedule  {shell.folder}/celerybeat-schedule.sqlite (PersistentScheduler)",
    ]
    assert lines[4] == "  next due  mail, now; looks at least every 300 s"
    assert lines[5].startswith("ready in ")


def test_detached_it_returns_once_ready_and_holds_its_pidfile(shell: Shell) -> None:
    words = ("beat", "--detach", "-l", "INFO", "--pidfile=run/b.pid", "-f", "log/b.log")
    first = shell.proj(*words, "-s", "one")
    second = shell.proj(*words, "-s", "two")

    assert (first.code, first.out, first.err) == (0, "", "")
    assert second.code == 73
    pid = int((shell.folder / "run" / "b.pid").read_text())
    assert f"is held by live process {pid}" in second.err
    os.kill(pid, signal.SIGTERM)
    eventually(lambda: not (shell.folder / "run" / "b.pid").exists())
    assert "stopped" in (shell.folder / "log" / "b.log").read_text()


def test_settings_stand_in_for_options_and_words_for_settings(shell: Shell) -> None:
    process = shell.start(
        "-A", "proj", "beat", "beat_pidfile=b.pid", "beat_logfile=b.log", "-l", "INFO",
        "beat_schedule_filename=other", "beat_max_loop_interval=9",
    )  # fmt: skip
    log = shell.folder / "b.log"
    eventually(lambda: log.exists() and "beat ready" in log.read_text())

    assert (shell.folder / "b.pid").read_text() == f"{process.pid}\n"
    assert (shell.folder / "other.sqlite").exists()
    process.terminate()
    assert process.wait(5) == 0


def test_while_the_broker_is_away_it_keeps_what_is_due(shell: Shell) -> None:
    process = beat(shell, "-b", "redis://:secret@127.0.0.1:1/0")
    eventually(lambda: "trying again in 2 s, what is due then is sent once" in shell.err)

    said = shell.run("beat", "status", "-o", "json", "--max-lag", "0.1")

    assert said.code == 3
    lag = {row["entry"]: row["lag_seconds"] for row in said.json["items"]}
    assert lag["mail"] > 0.1 and lag["report"] == 0
    assert "late: mail" in said.err
    process.terminate()
    assert process.wait(5) == 0
    assert "secret" not in shell.err


def test_a_broker_that_hangs_does_not_hold_up_the_end(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        process = beat(shell, "-b", url)
        silent.accept()  # the first send has begun

        process.terminate()

        assert process.wait(3) == 0


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["-S", "no.such.Scheduler"], 2, "error: --scheduler 'no.such.Scheduler': No module named"),
        (["--max-interval", "x"], 2, "error: --max-interval"),
        (["-l", "LOUD"], 2, "error: -l"),
        (["stauts"], 2, "error: 'stauts': status, an option or key=value expected\n"),
        (["beat_shedule={}"], 2, "error: beat_shedule={}: unknown setting 'beat_shedule'"),
        (["--uid", "nobody-of-that-name"], 2, "error: --uid nobody-of-that-name: no such user"),
        (["--enable-remote-control", "-n", "b@%z"], 2, "error: -n b@%z: no letter '%z' here"),
        (["-s", "proj/__init__.py/x"], 73, "error: cannot write beside "),
        (['beat_schedule={"x": {"task": "a"}}'], 78, "error: beat_schedule['x']: 'schedule' is"),
        (["beat_scheduler=os:path"], 78, "error: beat_scheduler 'os:path' is no scheduler"),
    ],
)
def test_wrong_use_is_one_clear_line(shell: Shell, words: list[str], code: int, error: str) -> None:
    said = shell.proj("beat", *words)

    assert (said.code, said.out) == (code, "")
    assert said.err.startswith(error), said.err


def test_help_is_short_and_shows_two_examples(shell: Shell) -> None:
    said = shell.run("beat", "--help")

    assert said.code == 0
    assert "\n  Send tasks on schedule.\n\n  $ taskctl -A proj beat -l INFO\n" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_systemd_is_told_when_beat_is_ready(shell: Shell) -> None:
    path = str(shell.folder / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(path)
        line.settimeout(10)
        process = beat(shell, NOTIFY_SOCKET=path)
        first = line.recv(4096).decode().split("\n")
        process.terminate()
        assert process.wait(5) == 0
        line.settimeout(0.1)
        rest = []
        while not any("STOPPING=1" in words for words in rest):
            rest.append(line.recv(4096).decode())

    assert first[0] == "READY=1"
    assert first[1].startswith("STATUS=next: mail")


# -- status


def test_status_shows_when_each_entry_was_sent_and_is_due(shell: Shell) -> None:
    process = beat(shell)
    eventually(lambda: shell.err.count("due task mail") >= 2)

    plain = shell.run("beat", "status")
    table = shell.proj("beat", "status", "-o", "table", COLUMNS="80")
    document = shell.proj("beat", "status", "-o", "json").json
    names = shell.run("beat", "status", "-o", "name", "--where", "runs == 0")

    assert (plain.code, names.out) == (0, "report\n")
    assert plain.err == ""
    assert plain.out.splitlines()[0].split("\t")[:6] == [
        "entry", "task", "schedule", "last_run", "next_run", "lag_seconds",
    ]  # fmt: skip
    assert table.out.splitlines()[0].split() == [
        "ENTRY", "TASK", "SCHEDULE", "LAST", "NEXT", "LAG", "RUNS",
    ]  # fmt: skip
    assert max(map(len, table.out.splitlines())) <= 80
    host = socket.gethostname()
    assert table.err == (f"celerybeat@{host} leads beat.proj: {host}, pid {process.pid}, term 1\n")
    assert (document["schema"], document["ok"], document["missing"]) == (
        "taskctl/beat.status/1", True, [],
    )  # fmt: skip
    mail, report = document["items"]
    assert mail["runs"] >= 2 and mail["pid"] == process.pid and mail["last_lag_seconds"] < 1
    assert report["last_run"] is None
    assert report["schedule"] == "crontab 0 4 * * mon-fri"
    assert {row["group"] for row in document["items"]} == {"beat.proj"}
    process.terminate()
    process.wait(5)


def test_a_second_beat_stands_by_and_status_says_who_leads(shell: Shell) -> None:
    first = beat(shell)
    eventually(lambda: "leading beat.proj, term 1" in shell.err)
    second = beat(shell, "-n", "spare")
    eventually(lambda: "standing by: beat on" in shell.err)

    running = shell.proj("beat", "status", "-o", "json")
    first.kill()
    first.wait()
    dead = shell.proj("beat", "status", "-q", "-o", "name")
    second.terminate()
    second.wait(5)

    assert (running.code, running.err) == (0, "")
    assert {row["pid"] for row in running.json["items"]} == {first.pid}
    assert dead.code in (0, 3), "the other may have taken over already"


def test_an_entry_that_makes_no_sense_is_named_and_the_others_are_sent(shell: Shell) -> None:
    source = APP.replace('"report": {', '"broken": {"task": "t"}, "report": {')
    (shell.folder / "proj" / "celery.py").write_text(source)
    process = beat(shell)
    eventually(lambda: "due task mail" in shell.err)

    said = shell.proj("beat", "status")
    process.terminate()

    assert process.wait(5) == 0
    assert "beat_schedule['broken']: 'schedule' is missing" in shell.err
    assert "this entry is never sent, the others are" in shell.err
    assert said.code == 3
    assert "not sent by it, since it was left out or is new: broken" in said.err


def test_status_says_that_no_beat_runs(shell: Shell) -> None:
    process = beat(shell, "-s", "run/beat")
    process.kill()
    process.wait()

    said = shell.run("beat", "-s", "run/beat", "status", "-o", "json")
    quiet = shell.run("beat", "status", "-s", "run/beat", "-q", "-o", "name")

    assert said.code == 3
    assert (said.json["ok"], said.json["missing"]) == (False, ["beat"])
    assert said.err == (
        f"warning: no beat runs with {shell.folder}/run/beat.sqlite: nothing is sent\n"
    )
    assert (quiet.code, quiet.out, quiet.err) == (3, "mail\nreport\n", "")


def test_where_no_beat_ever_ran_status_says_so(shell: Shell) -> None:
    said = shell.proj("beat", "status", "-j")

    assert (said.code, said.out) == (69, "")
    assert said.err.startswith(
        f"error: no beat has run here: there is no file {shell.folder}/celerybeat-schedule.sqlite\n"
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--max-lag", "soon"], "error: --max-lag soon: a number expected"),
        (["more"], "error: "),
        (["-o", "celery"], "error: -o celery does not exist for this command"),
    ],
)
def test_wrong_use_of_status_is_exit_2(shell: Shell, words: list[str], error: str) -> None:
    said = shell.proj("beat", "status", *words)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(error)


# -- embedded


def test_a_worker_may_bring_its_own_beat(shell: Shell) -> None:
    node = shell.node("w1", "-B", "-s", "own")
    eventually(lambda: shell.err.count("due task mail") >= 2)
    status = shell.run("beat", "status", "-s", "own", "-o", "json")

    node.send_signal(signal.SIGTERM)

    assert status.code == 0
    assert status.json["items"][0]["pid"] != node.pid
    assert node.wait(10) == 0
    assert not Path(f"{shell.folder}/own.sqlite.pid").exists()


def test_the_beat_of_a_worker_that_is_killed_dies_too(shell: Shell) -> None:
    node = shell.node("w1", "-B")
    eventually(lambda: shell.err.count("due task mail") >= 1)
    assert shell.run("beat", "status", "-q").code == 0

    node.send_signal(signal.SIGKILL)
    node.wait()

    eventually(lambda: shell.run("beat", "status", "-q").code == 3, every=0.2)
