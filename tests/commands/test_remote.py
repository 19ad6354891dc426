"""`status`, `inspect` and `control` against real workers on the embedded broker."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import pytest

from ..support.shell import Shell
from ..support.waiting import eventually

#: Questions whose answer may have no line in a list.
_MAY_BE_EMPTY = ("active", "conf", "reserved", "revoked", "scheduled")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Two nodes, w1@h and w2@h; tests here leave them as they were."""
    shell = Shell(tmp_path_factory.mktemp("fleet"))
    try:
        shell.node("w1")
        shell.node("w2", "-Q", "celery,video")
        yield shell
    finally:
        shell.close()


# -- status


def test_status_in_a_pipe_is_celerys_text(fleet: Shell) -> None:
    said = fleet.proj("status")

    assert (said.code, said.err) == (0, "")
    assert said.out == "->  w1@h: OK\n->  w2@h: OK\n\n2 nodes online.\n"


def test_status_on_a_terminal_is_a_table_with_what_the_registry_knows(fleet: Shell) -> None:
    said = fleet.type("-A", "proj", "status", "-C")

    head, first, second, summary = said.out.splitlines()
    assert head.split() == ["NODE", "STATE", "SLOTS", "QUEUES", "DONE", "FAILED", "OLDEST", "UP"]
    assert first.startswith("w1@h  ok       0/2  celery ")
    assert second.startswith("w2@h  ok       0/2  celery,video ")
    assert summary == "2 of 2 nodes answered"
    assert "\x1b" not in said.out


def test_status_colours_a_terminal_and_nothing_else(fleet: Shell) -> None:
    assert "\x1b[32mok\x1b[0m" in fleet.type("-A", "proj", "status").out
    assert "\x1b" not in fleet.type("-A", "proj", "status", NO_COLOR="1").out
    assert "\x1b" not in fleet.proj("status", "-o", "table").out
    assert "\x1b[32mok" in fleet.proj("status", "-o", "table", "--color", "always").out


def test_a_narrow_terminal_loses_columns_never_digits(fleet: Shell) -> None:
    said = fleet.type("-A", "proj", "status", "-C", columns=34)

    lines = said.out.splitlines()
    assert lines[0].split()[:3] == ["NODE", "STATE", "SLOTS"]
    assert all(len(line) <= 34 for line in lines[:3])
    assert "0/2" in lines[1]
    assert any(line.startswith("note: too narrow for UP, OLDEST") for line in lines)


def test_status_as_json_is_celerys_with_j_and_native_with_o(fleet: Shell) -> None:
    celerys = fleet.proj("status", "-j").json
    native = fleet.proj("status", "-o", "json").json

    assert celerys == {"w1@h": {"ok": "pong"}, "w2@h": {"ok": "pong"}}
    assert (native["schema"], native["ok"], native["missing"]) == ("taskctl/status/1", True, [])
    facts = native["nodes"]["w2@h"]["ok"]
    assert (facts["state"], facts["slots"], facts["queues"]) == ("ok", 2, ["celery", "video"])


def test_status_as_names_and_as_plain_text(fleet: Shell) -> None:
    assert fleet.proj("status", "-o", "name").out == "w1@h\nw2@h\n"
    head, first, _ = fleet.proj("status", "-o", "plain").out.splitlines()
    assert dict(zip(head.split("\t"), first.split("\t"), strict=True))["busy"] == "0"


def test_a_named_node_that_is_missing_is_exit_3(fleet: Shell) -> None:
    said = fleet.proj("status", "-d", "w1,nobody@h", "-t", "0.4", "-o", "table")

    assert said.code == 3
    assert said.err == "1 of 2 nodes answered; silent: nobody@h\n"
    assert "nobody@h  silent" in said.out


def test_fewer_than_expected_is_exit_3(fleet: Shell) -> None:
    assert fleet.proj("status", "--expect", "2").code == 0
    assert fleet.proj("status", "--expect", "3", "-t", "0.4").code == 3


def test_a_short_name_that_fits_nobody_names_those_there_are(fleet: Shell) -> None:
    said = fleet.proj("status", "-d", "w3")

    assert (said.code, said.out) == (2, "")
    assert said.err == "error: -d: no node 'w3'; registered: w1@h, w2@h\n"


@pytest.mark.parametrize(
    ("words", "nodes"), [("w2", "w2@h"), ("w*@h", "w1@h w2@h"), ("queue:video", "w2@h"),
                         ("!w2", "w1@h"), ("@h", "w1@h w2@h")]
)  # fmt: skip
def test_destinations_are_words_for_nodes(fleet: Shell, words: str, nodes: str) -> None:
    assert fleet.proj("status", "-d", words, "-o", "name").out.split() == nodes.split()


def test_nobody_there_is_exit_69_and_says_where_it_looked(shell: Shell) -> None:
    said = shell.proj("status", "-t", "0.3", "-j")

    assert (said.code, said.out) == (69, "")
    assert said.err.startswith("error: no worker answered in 0.")
    assert f"sqlite:///{shell.folder}/.taskctl/queue.db" in said.err


def test_a_broker_that_is_away_is_exit_69_and_says_who_named_it(shell: Shell) -> None:
    said = shell.proj("inspect", "ping", TASKCTL_BROKER_URL="redis://127.0.0.1:1/0")

    assert said.code == 69
    assert "broker redis://127.0.0.1:1/0" in said.err
    assert "set by env TASKCTL_BROKER_URL" in said.err


def test_a_client_does_not_import_the_app_if_the_broker_is_known(fleet: Shell) -> None:
    broker = f"sqlite:///{fleet.folder}/.taskctl/queue.db"

    said = fleet.run("-A", "no_such_app", "-b", broker, "status", "-o", "name")

    assert (said.code, said.out) == (0, "w1@h\nw2@h\n"), said.err


def test_a_node_that_was_killed_is_silent_and_does_not_hide(shell: Shell) -> None:
    shell.node("w1")
    killed = shell.node("w2")
    killed.kill()
    killed.wait()

    said = shell.proj("status", "-t", "0.5", "-o", "table", "--strict")

    assert said.code == 3
    assert "w2@h  silent      ?" in said.out
    assert said.err == "1 of 2 nodes answered; silent: w2@h\n"


# -- inspect


def test_inspect_in_a_pipe_is_celerys_text(fleet: Shell) -> None:
    assert fleet.proj("inspect", "ping", "-d", "w1").out == (
        "->  w1@h: OK\n        pong\n\n1 node online.\n"
    )
    assert fleet.proj("inspect", "active", "-d", "w1").out == (
        "->  w1@h: OK\n    - empty -\n\n1 node online.\n"
    )
    registered = fleet.proj("-q", "inspect", "registered", "-d", "w1").out
    assert registered == (
        " w1@h: OK\n    * proj.celery.add\n    * proj.celery.nap\n    * proj.celery.say\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", "-t", "2", "-d", "w1@h,w2@h", "ping"),
        ("inspect", "ping", "-d", "w1@h", "-d", "w2@h", "-t", "2"),
        ("-j", "inspect", "ping", "-t", "2"),
    ],
)
def test_options_stand_before_between_and_behind(fleet: Shell, words: tuple[str, ...]) -> None:
    assert fleet.proj(*words, "-j").json == {"w1@h": {"ok": "pong"}, "w2@h": {"ok": "pong"}}


def test_a_running_task_is_shown_while_it_runs(shell: Shell) -> None:
    shell.node("w1")
    task_id = shell.python("from proj.celery import nap; print(nap.delay(20).id)")
    eventually(lambda: shell.proj("inspect", "active", "-o", "name").out.strip() == task_id)

    table = shell.proj("inspect", "active", "-o", "table").out.splitlines()
    native = shell.proj("inspect", "active", "-o", "json").json
    found = shell.proj("inspect", "query_task", task_id, "-j").json

    assert table[0].split() == ["NODE", "TASK", "ID", "RUNNING", "CHILD", "ARGUMENTS"]
    assert table[1].split()[:3] == ["w1@h", "proj.celery.nap", task_id[:8]]
    assert table[1].endswith("  20")
    assert native["schema"] == "taskctl/inspect.active/1"
    assert native["nodes"]["w1@h"]["ok"][0]["id"] == task_id
    assert found["w1@h"][task_id][0] == "active"
    killed = shell.proj("control", "revoke", task_id, "--terminate", "--signal", "KILL", "-j")
    assert killed.json == [{"w1@h": {"ok": f"terminate: {task_id}"}}]


@pytest.mark.parametrize(
    "method",
    ["active", "active_queues", "clock", "conf", "memdump", "memsample", "ping", "registered",
     "report", "reserved", "revoked", "scheduled", "stacks", "stats"],
)  # fmt: skip
@pytest.mark.parametrize("format", ["table", "plain", "jsonl", "celery"])
def test_every_question_can_be_drawn_in_every_format(
    fleet: Shell, method: str, format: str
) -> None:
    said = fleet.proj("inspect", method, "-o", format)

    assert (said.code, said.err) == (0, "")
    assert "w1@h" in said.out or method in _MAY_BE_EMPTY
    if format == "jsonl":
        nodes = [json.loads(line) for line in said.out.splitlines()]
        assert sorted(node["node"] for node in nodes) == ["w1@h", "w2@h"]


def test_stats_on_a_terminal_are_some_lines_a_node(fleet: Shell) -> None:
    said = fleet.proj("inspect", "stats", "-d", "w1", "-o", "table")

    first, tasks, memory, cpu, broker = said.out.splitlines()
    assert first.startswith("w1@h  pid ")
    assert first.endswith(", prefork 2 children, prefetch 2")
    assert tasks == "  tasks   none yet"
    assert re.fullmatch(r"  memory  \d+ MiB parent, \d+ MiB in 2 children, peak \d+ MiB", memory)
    assert "s user" in cpu
    where = f"  broker  sqlite {fleet.folder}/.taskctl/queue.db, connected "
    assert broker.startswith(where) and broker.endswith(" s, 0 reconnects")


def test_list_and_help_ask_nobody(shell: Shell) -> None:
    listed = shell.run("inspect", "--list")
    one = shell.run("control", "rate_limit", "--help")

    assert (listed.code, one.code) == (0, 0)
    assert "query_task IDS..." in listed.out
    assert "hello" not in listed.out
    assert one.out.startswith("Usage: taskctl control rate_limit TASK_NAME RATE_LIMIT [OPTIONS]\n")


# -- control


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), "error: control wants a command, got nothing; nothing was sent\n  choose from add_"),
        (("shutdwn",), "error: no control command 'shutdwn'; nothing was sent\n  did you mean: sh"),
        (("ping",), "error: ping is no control command\n  did you mean: taskctl inspect ping\n"),
        (
            ("rate_limit",),
            "error: control rate_limit wants TASK_NAME RATE_LIMIT, got nothing; nothing was sent\n"
            "  example: taskctl control rate_limit proj.thumbnail 10/m\n",
        ),
        (("rate_limit", "a", "1/m", "x"), "error: control rate_limit wants TASK_NAME RATE_LIMIT, "),
        (("rate_limit", "a", "5/x"), "error: control rate_limit: the rate must be a rate like"),
        (("pool_grow", "x"), "error: control pool_grow: n must be a whole number, got 'x'"),
        (("pool_grow", "1", "2"), "error: control pool_grow wants [N], got 1 2; nothing was sent"),
        (("revoke",), "error: control revoke wants TASK_ID..., got nothing; nothing was sent\n"),
        (("revoke", "x", "--signal", "FOO"), "error: no signal 'FOO': write TERM, KILL, USR1"),
        (("shutdown", "--terminate"), "error: --terminate goes with control revoke, not with"),
        (("autoscale", "2", "5"), "error: control autoscale: max 2 is below min 5; nothing was"),
        (("time_limit", "t", "9", "5"), "error: control time_limit: soft 9 is above hard 5; noth"),
        (("revoke_by_stamped_headers", "x"), "error: control revoke_by_stamped_headers: 'x' is n"),
        (("election", "1", "task"), "error: control election: the topic task wants an ACTION; no"),
        (("election", "1", "chief", "x"), "error: control election: no topic 'chief': there is t"),
        (("pool_restart", "maybe"), "error: control pool_restart: reload must be yes or no, got "),
        (("pool_shrink", "-1"), "error: no option -1 in taskctl control"),
    ],
)
def test_arguments_are_checked_before_anything_is_sent(
    shell: Shell, words: tuple[str, ...], error: str
) -> None:
    said = shell.proj("control", *words)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(error)


def test_a_rate_limit_is_set_on_all_nodes(fleet: Shell) -> None:
    text = fleet.proj("control", "rate_limit", "proj.celery.add", "10/m")
    celerys = fleet.proj("control", "rate_limit", "proj.celery.add", "0", "-j")

    assert text.code == 0
    assert text.out == (
        "->  w1@h: OK\n        new rate limit set successfully\n"
        "->  w2@h: OK\n        new rate limit set successfully\n"
    )
    said = {"ok": "rate limit disabled successfully", "what": "proj.celery.add"}
    assert celerys.json == [
        {node: {**said, "old": "10/m", "new": None}} for node in ("w1@h", "w2@h")
    ]


def test_a_node_that_refuses_is_exit_1_with_its_words(fleet: Shell) -> None:
    table = fleet.proj("control", "rate_limit", "nope", "10/m", "-o", "table")
    native = fleet.proj("control", "rate_limit", "nope", "10/m", "-o", "json")

    assert (table.code, native.code) == (1, 1)
    words = "unknown task 'nope'; has proj.celery.add, proj.celery.nap, proj.celery.say"
    assert table.out.splitlines()[1] == f"w1@h  error   {words}"
    assert table.err == "2 of 2 nodes refused\n"
    assert native.json["ok"] is False
    assert native.json["nodes"]["w1@h"] == {"error": {"code": "refused", "message": words}}


def test_queues_are_added_and_taken_away(fleet: Shell) -> None:
    fleet.proj("control", "-d", "w1@h", "add_consumer", "extra")
    queues = fleet.proj("inspect", "active_queues", "-d", "w1", "-o", "name").out.split()
    fleet.proj("control", "cancel_consumer", "extra", "-d", "w1")

    assert queues == ["celery", "extra"]
    assert fleet.proj("inspect", "active_queues", "-d", "w1", "-o", "name").out == "celery\n"


def test_dry_run_says_what_would_be_sent_and_to_whom(fleet: Shell) -> None:
    said = fleet.proj("control", "shutdown", "--dry-run", "-d", "w*")

    assert (said.code, said.out) == (
        0,
        "would send shutdown to 2 nodes\n  w1@h  idle\n  w2@h  idle\n",
    )
    assert len(fleet.proj("status", "-o", "name").out.split()) == 2


def test_shutdown_asks_on_a_terminal_and_not_in_a_script(shell: Shell) -> None:
    node = shell.node("w1")

    no = shell.type("-A", "proj", "control", "shutdown", answer="n\n")
    assert no.code == 1
    assert "shutdown on 1 node? [y/N]" in no.out
    assert "error: nothing was done" in no.out
    assert node.poll() is None

    yes = shell.proj("control", "shutdown")
    assert (yes.code, node.wait(10)) == (0, 0)
    assert yes.out == "->  w1@h: OK\n        shutting down\n"


def test_ctrl_c_while_waiting_is_exit_130(shell: Shell) -> None:
    waiting = shell.start("-A", "proj", "status", "-t", "30")
    eventually(lambda: (shell.folder / ".taskctl" / "queue.db").exists())

    waiting.send_signal(signal.SIGINT)

    assert waiting.wait(10) == 130
    assert "Traceback" not in shell.err
