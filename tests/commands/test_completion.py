"""Shells complete our command lines; the committed scripts are those the program prints."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from taskctl.completer import Line, read_line
from taskctl.context import Context
from taskctl.multi.nodes import Spec
from taskctl.multi.records import Record, Records
from taskctl.names import Names, remember
from taskctl.shells import FILES, SCRIPTS

from ..support.shell import Shell
from ..support.waiting import eventually

COMMITTED = Path(__file__).parents[2] / "completions"

PROGRAM = f'#!/bin/sh\nexec {sys.executable} -m taskctl "$@"\n'


@pytest.fixture
def bash(shell: Shell) -> Callable[..., list[str]]:
    """Return what bash finds for the words it was given, the last one being at the cursor."""
    return lambda *words: complete_in_bash(shell, *words)


def complete_in_bash(shell: Shell, *words: str) -> list[str]:
    script = (
        'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        '_taskctl_completion taskctl; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    argv = ["bash", "-c", script, "bash", str(COMMITTED / "taskctl.bash"), *words]
    done = subprocess.run(
        argv, capture_output=True, text=True, env=env_of(shell), cwd=shell.folder, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def env_of(shell: Shell) -> dict[str, str]:
    """Return an environment in which `taskctl` is on the path, as a user has it."""
    folder = shell.folder / "bin"
    folder.mkdir(exist_ok=True)
    program = folder / "taskctl"
    program.write_text(PROGRAM)
    program.chmod(0o755)
    return {**shell.env, "PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(shell.folder)}


@pytest.mark.parametrize("name", list(SCRIPTS))
def test_the_committed_script_is_fresh(shell: Shell, name: str) -> None:
    """If not: taskctl completion bash > completions/taskctl.bash, and so on."""
    committed = (COMMITTED / FILES[name]).read_text()

    assert shell.run("completion", name).out == committed
    assert shell.run(_TASKCTL_COMPLETE=f"{name}_source").out == committed


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["st"], ["status"]),
        (["conf"], ["config"]),
        (["-A", "proj", "completion", ""], ["bash", "zsh", "fish"]),
        (["config", "ce"], ["censor"]),
        (["config", "get", "broker_u"], ["broker_url", "broker_use_ssl", "broker_user"]),
        (["call", "--exp"], ["--expires"]),
        (["worker", "-P", "so"], ["solo"]),
        (["worker", "--pool", "=", "so"], ["solo"]),
        (["worker", "--pool", "="], ["prefork", "asyncio", "threads", "solo", "processes"]),
        (["worker", "--pool=so"], ["--pool=solo"]),
        (["-A", "proj", ":", "app", "purg"], ["purge"]),
        (["call", "x", "-a", "'[2, 3]'", "--wa"], ["--wait"]),
        (["inspect", "active"], ["active", "active_queues"]),
        (["control", "rate"], ["rate_limit"]),
        (["status", "-o", "js"], ["json", "jsonl"]),
        (["multi", "stopw"], ["stopwait"]),
        (["multi", "start", "2", "--autosc"], ["--autoscale"]),
        (["no-such-command", ""], []),
    ],
)
def test_bash_completes(bash: Callable[..., list[str]], words: list[str], found: list[str]) -> None:
    assert bash("taskctl", *words) == found


def test_nodes_on_record_are_completed(bash: Callable[..., list[str]], shell: Shell) -> None:
    record = Record("w1@h", Spec((), (), (), "", "/"), (), "w1.pid", "w1.log")
    Records(str(shell.folder / "state" / "multi")).save(record)

    assert bash("taskctl", "multi", "restart", "") == ["w1"]
    assert bash("taskctl", "inspect", "-d", "w") == ["w1@h"]
    assert bash("taskctl", "status", "-d", "w9,w") == ["w9,w1@h"]


def test_nodes_queues_and_tasks_come_from_the_registry(
    bash: Callable[..., list[str]], shell: Shell
) -> None:
    shell.node("w1", "-Q", "images,celery")
    shell.node("w2")
    proj = ("taskctl", "-A", "proj")

    eventually(lambda: bash(*proj, "inspect", "-d", "") == ["w1@h", "w2@h"])
    assert bash(*proj, "inspect", "active", "-d", "w1@h,w") == ["w1@h,w1@h", "w1@h,w2@h"]
    assert bash(*proj, "purge", "-Q", "im") == ["images"]
    assert bash(*proj, "control", "rate_limit", "proj.celery.n") == ["proj.celery.nap"]
    assert bash(*proj, "control", "add_consumer", "") == ["celery", "images"]


def test_a_status_on_a_terminal_teaches_completion_where_the_broker_is(
    bash: Callable[..., list[str]], shell: Shell
) -> None:
    app = shell.folder / "proj" / "celery.py"
    app.write_text(app.read_text().replace('App("proj")', 'App("proj", broker="sqlite:///own.db")'))
    shell.node("w1")
    assert bash("taskctl", "-A", "proj", "status", "-d", "") == []

    shell.type("-A", "proj", "status")

    assert bash("taskctl", "-A", "proj", "status", "-d", "") == ["w1@h"]


def test_names_are_kept_for_half_a_minute_without_the_url_if_it_has_a_secret(
    bash: Callable[..., list[str]], shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "redis://:canary@127.0.0.1:1/0"
    context = Context()
    context.put("broker", secret)
    monkeypatch.setenv("XDG_CACHE_HOME", shell.env["XDG_CACHE_HOME"])
    monkeypatch.chdir(shell.folder)

    remember(context, Names(("w9@h",), (), ()), secret)

    (kept,) = (shell.folder / "cache" / "taskctl").glob("names-*.json")
    assert kept.stat().st_mode & 0o777 == 0o600
    assert "canary" not in kept.read_text()
    assert bash("taskctl", "-b", secret, "status", "-d", "") == ["w9@h"]
    kept.write_text(kept.read_text().replace('"at": 1', '"at": 0'))
    assert bash("taskctl", "-b", secret, "status", "-d", "") == []


def test_a_broker_that_does_not_answer_gives_no_names_and_no_wait(
    bash: Callable[..., list[str]], shell: Shell
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        began = time.monotonic()

        assert bash("taskctl", "-b", url, "status", "-d", "") == []
        assert time.monotonic() - began < 3.0


def test_completing_imports_neither_the_app_nor_a_broker(shell: Shell) -> None:
    (shell.folder / "proj" / "celery.py").write_text("open('imported', 'w')\n")

    done = shell.run(
        _TASKCTL_COMPLETE="bash_complete", COMP_WORDS="taskctl -A proj call --q", COMP_CWORD="4"
    )

    assert done.out.splitlines()[0].split("\t")[:2] == ["plain", "--queue"]
    assert not (shell.folder / "imported").exists()


def test_trouble_gives_no_output(shell: Shell) -> None:
    done = shell.run(_TASKCTL_COMPLETE="bash_complete", COMP_WORDS="taskctl", COMP_CWORD="x")

    assert (done.code, done.out, done.err) == (1, "", "")


@pytest.mark.parametrize(
    ("words", "at", "line"),
    [
        ("taskctl\nworker\n--pool\n=\npre", 4, Line(["worker"], "--pool=pre", 7)),
        ("taskctl\n-A\nproj\n:\napp\nst", 5, Line(["-A", "proj:app"], "st", 0)),
        ("taskctl\ncall\nt\n-a\n'[2, 3]'\n", 5, Line(["call", "t", "-a", "[2, 3]"], "", 0)),
        ("taskctl\nworker\nafter\nthe cursor", 1, Line([], "worker", 0)),
        ('taskctl\n-A\n"my pro', 2, Line(["-A"], "my pro", 0)),
        ("taskctl st", 1, Line([], "st", 0)),
    ],
)
def test_the_words_of_bash_are_put_together(words: str, at: int, line: Line) -> None:
    assert read_line({"COMP_WORDS": words, "COMP_CWORD": str(at)}, glued=True) == line


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("bash", ".local/share/bash-completion/completions/taskctl"),
        ("zsh", ".local/share/zsh/site-functions/_taskctl"),
        ("fish", ".config/fish/completions/taskctl.fish"),
    ],
)
def test_installing_writes_the_users_file_and_says_where(
    shell: Shell, name: str, file: str
) -> None:
    home = {"HOME": str(shell.folder), "XDG_DATA_HOME": "", "XDG_CONFIG_HOME": ""}

    first = shell.run("completion", name, "--install", **home)
    again = shell.run("completion", name, "--install", **home)

    path = shell.folder / file
    assert (first.code, first.out) == (0, f"installed {path}\n")
    assert path.read_text() == SCRIPTS[name]
    assert path.stat().st_mode & 0o777 == 0o644
    assert again.code == 0
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_installing_leaves_a_file_that_is_not_ours_alone(shell: Shell) -> None:
    path = shell.folder / "fish" / "completions" / "taskctl.fish"
    path.parent.mkdir(parents=True)
    path.write_text("# my own\n")

    said = shell.run("completion", "fish", "--install", XDG_CONFIG_HOME=str(shell.folder))

    assert (said.code, said.out) == (73, "")
    assert said.err.startswith(f"error: {path} is not ours: ")
    assert path.read_text() == "# my own\n"


def test_installing_where_nothing_can_be_written_is_one_line(shell: Shell) -> None:
    (shell.folder / "fish").write_text("a file\n")

    said = shell.run("completion", "fish", "--install", XDG_CONFIG_HOME=str(shell.folder))

    assert (said.code, said.out) == (73, "")
    assert said.err.startswith("error: cannot write ")


def test_an_unknown_shell_is_wrong_usage(shell: Shell) -> None:
    said = shell.run("completion", "tcsh")

    assert (said.code, said.out) == (2, "")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(shell: Shell) -> None:
    script = f"source {COMMITTED}/taskctl.fish; complete -C 'taskctl worker --pool=so'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        capture_output=True,
        text=True,
        env=env_of(shell),
        stdin=subprocess.DEVNULL,
    )

    assert done.stdout == "--pool=solo\n"


def press_tab(shell: Shell, argv: list[str], setup: str, line: str) -> str:
    """Type a line and TAB into an interactive shell; return what stands on the line then."""
    leader, follower = pty.openpty()
    env = {**env_of(shell), "TERM": "dumb", "PS1": "", "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(
        argv, stdin=follower, stdout=follower, stderr=follower, env=env, start_new_session=True
    )
    os.close(follower)
    shown = b""

    def wait_for(pattern: bytes) -> bytes:
        nonlocal shown
        deadline = time.monotonic() + 20
        while (found := re.search(pattern, shown)) is None:
            ready, _, _ = select.select([leader], [], [], 1.0)
            shown += os.read(leader, 65536) if ready else b""
            assert time.monotonic() < deadline, shown
        shown = shown[found.end() :]
        return found[1]

    try:
        os.write(leader, f"{setup}; echo se''t-up\n".encode())
        wait_for(b"(set-up)\r?\n")
        # Ctrl-A and a word in front make the completed line something to print.
        os.write(leader, f"{line}\t".encode())
        wait_for(b"(pool=solo)")
        os.write(leader, b"\x01echo 'line:' \n")
        return wait_for(rb"\nline: ([^\r\n]*)").decode()
    finally:
        process.kill()
        process.wait()
        os.close(leader)


@pytest.mark.parametrize(
    ("argv", "setup"),
    [
        pytest.param(["bash", "--norc", "--noprofile", "-i"], "source {}/taskctl.bash", id="bash"),
        pytest.param(
            ["zsh", "-f", "-i"],
            "fpath=({} $fpath); autoload -U compinit; compinit -u -D",
            id="zsh",
            marks=pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed"),
        ),
    ],
)
def test_tab_completes_in_a_real_shell(shell: Shell, argv: list[str], setup: str) -> None:
    line = press_tab(shell, argv, setup.format(COMMITTED), "taskctl worker --pool=so")

    assert line.strip() == "taskctl worker --pool=solo"
