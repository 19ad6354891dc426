"""`taskctl dlq`: dead letters shown, sent back exactly once, dropped only when it was meant."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl import App
from taskctl.core import states
from taskctl.core.messaging import deadletters
from taskctl.core.remote.letters import LetterBox
from taskctl.core.wire.message import Publication
from taskctl.core.wire.outcome import StoredMeta
from taskctl.core.wire.result_meta import encode_meta

from ..support.inside import Desk
from ..support.servers import free_port
from ..support.shell import Shell
from ..support.waiting import eventually

DEAD = "celery.dead"


def bury(desk: Desk, *args: Any, queue: str = "images", **facts: Any) -> str:
    """Send a task and bury it as a worker would; return its id."""
    options = facts.pop("options", {})
    task_id = desk.send("proj.thumb", *args, queue=queue, **options)
    (envelope,) = [e for e in desk.broker.peek(queue, 100) if task_id.encode() in e]
    why = {"reason": "worker-lost", "detail": "killed by SIGKILL", "node": "w1@h", **facts}
    letter = deadletters.bury(envelope, source=queue, queue=DEAD, task_id=task_id, **why)
    assert desk.broker.swap(queue, envelope, [letter])
    fail(desk, task_id)
    return task_id


def fail(desk: Desk, task_id: str, state: str = "FAILURE") -> None:
    """Store the end of a task."""
    meta = encode_meta(
        task_id=task_id,
        state=state,
        result=ValueError("no") if state == "FAILURE" else 3,
        children=None,
        date_done=desk.app.now(),
        serializer="json",
    )
    desk.app.backend.store([StoredMeta(task_id=task_id, state=state, meta=meta)])


def test_ls_gives_every_letter_with_its_facts(desk: Desk) -> None:
    one = bury(desk, "a.png", attempts=3)
    two = bury(desk, reason="rejected", detail="ValueError('no')", traceback="Trace\n  line 1\n")

    rows = desk.items("dlq", "ls")

    assert [row["id"] for row in rows] == [one, two]
    assert list(rows[0]) == [
        "id", "task", "queue", "reason", "failed_at", "attempts", "node", "exception", "traceback",
    ]  # fmt: skip
    first, second = rows
    assert (first["task"], first["queue"], first["reason"]) == (
        "proj.thumb",
        "images",
        "worker-lost",
    )
    assert (first["attempts"], first["node"], first["traceback"]) == (3, "w1@h", None)
    assert first["failed_at"].endswith("Z")
    assert (second["attempts"], second["exception"]) == (1, "ValueError('no')")
    assert second["traceback"] == "Trace\n  line 1\n"
    assert desk.run("dlq", "ls", "-o", "name").out.split() == [one, two]
    assert desk.run("dlq", "ls", "--where", "reason == rejected", "-o", "name").out == f"{two}\n"
    assert desk.run("dlq", "ls", "-q").out.splitlines()[0].split("\t")[:2] == ["id", "task"]


def test_show_takes_a_prefix_and_tells_everything(desk: Desk) -> None:
    task_id = bury(desk, "a.png", "redis://u:hunter2@h/0", traceback="Trace\n  line 1")

    (row,) = desk.items("dlq", "show", task_id[:6])

    assert row["id"] == task_id and row["headers"]["task"] == "proj.thumb"
    assert row["args_repr"].startswith("'a.png', ")
    text = desk.run("dlq", "show", task_id, "-o", "table").out
    assert text.startswith(task_id) and "  line 1" in text
    for format in ("table", "plain", "json"):
        assert "hunter2" not in desk.run("dlq", "show", task_id, "-o", format).out


def test_an_id_must_name_one_letter(desk: Desk) -> None:
    for suffix in ("1", "2"):
        desk.send("t", queue="q", task_id=f"abcdef-{suffix}")
    for envelope in desk.broker.peek("q"):
        letter = deadletters.bury(
            envelope, reason="rejected", detail="", source="q", node="n", queue=DEAD
        )
        desk.broker.swap("q", envelope, [letter])

    assert desk.items("dlq", "show", "abcdef-1")[0]["id"] == "abcdef-1"
    several = desk.run("dlq", "show", "abcdef")
    assert (several.code, several.out) == (2, "")
    assert several.err == "error: 'abcdef' could be abcdef-1, abcdef-2: write more of it\n"
    short = desk.run("dlq", "show", "abcd")
    assert (short.code, "too short" in short.err) == (2, True)
    unknown = desk.run("dlq", "show", "fedcba98")
    assert (unknown.code, unknown.out) == (1, "")
    assert "no dead letter 'fedcba98'" in unknown.err


# --- retry --------------------------------------------------------------------------------------


def test_a_retried_letter_is_the_message_it_was(desk: Desk) -> None:
    task_id = bury(
        desk, "a.png", queue="my-queue", attempts=3, options={"priority": 3, "expires": 0.001}
    )
    (letter,) = desk.broker.peek(DEAD)
    parts = json.loads(letter)
    parts["headers"].update({"x-delivery-count": 3, "redelivered": True})
    assert desk.broker.swap(DEAD, letter, [publication_of(parts)])

    said = desk.run("dlq", "retry", task_id[:8], "-j")

    assert said.code == 0
    assert [(row["id"], row["result"]) for row in said.json["items"]] == [(task_id, "retried")]
    assert "no taskctl node takes from queue 'my-queue'" in said.err
    (envelope,) = desk.broker.peek("my-queue")
    back = json.loads(envelope)
    assert back["headers"]["id"] == task_id
    assert not {"taskctl-dead", "x-delivery-count", "redelivered"} & set(back["headers"])
    assert back["headers"]["expires"] is None, "it had passed, and would have ended the task"
    assert back["properties"]["priority"] == 3
    assert back["properties"]["delivery_info"]["routing_key"] == "my-queue"
    assert back["body"] == parts["body"]
    assert desk.broker.size(DEAD) == 0
    assert desk.app.AsyncResult(task_id).state == states.PENDING


def publication_of(parts: dict[str, Any]) -> Publication:
    return Publication(exchange="", routing_key=DEAD, envelope=json.dumps(parts).encode())


def test_the_result_of_a_task_that_succeeded_meanwhile_stays(desk: Desk) -> None:
    task_id = bury(desk)
    desk.app.backend.forget([task_id])
    fail(desk, task_id, "SUCCESS")

    assert desk.run("dlq", "retry", task_id).code == 0

    assert desk.app.AsyncResult(task_id).state == states.SUCCESS


def test_retry_takes_ids_a_condition_or_all(desk: Desk) -> None:
    lost = [bury(desk) for _ in range(2)]
    other = bury(desk, reason="rejected")

    dry = desk.run("dlq", "retry", "--where", "reason == worker-*", "--dry-run", "-j")
    assert [row["result"] for row in dry.json["items"]] == ["would retry"] * 2
    assert desk.broker.size(DEAD) == 3

    assert desk.run("dlq", "retry", "--where", "reason == worker-lost").code == 0
    assert desk.ids("images") == lost
    assert desk.run("dlq", "retry", "--all").code == 0
    assert desk.ids("images") == [*lost, other]
    assert desk.items("dlq", "retry", "--all") == []


def test_what_does_not_say_where_it_came_from_stays(desk: Desk) -> None:
    desk.put(DEAD, b"\xff no letter", json.dumps({"headers": {"id": "abcdef1"}}).encode())

    said = desk.run("dlq", "retry", "--all", "-j")

    assert said.code == 1 and said.json["ok"] is False
    assert {row["result"] for row in said.json["items"]} == {"no queue"}
    assert "does not say which queue it came from" in said.err
    assert desk.broker.size(DEAD) == 2


def test_bytes_that_were_no_message_go_back_as_they_came(desk: Desk) -> None:
    raw = b"\xff\x00 junk"
    letter = deadletters.bury(raw, reason="malformed", detail="", source="q", node="n", queue=DEAD)
    desk.put(DEAD, letter.envelope)

    (row,) = desk.items("dlq", "retry", "--all")

    assert row["result"] == "retried"
    assert desk.broker.peek("q") == [raw]


def test_operators_who_retry_at_once_send_each_letter_once(desk: Desk) -> None:
    sent = [bury(desk, number) for number in range(30)]
    boxes = [LetterBox(App(broker=desk.url).connection(), DEAD) for _ in range(3)]
    lists = [box.letters() for box in boxes]
    reset: list[str] = []
    done: list[list[bool]] = [[], [], []]

    def work(who: int) -> None:
        done[who] = [boxes[who].retry(letter, reset.append) for letter in lists[who]]

    threads = [threading.Thread(target=work, args=(who,)) for who in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(desk.ids("images")) == sorted(sent)
    assert desk.broker.size(DEAD) == 0
    assert [sum(results) for results in zip(*done, strict=True)] == [1] * 30
    assert sorted(reset) == sorted(sent)


def test_a_retry_that_is_cut_off_leaves_the_letter(desk: Desk) -> None:
    task_id = bury(desk)
    box = LetterBox(desk.app.shared_connection(), DEAD)

    def power_goes(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        box.retry(box.letters()[0], power_goes)

    assert [row["id"] for row in desk.items("dlq", "ls")] == [task_id]
    assert desk.ids("images") == []
    assert desk.run("dlq", "retry", task_id).code == 0
    assert desk.ids("images") == [task_id]


# --- drop ---------------------------------------------------------------------------------------


def test_drop_asks_counts_and_drops(desk: Desk) -> None:
    keep, drop = bury(desk), bury(desk, reason="rejected")

    dry = desk.items("dlq", "drop", "--where", "reason == rejected", "--dry-run")
    unasked = desk.run("dlq", "drop", drop)
    assert [(row["id"], row["result"]) for row in dry] == [(drop, "would drop")]
    assert (unasked.code, unasked.out) == (2, "")
    assert "drop 1 dead letter for good?" in unasked.err
    assert desk.broker.size(DEAD) == 2

    assert desk.items("dlq", "drop", drop, "-f")[0]["result"] == "dropped"
    assert desk.ids(DEAD) == [keep]
    assert desk.run("dlq", "drop", "--all", "-y").code == 0
    assert desk.broker.size(DEAD) == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("retry",), "say which letters in one way"),
        (("drop",), "say which letters in one way"),
        (("retry", "abcdef", "--all"), "say which letters in one way"),
        (("drop", "--all", "--where", "attempts > 1"), "say which letters in one way"),
        (("retry", "--where", "reasn == x"), "did you mean: reason"),
        (("show",), "ID"),
        (("ls", "--sort", "when"), "there is no such key"),
    ],
)
def test_wrong_use_is_exit_2_with_a_cure(desk: Desk, words: tuple[str, ...], said: str) -> None:
    bury(desk)

    done = desk.run("dlq", *words)

    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert desk.broker.size(DEAD) == 1


@pytest.mark.parametrize("words", [("ls",), ("show", "abcdef"), ("retry", "--all"), ("drop", "x")])
def test_a_broker_that_is_away_is_exit_69(desk: Desk, words: tuple[str, ...]) -> None:
    desk.url = f"redis://127.0.0.1:{free_port()}/0"

    said = desk.run("dlq", *words)

    assert (said.code, said.out) == (69, "")


def test_a_real_dead_letter_runs_again_and_its_result_comes(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    try:
        shell.node("w1")
        task_id = shell.proj("call", "proj.celery.later", "-a", "[2]").out.strip()
        found = eventually(lambda: shell.proj("dlq", "ls", "-j").json["items"])
        assert [(row["id"], row["reason"], row["attempts"]) for row in found] == [
            (task_id, "unregistered", 1)
        ]
        project = shell.folder / "proj" / "celery.py"
        project.write_text(project.read_text() + "\n@app.task\ndef later(x):\n    return x + 1\n")
        shell.node("w2")
        assert shell.proj("control", "shutdown", "-d", "w1@h").code == 0

        assert shell.proj("dlq", "retry", task_id[:8]).code == 0

        assert shell.proj("result", task_id, "--timeout", "10").out.strip() == "3"
        assert shell.proj("dlq", "ls", "-o", "name").out == ""
    finally:
        shell.close()


# --- letters themselves -------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["headers", "properties", "id", "task", "taskctl-dead", "queue", "at",
                             "expires", "priority", "delivery_info", "raw", "attempts", "body"]),
            inner, max_size=5,
        )
    ),
    max_leaves=12,
)  # fmt: skip


@given(envelope=st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_whatever_lies_in_the_dead_letter_queue_can_be_read_and_revived(envelope: bytes) -> None:
    letter = deadletters.read(envelope)

    assert isinstance(letter.id, str) and letter.id
    deadletters.headers(letter)
    revived = deadletters.revive(letter)
    assert revived is None or revived.routing_key == letter.queue


@given(envelope=st.binary() | json_values.map(lambda value: json.dumps(value).encode()))
def test_burying_and_reviving_keeps_what_was_in_a_message(envelope: bytes) -> None:
    buried = deadletters.bury(
        envelope, reason="malformed", detail="", source="q", node="n", queue=DEAD
    )

    letter = deadletters.read(buried.envelope)
    revived = deadletters.revive(letter, now=0.0)

    assert (letter.queue, letter.reason, letter.attempts) == ("q", "malformed", 1)
    assert revived is not None and revived.routing_key == "q"
    if b'"properties"' not in envelope or b'"headers"' not in envelope:
        assert revived.envelope == envelope
