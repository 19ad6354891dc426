"""multi: every word arrives as it was typed, and what only looks touches nothing."""

from __future__ import annotations

import contextlib
import io
import socket
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from taskctl.commands.multi import run
from taskctl.multi.grammar import parse

from ..support.nodes import Host
from ..support.shell import Shell

HOST = socket.gethostname()

#: Any word the system can pass as an argument.
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",)), max_size=20)
ODD = st.sampled_from(
    [" ", '"', "'", "%n", "%", "a:b", "é ß", "\\", "-A", "--", "$x", "\n", "日本"]
)
READING = st.sampled_from(["show", "names", "get", "expand", "status", "help", "logs"])
LINES = st.lists(
    st.sampled_from(
        "3 w1 w2@h -c -c:1 9 -Q:1-2 a,b -A proj --pidfile=%n.pid -f %n.log = %n".split()
    )
    | WORDS,
    max_size=6,
)


@settings(
    max_examples=3,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.large_base_example],
)
@given(
    st.lists(WORDS, min_size=2, max_size=2),
    st.lists(WORDS | ODD, min_size=100, max_size=200),
)
def test_any_words_reach_the_node_as_they_were_typed(
    host: Host, values: list[str], rest: list[str]
) -> None:
    """Two options and some hundred words are tried in one start; three starts are tried."""
    for_all, for_one = values

    host.start("w1", f"--include={for_all}", f"--queues:w1={for_one}", "--", *rest)

    told = host.told("w1")["argv"]
    host.multi("kill", "w1")
    assert f"--include={for_all}" in told
    assert f"--queues={for_one}" in told
    assert told[len(told) - len(rest) :] == rest


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(READING, LINES)
def test_what_only_looks_touches_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, words: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for kind in ("RUN", "LOG", "STATE"):
        monkeypatch.setenv(f"TASKCTL_{kind}_DIR", str(tmp_path / kind / "below"))
    line = [word for word in words if word not in ("-f", "-w")]  # they would not end

    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(Exception),
    ):
        run([command, *line])

    assert list(tmp_path.iterdir()) == []


def test_an_option_may_come_from_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKCTL_MULTI_TIMEOUT", "7")
    monkeypatch.setenv("CELERY_MULTI_RANGE_PREFIX", "node")
    monkeypatch.setenv("TASKCTL_MULTI_THEN_KILL", "1")
    monkeypatch.setenv("TASKCTL_MULTI_ROLLING", "no")
    monkeypatch.setenv("TASKCTL_MULTI_SIGNAL", "INT")

    stop = parse(["stopwait", "2"])
    given = parse(["restart", "2", "--timeout", "9", "-9"])
    start = parse(["start", "2"])

    assert stop.own == {
        "--range-prefix": "node", "--signal": "INT", "--timeout": "7", "--then-kill": None
    }  # fmt: skip
    assert (stop.signal, given.signal) == (2, 9)
    assert given.own["--timeout"] == "9"
    assert "--rolling" not in given.own
    assert start.own == {"--range-prefix": "node"}


def test_a_working_folder_is_gone_to_once_wherever_it_is_named(shell: Shell) -> None:
    (shell.folder / "sub").mkdir()
    there = f"--workdir={shell.folder}/sub"

    assert there in shell.run("--workdir", "sub", "multi", "show", "w1").out
    assert there in shell.run("multi", "show", "w1", "--workdir", "sub").out
    by_variable = shell.run("multi", "show", "w1", "--pidfile=%n.pid", "-j", TASKCTL_WORKDIR="sub")
    assert by_variable.json["items"][0]["pidfile"] == f"{shell.folder}/sub/w1.pid"


def test_global_options_in_front_mean_multi_too(shell: Shell) -> None:
    shown = shell.run("-j", "-A", "proj", "multi", "names", "2")

    assert [item["node"] for item in shown.json["items"]] == [f"celery{n}@{HOST}" for n in (1, 2)]
    assert shell.run("-o", "xml", "multi", "status", "w1").code == 2


@pytest.mark.parametrize("words", [("--datacenter=x", "-X", "3"), ("-X3", "--datacenter", "x")])
def test_options_of_the_users_app_are_known_if_the_line_names_it(
    shell: Shell, words: tuple[str, ...]
) -> None:
    _give_the_app_options(shell)

    known = shell.run("multi", "show", "w1", *words, "-A", "proj")
    unknown = shell.run("multi", "show", "w1", *words)

    assert known.code == 0, known.err
    assert " -X 3 " in known.out
    assert " --datacenter=x " in known.out
    assert unknown.code == 2
    assert unknown.err.startswith("error: unknown option ")


def test_an_unknown_option_is_unknown_to_the_app_too(shell: Shell) -> None:
    _give_the_app_options(shell)

    done = shell.run("-A", "proj", "multi", "start", "w1", "--datacentre=x")

    assert (done.code, done.out) == (2, "")
    assert done.err == "error: unknown option --datacentre\n  did you mean: --datacenter\n"


def test_errors_are_json_if_told_so(shell: Shell) -> None:
    done = shell.run("multi", "strat", "w1", "-j", TASKCTL_ERRORS="json")

    assert (done.code, done.out) == (2, "")
    assert '"code": "usage"' in done.err
    assert '"hint": "did you mean: taskctl multi start"' in done.err


def test_secrets_are_masked_wherever_they_stand(shell: Shell) -> None:
    done = shell.run(
        "multi", "show", "w1", "-b", "redis://u:canary@a/0", "--result-backend=redis://:canary@b/1",
        "--", "broker.password=canary",
    )  # fmt: skip

    assert done.code == 0
    assert "canary" not in done.out + done.err


def _give_the_app_options(shell: Shell) -> None:
    with (shell.folder / "proj" / "celery.py").open("a") as file:
        file.write(
            "\nimport click\n"
            "options = [click.Option(['--datacenter']), click.Option(['-X', '--xray'])]\n"
            "try:\n    app.user_options['worker'].update(options)\n"
            "except AttributeError:\n    app.user_options = {'worker': set(options)}\n"
        )


def test_a_disk_that_is_full_stops_a_start_with_one_clear_error(shell: Shell) -> None:
    """No file may grow by a byte: what a full disk looks like to a program."""
    (shell.folder / "run").mkdir()
    start = shell.argv("-A", "proj", "multi", "start", "w1", "-b", "sqlite:////dev/shm/none.db")

    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *start],
        capture_output=True, text=True, env=shell.env, cwd=shell.folder, timeout=30,
    )  # fmt: skip

    assert done.returncode == 73, done.stderr
    assert (
        f"w1@{HOST}: cannot make pidfile {shell.folder}/run/w1.pid: File too large" in done.stderr
    )
    assert "note: cannot write the record of w1@" in done.stderr
    assert list((shell.folder / "run").iterdir()) == []
