"""`taskctl doctor`: what is wrong, stage by stage, and a cure that can be pasted."""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis

from taskctl.core.remote.cluster import NodeRecord
from taskctl.doctor import fleet
from taskctl.doctor.findings import Check, Trouble, examine, fail, ok, warn
from taskctl.doctor.stages import CHECKS

from ..support.shell import Said, Shell
from ..support.waiting import eventually


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A project with one node, for tests that leave it well."""
    shell = Shell(tmp_path_factory.mktemp("clinic"))
    shell.node("w1")
    yield shell
    shell.close()


def findings(said: Said) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for item in said.json["items"]:
        found.setdefault(item["check"], []).append(item)
    return found


# -- how checks are run


def test_a_check_that_fails_skips_those_that_need_it() -> None:
    def broken(_: object) -> list[Any]:
        raise Trouble("the line is cut", "mend it")

    checks = [
        Check("line", broken),
        Check("call", lambda _: [ok("fine")], ("line",)),
        Check("other", lambda _: [ok("fine"), warn("but"), fail("worse")]),
    ]

    found = list(examine(checks, None, 5.0))

    assert [(one.check, one.state, one.message) for one in found] == [
        ("line", "FAIL", "the line is cut"),
        ("call", "skip", "not looked at: line comes first"),
        ("other", "warn", "but"),
        ("other", "FAIL", "worse"),
    ]
    assert found[0].cure == "mend it"


def test_a_check_that_hangs_is_ended_though_it_catches_everything() -> None:
    def hang(_: object) -> list[Any]:
        try:
            time.sleep(30)
        except Exception:
            time.sleep(30)
        return []

    began = time.monotonic()
    [found] = examine([Check("slow", hang)], None, 0.2)

    assert time.monotonic() - began < 5
    assert (found.state, found.message) == ("FAIL", "no answer within 0.2 s")


def test_clocks_that_differ_are_told_with_the_host() -> None:
    class Patient:
        records = [
            NodeRecord(name="a@x", owner="a", alive=True, age=1.0,
                       record={"host": "x", "at": time.time() - 1.0}),
            NodeRecord(name="b@y", owner="b", alive=True, age=1.0,
                       record={"host": "y", "at": time.time() + 299.0}),
        ]  # fmt: skip
        server: dict[str, Any] = {"clock_skew": -5.0}

    found = [said for said in fleet.check_clocks(Patient()) if said.state != "ok"]  # type: ignore[arg-type]

    assert [said.state for said in found] == ["warn", "FAIL"]
    assert found[0].message.startswith("the clock of the broker is 5 s behind the one here")
    assert found[1].message.startswith("the clock of y is ")


# -- a site that is well


def test_a_site_that_is_well_exits_0(clinic: Shell) -> None:
    # A machine that is busy with other tests may be slow enough to be told so.
    said = eventually(lambda: _without_doubts(clinic.proj("doctor", "-o", "table")), within=30)

    assert said.code == 0, said.out
    first, second = said.out.splitlines()
    assert first.startswith("ok    app       proj.celery:app, 3 tasks, imported in 0.")
    assert second.startswith(f"ok    broker    sqlite:///{clinic.folder}/.taskctl/queue.db, ")
    assert said.err == f"{len(CHECKS)} ok (-v lists all)\n"


def _without_doubts(said: Said) -> Said | None:
    return None if "for a round trip" in said.out else said


def test_every_check_is_an_item_with_the_same_keys(clinic: Shell) -> None:
    said = clinic.proj("doctor", "-o", "json")

    document = said.json
    assert (document["schema"], document["ok"]) == ("taskctl/doctor/1", True)
    assert [item["check"] for item in document["items"]] == [check.name for check in CHECKS]
    assert {tuple(item) for item in document["items"]} == {
        ("check", "state", "message", "cure", "seconds")
    }
    assert clinic.proj("doctor", "-j", "-q").json["ok"] is True


def test_verbose_lists_what_is_well_and_a_pipe_gets_tabs(clinic: Shell) -> None:
    listed = clinic.proj("doctor", "-v", "-o", "table")
    piped = clinic.proj("doctor", "--where", "check == nodes", "--fields", "check,state,message")

    assert [line.split()[1] for line in listed.out.splitlines()] == [c.name for c in CHECKS]
    assert piped.out == "check\tstate\tmessage\nnodes\tok\t1 of 1 answer: w1@h\n"


def test_a_cure_can_be_pasted_and_cures(clinic: Shell) -> None:
    sent = clinic.proj("call", "proj.celery.add", "-a", "[1, 2]", "--queue", "images")

    sick = clinic.proj("doctor", "-o", "json")
    [queues] = findings(sick)["queues"]

    assert sick.code == 1
    assert (queues["state"], queues["message"]) == (
        "FAIL",
        "'images' has 1 message and no consumer",
    )
    assert queues["cure"] == "taskctl -A proj control add_consumer images -d w1@h"

    cured = clinic.run(*shlex.split(queues["cure"])[1:])

    assert cured.code == 0
    assert clinic.proj("result", sent.out.strip(), "--timeout", "10").out == "3\n"
    assert clinic.proj("doctor").code == 0


def test_messages_for_a_task_nobody_knows_are_found(clinic: Shell) -> None:
    clinic.proj("call", "proj.celery.ad", "--queue", "strange")

    found = findings(clinic.proj("doctor", "-o", "json"))
    clinic.proj("purge", "-f", "-Q", "strange")

    assert found["tasks"][0]["message"] == (
        "1 message for 'proj.celery.ad', which no node has registered; they know proj.celery.add"
    )


def test_dead_letters_are_counted_with_their_reasons(clinic: Shell) -> None:
    clinic.proj("call", "proj.celery.gone")

    dead = eventually(lambda: _warned(clinic, "dead"))
    clinic.proj("purge", "-f", "-Q", "celery.dead")

    assert dead["message"] == "1 dead letter in 'celery.dead': unregistered 1"
    assert dead["cure"] == "taskctl -A proj dlq ls"


def _warned(shell: Shell, check: str) -> dict[str, Any] | None:
    [found] = findings(shell.proj("doctor", "-o", "json"))[check]
    return found if found["state"] == "warn" else None


# -- sites that are not


def test_an_app_that_cannot_be_imported_is_told_and_the_rest_goes_on(clinic: Shell) -> None:
    url = f"sqlite:///{clinic.folder}/.taskctl/queue.db"

    known = clinic.run("-A", "nope", "-b", url, "doctor", "-o", "json")
    unknown = clinic.run("-A", "nope", "doctor", "-o", "json")

    found = findings(known)
    assert known.code == unknown.code == 1
    assert found["app"][0]["state"] == "FAIL"
    assert found["app"][0]["message"].startswith("no module 'nope' in ")
    assert (found["settings"][0]["state"], found["nodes"][0]["state"]) == ("skip", "ok")
    assert findings(unknown)["broker"][0]["message"] == "no app, so no broker is known"


def test_without_a_broker_what_stands_on_it_is_skipped(shell: Shell) -> None:
    said = shell.proj("-b", "redis://:hunter2@127.0.0.1:1/0", "doctor", "-o", "json")

    found = findings(said)
    assert (said.code, said.json["ok"]) == (1, False)
    assert found["broker"][0]["cure"].startswith("redis-cli -h 127.0.0.1 -p 1 --askpass ping")
    assert found["broker"][0]["cure"].endswith("broker_url is set by -b")
    skipped = {name for name, [one] in found.items() if one["state"] == "skip"}
    assert {"storage", "results", "nodes", "clocks", "queues", "tasks", "dead"} <= skipped
    assert "hunter2" not in said.out + said.err


def test_a_broker_that_hangs_costs_no_more_than_the_timeout(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as blackhole:
        url = f"redis://127.0.0.1:{blackhole.getsockname()[1]}/0"
        began = time.monotonic()
        said = shell.proj("-b", url, "doctor", "--timeout", "0.5", "-o", "json")

    assert time.monotonic() - began < 5
    assert findings(said)["broker"][0]["state"] == "FAIL"


def test_looking_makes_no_database(shell: Shell) -> None:
    said = shell.proj("doctor", "-o", "json")

    [broker] = findings(said)["broker"]
    assert (said.code, broker["state"]) == (0, "warn")
    assert broker["message"].endswith("is not there yet: nothing was ever sent or run")
    assert not (shell.folder / ".taskctl").exists()
    assert not (shell.folder / "run").exists()


def test_redis_is_asked_for_what_loses_messages_and_for_litter(
    shell: Shell, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.rpush("0b.reply.celery.pidbox", "x")
        client.set("celery-task-meta-1", "{}")
        client.zadd("unacked_index", {"old": time.time() - 7200, "new": time.time()})

    said = shell.proj("-b", redis_url, "doctor", "-o", "json")

    found = findings(said)
    assert found["storage"][0]["message"].startswith("neither appendonly nor save is on")
    assert found["unacked"][0]["message"].startswith("1 message unacknowledged for longer than")
    assert [one["message"].split(" that never")[0] for one in found["litter"]] == [
        "1 reply queues of Celery's clients",
        "1 results",
    ]
    assert found["clocks"][0]["state"] == "ok"


def test_nodes_on_record_that_died_and_stale_pidfiles_are_found(shell: Shell) -> None:
    run = shell.folder / "run"
    run.mkdir(mode=0o700)
    (run / "old.pid").write_text("999999\n")

    [stale] = findings(shell.proj("doctor", "-o", "json"))["multi"]

    assert stale["message"] == f"stale pidfile {run}/old.pid: pid 999999 is gone"
    assert stale["cure"] == f"rm {run}/old.pid"


def test_a_folder_that_cannot_be_made_fails(shell: Shell) -> None:
    (shell.folder / "file").touch()

    said = shell.proj("doctor", "-o", "json", TASKCTL_RUN_DIR=str(shell.folder / "file" / "run"))

    [places] = findings(said)["places"]
    assert (said.code, places["state"]) == (1, "FAIL")
    assert places["cure"] == "export TASKCTL_RUN_DIR=$HOME/.taskctl/run"


@pytest.mark.parametrize(
    "words", [["--timeout", "x"], ["--timeout", "0"], ["extra"], ["-o", "celery"]]
)
def test_wrong_use_is_one_line(shell: Shell, words: list[str]) -> None:
    said = shell.proj("doctor", *words)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ")
