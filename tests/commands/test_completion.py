"""Shells complete our command lines; the committed scripts are those the program prints."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from taskctl.completer import Line, read_line
from taskctl.multi.nodes import Spec
from taskctl.multi.records import Record, Records
from taskctl.shells import FILES, SCRIPTS

from ..support.shell import Shell

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
    done = subprocess.run(argv, capture_output=True, text=True, env=env_of(shell), check=True)
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
        (["config", ""], ["show", "get", "humanize", "censor", "check"]),
        (["config", "get", "broker_u"], ["broker_url", "broker_use_ssl", "broker_user"]),
        (["call", "--exp"], ["--expires"]),
        (["worker", "-P", "so"], ["solo"]),
        (["worker", "--pool", "=", "so"], ["solo"]),
        (["worker", "--pool", "="], ["prefork", "solo", "threads", "processes"]),
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
        ["fish", "--no-config", "-c", script], capture_output=True, text=True, env=env_of(shell)
    )

    assert done.stdout == "--pool=solo\n"


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_hands_the_candidates_to_its_completion(shell: Shell) -> None:
    script = (
        'compadd() { print -r -- "${values[@]}"; }; compdef() { _taskctl; };'
        f"words=(taskctl worker -P so); CURRENT=4; source {COMMITTED}/_taskctl"
    )
    done = subprocess.run(
        ["zsh", "-f", "-c", script], capture_output=True, text=True, env=env_of(shell)
    )

    assert done.stdout == "solo\n"
