"""Commands of an app's own, choosing what to show, watching, exit codes: on one running node."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import pytest

from ..support.shell import Shell
from ..support.waiting import eventually

#: Commands beside those of the vocabulary, as Celery's decorators make them.
OWN = """
from taskctl.core.remote.panel import control_command, inspect_command

@control_command(args=[("limit", int)], signature="<limit>")
def set_quota(state, limit):
    "Set the quota of this node"
    state.worker.quota = limit
    return {"ok": f"quota is now {limit}"}

@inspect_command(alias="dump_quota")
def quota(state, **kwargs):
    "Show the quota of nodes."
    return {"quota": getattr(state.worker, "quota", 0), "host": state.hostname}

@inspect_command(variadic="names")
def places(state, names=()):
    return [{"name": name, "place": number} for number, name in enumerate(names)]

@inspect_command()
def broken(state):
    return {}["nothing"]
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """One node, w1@h, with commands of its own, that runs two tasks of different ages."""
    shell = Shell(tmp_path_factory.mktemp("own"))
    with (shell.folder / "proj" / "celery.py").open("a") as file:
        file.write(OWN)
    try:
        shell.node("w1", "worker_pool_restarts=true")
        send = "import sys; from proj.celery import nap; print(nap.delay(int(sys.argv[1])).id)"
        shell.python(send.replace("sys.argv[1]", "'300'"))
        eventually(lambda: len(shell.proj("inspect", "active", "-o", "name").out.split()) == 1)
        shell.python(send.replace("sys.argv[1]", "'301'"))
        eventually(lambda: len(shell.proj("inspect", "active", "-o", "name").out.split()) == 2)
        yield shell
    finally:
        shell.close()


# -- commands of the app's own


def test_commands_of_the_app_are_called_with_their_arguments(own: Shell) -> None:
    told = own.proj("control", "set_quota", "7", "-o", "table")
    asked = own.proj("inspect", "quota", "-j")
    aliased = own.proj("inspect", "dump_quota", "-o", "plain")
    places = own.proj("inspect", "places", "a", "b", "-o", "table")

    assert told.out.splitlines()[1] == "w1@h  ok      quota is now 7"
    assert asked.json == {"w1@h": {"quota": 7, "host": "w1@h"}}
    assert aliased.out == "node\tquota\thost\nw1@h\t7\tw1@h\n"
    assert [line.split() for line in places.out.splitlines()] == [
        ["NODE", "NAME", "PLACE"],
        ["w1@h", "a", "0"],
        ["w1@h", "b", "1"],
    ]


def test_commands_of_the_app_are_listed_and_have_help(own: Shell) -> None:
    listed = own.proj("control", "--list").out
    helped = own.proj("control", "set_quota", "--help")

    assert re.search(r"set_quota <limit> +Set the quota of this node\n", listed)
    assert "set_quota" not in own.run("control", "--list").out
    assert helped.code == 0
    assert helped.out.startswith("Usage: taskctl control set_quota <limit> [OPTIONS]\n\n  Set the")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("control", "set_quota"), "error: control set_quota wants <limit>, got nothing; nothing"),
        (("control", "set_quota", "x"), "error: control set_quota: limit must be a whole number,"),
        (("control", "quota"), "error: quota is no control command\n  did you mean: taskctl insp"),
        (("inspect", "quotas"), "error: no inspect command 'quotas'; nothing was sent\n  did you"),
    ],
)
def test_wrong_use_of_commands_of_the_app(own: Shell, words: tuple[str, ...], error: str) -> None:
    said = own.proj(*words)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(error)


def test_a_command_of_the_app_that_breaks_is_a_refusal(own: Shell) -> None:
    said = own.proj("inspect", "broken", "-o", "table")

    assert (said.code, said.out) == (1, "")
    assert said.err == "error: w1@h: KeyError('nothing')\n"


def test_without_the_app_its_commands_are_unknown(own: Shell) -> None:
    said = own.run("-b", f"sqlite:///{own.folder}/.taskctl/queue.db", "inspect", "quota")

    assert said.code == 2
    assert said.err.startswith("error: no inspect command 'quota'")


# -- what to show


def test_fields_pick_columns_and_keys_in_every_format(own: Shell) -> None:
    words = ("inspect", "active", "--fields", "arguments,delivery_info.routing_key")

    plain = own.proj(*words)
    native = own.proj(*words, "-o", "json").json["nodes"]["w1@h"]["ok"]
    lines = [json.loads(line) for line in own.proj(*words, "-o", "jsonl").out.splitlines()]

    assert plain.out.splitlines()[0] == "arguments\tdelivery_info.routing_key"
    assert sorted(plain.out.splitlines()[1:]) == ["300\tcelery", "301\tcelery"]
    assert {"arguments": "300", "delivery_info.routing_key": "celery"} in native
    assert len(native) == 2
    assert [line["node"] for line in lines] == ["w1@h"]
    assert sorted(lines[0]["ok"], key=str) == sorted(native, key=str)


def test_rows_are_chosen_and_sorted_in_every_format(own: Shell) -> None:
    oldest = own.proj(
        "inspect", "active", "--sort", "-running_seconds", "--no-header", "-o", "plain"
    )
    chosen = own.proj("inspect", "active", "--where", "arguments == '301'", "-j").json["w1@h"]
    none = own.proj("inspect", "active", "--where", "running_seconds > 1h", "-o", "json").json

    assert [line.split("\t")[-1] for line in oldest.out.splitlines()] == ["300", "301"]
    assert [(task["args"], task["type"]) for task in chosen] == [([301], "proj.celery.nap")]
    assert none["nodes"] == {"w1@h": {"ok": []}}


def test_keys_of_objects_are_picked_too(own: Shell) -> None:
    stats = own.proj("inspect", "stats", "--fields", "pid,pool.max-concurrency", "-j").json["w1@h"]
    conf = own.proj("inspect", "conf", "--where", "setting == worker_pool_*", "-j").json["w1@h"]
    status = own.proj("status", "--fields", "node,state,slots", "--no-header")

    assert stats.keys() == {"pid", "pool.max-concurrency"}
    assert stats["pool.max-concurrency"] == 2
    assert conf == {"worker_pool_restarts": True}
    assert status.out == "w1@h\tbusy\t2\n"


@pytest.mark.parametrize("command", [("status",), ("inspect", "active")])
def test_a_key_that_does_not_exist_is_refused(own: Shell, command: tuple[str, ...]) -> None:
    said = own.proj(*command, "--fields", "nodes", "-o", "plain")

    assert (said.code, said.out) == (2, "")
    assert said.err == "error: --fields nodes: there is no such key\n  did you mean: node\n"


def test_watching_in_a_pipe_appends_lines_of_json(own: Shell) -> None:
    watch = own.start("-A", "proj", "status", "-w", "0.1", "--fields", "node,state")
    assert watch.stdout is not None
    frames = [json.loads(watch.stdout.readline()) for _ in range(3)]

    watch.send_signal(signal.SIGINT)

    assert watch.wait(10) == 130
    assert frames == [{"node": "w1@h", "state": "busy"}] * 3


def test_the_word_behind_w_may_be_the_command(own: Shell) -> None:
    watch = own.start("-A", "proj", "inspect", "-w", "ping")
    assert watch.stdout is not None

    assert json.loads(watch.stdout.readline()) == {"node": "w1@h", "ok": "pong"}

    watch.send_signal(signal.SIGINT)
    assert watch.wait(10) == 130


# -- variables and exit codes


def test_options_come_from_variables_too(own: Shell) -> None:
    strict = own.proj("status", TASKCTL_STATUS_EXPECT="2", TASKCTL_STATUS_TIMEOUT="0.3")
    older = own.proj("inspect", "ping", CELERY_INSPECT_DESTINATION="nobody@h,w1@h",
                     CELERY_INSPECT_TIMEOUT="0.3")  # fmt: skip
    wrong = own.proj("inspect", "ping", TASKCTL_INSPECT_TIMEOUT="soon")

    assert strict.code == 3
    assert older.code == 3
    assert wrong.code == 2
    assert wrong.err.startswith("error: TASKCTL_INSPECT_TIMEOUT=soon: a number expected")


def test_celerys_exit_codes_come_back_on_request(own: Shell) -> None:
    refused = ("control", "rate_limit", "nope", "1/m")
    missing = ("inspect", "ping", "-d", "w1,nobody@h", "-t", "0.3")

    assert [own.proj(*words).code for words in (refused, missing)] == [1, 3]
    assert [own.proj(*words, TASKCTL_STRICT="0").code for words in (refused, missing)] == [0, 0]
    assert own.proj(*missing, "--expect", "2", TASKCTL_STRICT="0").code == 3


# -- what changes and what is destroyed


def test_a_dry_run_tells_machines_too_and_changes_nothing(own: Shell) -> None:
    own.python("from proj.celery import add; [add.apply_async((1, 2), queue='q') for _ in '123']")
    said = own.proj("control", "cancel_consumer", "q", "--dry-run", "-o", "json").json
    text = own.proj("control", "revoke", "abc", "--terminate", "--signal", "KILL", "--dry-run")

    assert (said["schema"], said["command"], said["messages"]) == (
        "taskctl/control.dry_run/1", "cancel_consumer q", 3,
    )  # fmt: skip
    assert said["items"] == [{"node": "w1@h", "running": 2}]
    assert text.out == (
        "would send revoke abc --terminate --signal KILL to 1 node\n  w1@h  2 tasks running\n"
    )


def test_a_question_names_what_would_be_lost(own: Shell) -> None:
    said = own.type("-A", "proj", "control", "shutdown", answer="n\n")

    assert "shutdown on 1 node (2 tasks run there)? [y/N]" in said.out
    assert said.code == 1


def test_nobody_left_is_not_everybody(own: Shell) -> None:
    said = own.proj("control", "shutdown", "-d", "w1,!w1")

    assert (said.code, said.out) == (2, "")
    assert said.err == "error: -d: no node is left; registered: w1@h\n"
    assert own.proj("status", "-o", "name").out == "w1@h\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("time_limit proj.celery.say 60 120",
         "proj.celery.say: soft 60 s, hard 120 s, was none (until the node restarts)"),
        ("rate_limit proj.celery.say 10/m",
         "proj.celery.say: 10/m, was none (until the node restarts)"),
        ("rate_limit proj.celery.say 10/m", "proj.celery.say: 10/m, as it was"),
        ("pool_grow 2", "pool size: 4, was 2 (until the node restarts)"),
        ("add_consumer extra", "queues: celery,extra, was celery (until the node restarts)"),
        ("enable_events", "task events: on, was off (until the node restarts)"),
        ("pool_restart", "reload started"),
        ("heartbeat", ""),
    ],
)  # fmt: skip
def test_replies_show_what_is_and_what_was(own: Shell, words: str, text: str) -> None:
    said = own.proj("control", *words.split(), "-o", "table", "-q")

    assert said.out.splitlines()[1] == f"w1@h  ok      {text}".rstrip()


def test_a_refusal_of_one_command_keeps_its_words_for_machines(own: Shell) -> None:
    celerys = own.proj("control", "autoscale", "3", "1", "-j")
    native = own.proj("control", "autoscale", "3", "1", "-o", "json").json["nodes"]["w1@h"]

    assert celerys.code == 1
    assert celerys.json == [{"w1@h": {"error": "ValueError('Autoscale not enabled')"}}]
    assert native == {
        "error": {"code": "refused", "message": "ValueError('Autoscale not enabled')"}
    }
