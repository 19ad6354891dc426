"""`taskctl events`: lines in a pipe, a live list on a terminal, pictures by a camera."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from ..house.structure import ROOT
from ..support.document import blocks
from ..support.servers import RedisServer
from ..support.shell import Said, Shell
from ..support.terminal import Terminal
from ..support.waiting import eventually

PROJECT = """
@app.task
def fail(text, **kwargs):
    raise ValueError(text)
"""
CAMERA = """
import json
from taskctl.events.snapshot import Polaroid

class Camera(Polaroid):
    clear_after = True

    def on_shutter(self, state):
        tasks = [[task.name, task.state] for _, task in state.tasks_by_time()]
        with open("shots", "a") as file:
            print(json.dumps([self.app.main, state.event_count, tasks]), file=file)

class Blind:
    pass
"""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One node, w1@h, that sends task events."""
    shell = Shell(tmp_path_factory.mktemp("fleet"))
    app = shell.folder / "proj" / "celery.py"
    app.write_text(app.read_text() + PROJECT)
    (shell.folder / "proj" / "cams.py").write_text(CAMERA)
    try:
        shell.node("w1", "-E")
        yield shell
    finally:
        shell.close()


def send(shell: Shell, code: str) -> str:
    return shell.python(f"from proj.celery import add, fail, nap; {code}")


def hear(shell: Shell, *words: str, code: str) -> Said:
    """Run `events WORDS`; once it hears, run a few lines with the project's tasks at hand."""
    process = subprocess.Popen(
        shell.argv("-A", "proj", "events", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=shell.folder,
        env=shell.env,
    )
    # Its own call for heartbeats is answered: from then on it hears all.
    sender = threading.Timer(0.0, lambda: (listens(shell, process.pid), send(shell, code)))
    sender.start()
    try:
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        sender.join()
    return Said(process.returncode, out, err)


def listens(shell: Shell, pid: int) -> None:
    """Wait until a process has opened its bell beside the queue."""
    eventually(lambda: any(".bell" in name or "bells" in name for name in open_files(pid)))


def open_files(pid: int) -> list[str]:
    folder = f"/proc/{pid}/fd"
    names = []
    for fd in os.listdir(folder):
        try:
            names.append(os.readlink(f"{folder}/{fd}"))
        except OSError:
            continue  # closed meanwhile
    return names


# -- lines


def test_in_a_pipe_it_is_celerys_dump(fleet: Shell) -> None:
    where = "type == 'task-*'"

    said = hear(fleet, "--where", where, "-n", "3", code="add.delay(2, 3)")

    start, *lines = said.out.splitlines()
    assert (said.code, said.err) == (0, "")
    assert start == "-> evdump: starting capture..."
    stamp = r"w1@h \[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+\+00:00\] "
    task = r"proj\.celery\.add\(([0-9a-f-]{36})\) args=\(2, 3\) kwargs=\{\} "
    for line, kind in zip(lines, ("received", "started", "succeeded"), strict=True):
        assert re.match(f"{stamp}task {kind}: {task}", line), line
    assert "result=5" in lines[2]


def test_json_is_one_object_an_event(fleet: Shell) -> None:
    said = hear(fleet, "--json", "--where", "type == task-failed", "-n", "1",
                code="fail.delay('boom')")  # fmt: skip

    (line,) = said.out.splitlines()
    event = json.loads(line)
    assert (event["type"], event["hostname"]) == ("task-failed", "w1@h")
    assert event["exception"] == "ValueError('boom')"
    assert "Traceback" in event["traceback"]
    assert isinstance(event["timestamp"], float) and event["at"].endswith("Z")


def test_a_line_for_people_names_the_task_of_each_event(fleet: Shell) -> None:
    said = hear(fleet, "-o", "table", "--where", "uuid != none", "-n", "3",
                code="fail.delay('boom', password='canary')")  # fmt: skip

    received, started, failed = said.out.splitlines()
    assert re.match(r"\d\d:\d\d:\d\d\.\d{3}  w1@h  task-received +proj\.celery\.fail\[", received)
    assert "'boom'" in received
    assert "proj.celery.fail[" in started
    assert failed.endswith("exception=ValueError('boom')")


@pytest.mark.parametrize("format", ["celery", "json", "table"])
def test_secrets_are_masked_in_every_format(fleet: Shell, format: str) -> None:
    code = "fail.delay('redis://u:canary@h/0', password='canary')"

    said = hear(fleet, "-o", format, "--where", "uuid != none", "-n", "3", code=code)

    assert "proj.celery.fail" in said.out
    assert "canary" not in said.out


def test_d_dumps_on_a_terminal_too(fleet: Shell) -> None:
    said = fleet.type("-A", "proj", "events", "-d", "-n", "1")

    assert said.code == 0
    assert "-> evdump: starting capture..." in said.out
    assert "w1@h [" in said.out and "] heartbeat: " in said.out


def test_quiet_leaves_the_events_alone(fleet: Shell) -> None:
    said = fleet.proj("-q", "events", "-n", "1")

    assert said.out.startswith("w1@h [")


def test_a_closed_pipe_ends_it_quietly(fleet: Shell) -> None:
    words = " ".join(fleet.argv("-A", "proj", "events"))

    done = subprocess.run(
        ["sh", "-c", f"{words} | head -n 2"],
        capture_output=True,
        text=True,
        cwd=fleet.folder,
        env=fleet.env,
        timeout=30,
    )

    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


def test_ctrl_c_is_exit_130(fleet: Shell) -> None:
    process = fleet.start("-A", "proj", "events")
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(signal.SIGINT)

    assert process.wait(10) == 130
    assert "KeyboardInterrupt" not in fleet.err


def test_nodes_that_send_none_are_told_of_with_the_cure(shell: Shell) -> None:
    shell.node("w1")

    silent = shell.proj("events", "-n", "1")
    enabled = shell.proj("events", "-n", "1", "--enable")
    now = shell.proj("events", "-n", "1")

    assert silent.err == (
        "note: the node sends no task events; turn them on: events --enable, or control"
        " enable_events, or worker -E\n"
    )
    assert (enabled.err, now.err) == ("", "")


# -- wrong use, and a broker that is away


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--detach",), "error: --detach goes with --camera: nothing else runs on its own\n  ex"),
        (("--pidfile", "x"), "error: --pidfile goes with --camera: nothing else runs on its own\n"),
        (("-r", "10/m"), "error: --maxrate goes with --camera"),
        (("-c", "proj.no:Camera"), "error: -c proj.no:Camera: "),
        (("-c", "proj.cams:Nothing"), "error: -c proj.cams:Nothing: "),
        (("-c", "proj.cams:Blind"), "error: -c proj.cams:Blind: type is no camera\n  derive it "),
        (("-c", "proj.cams:Camera", "-d"), "error: --camera and --dump do not go together"),
        (("-c", "proj.cams:Camera", "-r", "x"), "error: -r: 'x' is no rate: write 10/m, 2/s"),
        (("-F", "0", "-c", "x"), "error: -F 0: 0.01 or more expected"),
        (("-n", "0"), "error: -n 0: 1 or more expected"),
        (("--where", "type ="), "error: --where 'type =' is no condition"),
        (("-o", "wide"), "error: -o wide does not exist for this command: choose table, json"),
    ],
)
def test_wrong_use_is_exit_2(fleet: Shell, words: tuple[str, ...], error: str) -> None:
    said = fleet.proj("events", *words)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(error), said.err


@pytest.mark.parametrize("words", [("-d",), ("--json",), ("-c", "proj.cams:Camera")])
def test_a_broker_that_is_away_is_exit_69(fleet: Shell, words: tuple[str, ...]) -> None:
    said = fleet.proj("events", *words, "-b", "redis://127.0.0.1:1/0")

    assert said.code == 69
    assert said.out == ""
    assert "error: broker redis://127.0.0.1:1/0: connection refused\n  set by -b" in said.err


def test_a_broker_that_goes_is_waited_for(shell: Shell, redis_server: RedisServer) -> None:
    server = RedisServer().start()
    try:
        shell.node("w1", TASKCTL_BROKER_URL=server.url)
        process = shell.start("-A", "proj", "events", TASKCTL_BROKER_URL=server.url)
        assert process.stdout is not None
        process.stdout.readline()
        assert "heartbeat" in process.stdout.readline()

        port = server.port
        server.stop()
        eventually(lambda: "trying again in 0.5 s" in shell.err)
        server = RedisServer(port).start()

        eventually(lambda: "the broker is back" in shell.err, within=20)
        eventually(lambda: process.stdout and "heartbeat" in process.stdout.readline())
    finally:
        server.stop()


# -- live


def test_on_a_terminal_it_is_a_live_list_of_tasks(fleet: Shell) -> None:
    terminal = Terminal(fleet.argv("-A", "proj", "events"), fleet.folder, fleet.env)
    try:
        terminal.until("1/1 nodes", "TASKS     none is running")
        send(fleet, "add.delay(2, 3); fail.delay('boom')")
        shown = terminal.until("SUCCESS", "FAILURE", "ValueError('boom')", "2, 3 → 5")
        assert shown.splitlines()[1].split()[:4] == ["TIME", "STATE", "TASK", "ID"]
        terminal.press("q")

        assert terminal.end() == 0
        assert terminal.is_clean
    finally:
        terminal.close()


# -- pictures


def shots(shell: Shell) -> list[Any]:
    path = shell.folder / "shots"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_camera_takes_pictures_until_it_is_ended(fleet: Shell) -> None:
    process = fleet.start("-A", "proj", "events", "-c", "proj.cams.Camera", "-F", "0.1")
    eventually(lambda: shots(fleet))

    send(fleet, "add.delay(2, 3)")
    eventually(lambda: any(["proj.celery.add", "SUCCESS"] in s[2] for s in shots(fleet)))
    process.terminate()

    assert process.wait(10) == 0
    assert shots(fleet)[0][0] == "proj"
    assert "Taking snapshots with proj.cams.Camera (every 0.1 s)" in fleet.err


def test_a_detached_camera_works_when_the_command_returns(fleet: Shell) -> None:
    words = ("-c", "proj.cams:Camera", "-F", "0.1", "--detach", "--pidfile=cam.pid", "-f", "c.log")
    (fleet.folder / "shots").unlink(missing_ok=True)

    said = fleet.proj("events", *words)
    pid = int((fleet.folder / "cam.pid").read_text())
    again = fleet.proj("events", *words[:4], "--pidfile=cam.pid")
    eventually(lambda: shots(fleet))
    os.kill(pid, signal.SIGTERM)

    assert said.code == 0, said.err
    assert again.code == 73
    eventually(lambda: not (fleet.folder / "cam.pid").exists())
    assert "ended by SIGTERM" in (fleet.folder / "c.log").read_text()


# -- what the page for operators says


def snippet(word: str) -> str:
    page = ROOT / "docs" / "operating.md"
    (text,) = [b.text for b in blocks(page) if b.words == ["python"] and word in b.text]
    return text


def test_the_camera_of_the_page_works(fleet: Shell) -> None:
    (fleet.folder / "proj" / "page.py").write_text(snippet("Polaroid"))

    process = fleet.start("-A", "proj", "events", "-c", "proj.page:Camera", "-F", "0.1")
    eventually(lambda: "Taking snapshots with proj.page:Camera" in fleet.err)
    send(fleet, "add.delay(2, 3)")

    assert process.stdout is not None
    eventually(lambda: process.stdout and "proj.celery.add SUCCESS" in process.stdout.readline())


def test_the_program_of_the_page_works(fleet: Shell) -> None:
    text = snippet("app.events.Receiver").replace("proj.app", "proj.celery")
    process = subprocess.Popen(
        [sys.executable, "-u", "-c", text],
        stdout=subprocess.PIPE,
        text=True,
        cwd=fleet.folder,
        env=fleet.env,
    )
    try:
        listens(fleet, process.pid)
        send(fleet, "fail.delay('boom')")

        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == "proj.celery.fail failed on w1@h ValueError('boom')\n"
    finally:
        process.kill()
        process.communicate()
