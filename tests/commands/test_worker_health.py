"""`taskctl worker`: its health file, its HTTP pages, systemd and the journal, as a program."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from ..support.servers import free_port
from ..support.shell import Shell
from ..support.waiting import eventually


def get(address: str, path: str) -> tuple[int, str]:
    client = http.client.HTTPConnection(address, timeout=10)
    client.request("GET", path)
    answer = client.getresponse()
    return answer.status, answer.read().decode()


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.exists() else []


def test_a_node_keeps_a_health_file_in_the_run_folder_while_it_lives(shell: Shell) -> None:
    node = shell.node("w1")
    path = shell.folder / "run" / "w1@h.health"

    health = eventually(lambda: found if (found := json.loads(path.read_text()))["ready"] else None)
    node.send_signal(signal.SIGTERM)

    assert (health["node"], health["pid"]) == ("w1@h", node.pid)
    assert node.wait(20) == 0
    assert files(shell.folder / "run") == []


def test_its_place_is_a_template_and_none_is_nowhere(shell: Shell) -> None:
    shell.node("w1", "--health-file=own/%n.%p")
    shell.node("w2", "--health-file", "none")

    assert files(shell.folder / "own") == ["w1.w1@h"]
    assert files(shell.folder / "run") == []


def test_a_default_place_that_cannot_be_written_is_one_warning(shell: Shell) -> None:
    (shell.folder / "run").touch()

    node = shell.node("w1")

    assert node.poll() is None
    [line] = [line for line in shell.err.splitlines() if "health file" in line]
    assert ": WARNING/MainProcess] cannot write health file" in line
    assert line.endswith(
        "not a directory; going on without one (--health-file names another place)"
    )


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (
            ["--health-file=file/x"],
            73,
            "error: cannot write health file {folder}/file/x: not a dir",
        ),
        (["--health-file=%q"], 2, "error: --health-file %q: no letter '%q' here"),
        (["--health-listen=80"], 2, "error: --health-listen: host:port, :port or unix:/path exp"),
        (["--metrics-listen=h:x"], 2, "error: --metrics-listen: host:port, :port or unix:/path"),
        (["--metrics-listen=unix:x"], 2, "error: --metrics-listen: 'unix:x': an absolute path"),
        (["--health-listen={taken}"], 73, "error: cannot listen on {taken}: address already in"),
        (["--health-listen=unix:{folder}/no/x"], 73, "error: cannot listen on unix:{folder}/no/x:"),
    ],
)
def test_what_cannot_be_is_told_at_the_start(
    shell: Shell, words: list[str], code: int, error: str
) -> None:
    (shell.folder / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        facts = {"folder": shell.folder, "taken": f"127.0.0.1:{taken.getsockname()[1]}"}

        said = shell.proj("worker", *(word.format(**facts) for word in words))

    assert said.code == code, said.err
    assert said.err.startswith(error.format(**facts))
    assert files(shell.folder / "run") == []


def test_a_port_that_was_chosen_is_logged_and_in_the_file(shell: Shell) -> None:
    shell.node("w1", "--health-listen=:0", "--metrics-listen=:0")

    [address] = re.findall(r"/livez /readyz /metrics on (127\.0\.0\.1:\d+)", shell.err)
    assert get(address, "/livez") == (200, "ok\n")
    assert get(address, "/readyz") == (200, "ok\n")
    status, page = get(address, "/metrics")
    assert status == 200
    assert '\ntaskctl_worker_info{node="w1@h",version="' in page
    health = json.loads((shell.folder / "run" / "w1@h.health").read_text())
    assert set(health["facts"]["listens"].values()) == {address}


def test_health_and_metrics_may_have_addresses_of_their_own(shell: Shell) -> None:
    port = free_port()
    node = shell.node("w1", f"--health-listen=unix:{shell.folder}/s", f"--metrics-listen=:{port}")

    assert get(f"127.0.0.1:{port}", "/livez") == (404, "there are: /metrics\n")
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(f"{shell.folder}/s")
        line.sendall(b"GET /readyz HTTP/1.1\r\n\r\n")
        assert line.recv(1000).endswith(b"ok\n")
    node.send_signal(signal.SIGTERM)
    assert node.wait(20) == 0
    assert not (shell.folder / "s").exists()


def test_the_variables_of_the_options_count(shell: Shell) -> None:
    shell.node("w1", TASKCTL_WORKER_HEALTH_FILE="own/w1", TASKCTL_WORKER_HEALTH_LISTEN=":0")

    assert files(shell.folder / "own") == ["w1"]
    assert "/livez /readyz on 127.0.0.1:" in shell.err


def test_a_node_that_waits_for_its_broker_lives_and_is_not_ready(shell: Shell) -> None:
    with systemd(shell) as told:
        node = shell.start(
            "-A", "proj", "worker", "-l", "INFO", "-n", "w1@h", "--health-listen=:0",
            "-b", "redis://127.0.0.1:1/0", NOTIFY_SOCKET=f"{shell.folder}/notify",
        )  # fmt: skip
        eventually(lambda: "trying again in 2 s" in shell.err)
        [address] = re.findall(r"on (127\.0\.0\.1:\d+)", shell.err)

        reason = "starting: the broker is away"
        eventually(lambda: get(address, "/readyz") == (503, f"{reason}\n"))
        assert get(address, "/livez")[0] == 200
        live, ready = (shell.run("probe", kind, "-n", "w1") for kind in ("live", "ready"))
        assert (live.code, ready.code) == (0, 1)
        assert reason in ready.out
        said = told.recv(65536).decode()
        assert f"STATUS={reason}" in said
        assert "EXTEND_TIMEOUT_USEC=32000000" in said
        node.send_signal(signal.SIGINT)
        node.wait(10)
    assert files(shell.folder / "run") == []


def systemd(shell: Shell) -> socket.socket:
    """Return the other end of NOTIFY_SOCKET."""
    end = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    end.bind(f"{shell.folder}/notify")
    end.settimeout(20)
    return end


def heard(end: socket.socket, until: str) -> list[str]:
    """Return what came, as far as a certain word."""
    lines: list[str] = []
    while until not in lines:
        lines += end.recv(65536).decode().split("\n")
    return lines


def test_systemd_hears_of_the_whole_life_and_of_a_new_start(shell: Shell) -> None:
    with systemd(shell) as told:
        node = shell.node("w1", NOTIFY_SOCKET=f"{shell.folder}/notify")

        started = heard(told, "READY=1")
        assert "STATUS=taking tasks from celery; 0 of 2 busy; 0 done, 0 failed" in started
        node.send_signal(signal.SIGHUP)
        reloading = heard(told, "RELOADING=1") + heard(told, "READY=1")
        assert any(line.startswith("MONOTONIC_USEC=") for line in reloading)
        assert "STOPPING=1" not in reloading
        assert any(line.startswith("STATUS=stopping, to start again;") for line in reloading)
        node.send_signal(signal.SIGTERM)
        heard(told, "STOPPING=1")
        assert node.wait(20) == 0


def test_under_the_journal_lines_bear_priorities_and_no_times(shell: Shell) -> None:
    with open(shell.folder / "journal", "wb") as journal:
        status = os.fstat(journal.fileno())
        process = subprocess.Popen(
            shell.argv("-A", "proj", "worker", "-l", "INFO", "-c", "1", "-n", "w1@h"),
            stderr=journal,
            cwd=shell.folder,
            env={**shell.env, "JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"},
            start_new_session=True,
        )
    try:
        log = shell.folder / "journal"
        eventually(lambda: "ready in" in log.read_text(), within=20)
        shell.python(
            "from proj.celery import nap\n"
            "try: nap.delay('x').get(timeout=10)\nexcept Exception: pass"
        )
        eventually(lambda: "Traceback" in log.read_text())
        process.terminate()
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait(10)
    lines = log.read_text().splitlines()
    assert all(re.match(r"<[2-7]>", line) for line in lines)
    assert not any(re.search(r"\d\d:\d\d:\d\d", line) for line in lines)
    assert "<6>[INFO/MainProcess] w1@h ready in" in log.read_text()
    assert "<3>Traceback (most recent call last):" in lines
    assert any(line.startswith("<4>[WARNING/MainProcess] warm shutdown") for line in lines)
