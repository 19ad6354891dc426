"""`taskctl queue`: true numbers, messages shown and left, nothing deleted unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..support.inside import Desk
from ..support.servers import free_port
from ..support.shell import Shell


def test_ls_tells_what_waits_and_who_takes_it(desk: Desk) -> None:
    desk.send(queue="images")
    desk.send(queue="images")
    desk.send(queue="celery")
    desk.node("w1@h", queues=["celery", "video"], rates={"celery": 2.5, "video": 0.0})
    desk.node("w2@h", queues=["celery"], rates={"celery": 1.0})

    rows = {row["queue"]: row for row in desk.items("queue", "ls")}

    celery, images = rows["celery"], rows["images"]
    assert (images["depth"], images["unacked"], images["consumers"]) == (2, 0, 0)
    assert (images["rate"], images["paused"], images["nodes"]) == (None, False, [])
    assert (celery["depth"], celery["consumers"], celery["rate"]) == (1, 2, 3.5)
    assert celery["nodes"] == ["w1@h", "w2@h"]
    if desk.url.startswith("redis"):
        assert images["oldest_seconds"] is None, "Celery's lists hold no times"
    else:
        assert 0 <= images["oldest_seconds"] < 60
    assert list(rows) == sorted(rows)


def test_ls_takes_names_patterns_and_the_options_of_lists(desk: Desk) -> None:
    for queue in ("images", "imagine", "video"):
        desk.send(queue=queue)

    assert desk.run("queue", "ls", "imag*", "-o", "name").out == "images\nimagine\n"
    assert desk.run("queue", "ls", "video", "-o", "name").out == "video\n"
    said = desk.run("queue", "ls", "--where", "queue == imag*", "--sort", "-queue", "--fields",
                    "queue,depth", "--no-header")  # fmt: skip
    assert said.out == "imagine\t1\nimages\t1\n"
    unknown = desk.run("queue", "ls", "imagse")
    assert (unknown.code, unknown.out) == (1, "")
    assert unknown.err == "error: there is no queue 'imagse'\n  did you mean: images\n"


def test_a_table_says_what_needs_an_eye(desk: Desk) -> None:
    desk.send(queue="images")
    desk.run("queue", "pause", "images")

    said = desk.run("queue", "ls", "-o", "table")

    assert said.out.splitlines()[0].split() == [
        "QUEUE", "DEPTH", "UNACKED", "CONSUMERS", "OLDEST", "RATE", "PAUSED"
    ]  # fmt: skip
    assert said.out.splitlines()[1].split()[-1] == "paused"
    assert said.err == "1 message in 1 queue; no taskctl node takes from: images\n"


def test_show_tells_bindings_and_since_when_it_is_paused(desk: Desk) -> None:
    desk.send(queue="images")
    desk.run("queue", "pause", "images")

    (row,) = desk.items("queue", "show", "images")

    assert row["depth"] == 1 and row["paused"] is True
    assert row["paused_since"].endswith("Z")
    assert [(b["queue"], b["exchange"]) for b in row["bindings"]] == [("images", "images")]
    text = desk.run("queue", "show", "images", "-o", "table").out
    assert text.startswith("images  1 message waiting")
    assert desk.run("queue", "show", "imges").code == 1


# --- peek ---------------------------------------------------------------------------------------


def test_peek_shows_what_comes_next_and_takes_nothing(desk: Desk) -> None:
    first = desk.app.send_task("proj.thumb", ("a.png",), {"size": 256}, queue="images").id
    desk.send("proj.thumb", "b.png", queue="images")

    rows = desk.items("queue", "peek", "images", "-n", "1")

    assert [(row["id"], row["task"], row["args_repr"]) for row in rows] == [
        (first, "proj.thumb", "'a.png', size=256")
    ]
    assert rows[0]["redelivered"] is False and rows[0]["priority"] == 0
    if desk.url.startswith("redis"):
        assert rows[0]["enqueued_at"] is None
    else:
        assert rows[0]["enqueued_at"].endswith("Z")
    assert len(desk.ids("images")) == 2
    assert desk.run("queue", "peek", "images", "-o", "name", "-n", "1").out == f"{first}\n"


FOREIGN = {
    "no json": b"\xff\xfe junk",
    "another shape": b"[1, 2]",
    "deep": b"[" * 5000,
    "no headers": b'{"body": "x"}',
    "strange headers": json.dumps({"headers": {"id": 3, "task": ["x"]}, "properties": 7}).encode(),
    "lone surrogate": b'{"headers": {"id": "1", "task": "\\ud800"}, "properties": {}, "body": ""}',
    "pickle": json.dumps(
        {
            "headers": {"id": "9", "task": "t"},
            "properties": {"body_encoding": "base64"},
            "content-type": "application/x-python-serialize",
            "body": "gASVCgAAAA==",
        }
    ).encode(),
}


@pytest.mark.parametrize("format", ["table", "plain", "json", "jsonl", "wide", "name"])
def test_peek_shows_whatever_lies_there(desk: Desk, format: str) -> None:
    desk.put("junk", *FOREIGN.values())

    said = desk.run("queue", "peek", "junk", "-o", format)

    assert said.code == 0, said.err
    if format == "json":
        assert len(said.json["items"]) == len(FOREIGN)
        texts = [row["args_repr"] for row in said.json["items"]]
        assert texts[0].startswith("<cannot be read: ")
        assert texts[-1] == "<application/x-python-serialize, not read>"


def test_peek_of_a_hand_written_message_reads_its_body(desk: Desk) -> None:
    message = {
        "body": json.dumps([[1, "x"], {"k": None}, {}]),
        "headers": {"id": "1", "task": "t"},
        "content-type": "application/json",
        "properties": {},
    }
    desk.put("q", json.dumps(message).encode())

    (row,) = desk.items("queue", "peek", "q")

    assert row["args_repr"] == "1, 'x', k=None"


def test_secrets_in_arguments_are_masked(desk: Desk) -> None:
    desk.app.send_task("t", ("redis://u:hunter2@h/0",), {"password": "hunter2"}, queue="q")

    for format in ("json", "plain", "table", "wide"):
        assert "hunter2" not in desk.run("queue", "peek", "q", "-o", format).out


def test_an_empty_queue_is_not_a_missing_one(desk: Desk) -> None:
    desk.send(queue="images")
    desk.broker.purge("images")

    assert desk.items("queue", "peek", "images") == []
    assert desk.run("queue", "peek", "imagse").code == 1


# --- pause and resume ---------------------------------------------------------------------------


def test_pause_and_resume_say_what_has_changed(desk: Desk) -> None:
    desk.send(queue="my-queue")

    words = [
        desk.items("queue", verb, "my-queue")[0]["result"]
        for verb in ("pause", "pause", "resume", "resume")
    ]

    assert words == ["paused", "paused already", "resumed", "was not paused"]
    assert desk.run("queue", "pause", "my-quue").code == 1
    assert desk.broker.paused() == {}


def test_a_node_that_does_not_obey_in_time_is_named(desk: Desk) -> None:
    desk.send(queue="celery")
    desk.node("w1@h", queues=["celery"], paused=["celery"])
    desk.node("w2@h", queues=["celery"], paused=[])

    said = desk.run("queue", "pause", "celery", "-t", "0.1", "-j")

    assert said.code == 3
    (row,) = said.json["items"]
    assert (row["nodes"], row["silent"]) == (["w1@h"], ["w2@h"])
    assert said.json["ok"] is False


# --- delete -------------------------------------------------------------------------------------


def test_delete_counts_asks_and_deletes(desk: Desk) -> None:
    desk.send(queue="old")
    desk.send(queue="old")

    dry = desk.run("queue", "delete", "old", "--dry-run")
    unasked = desk.run("queue", "delete", "old")
    assert (dry.code, dry.out) == (0, "queue\tmessages\tunacked\tconsumers\nold\t2\t0\t0\n")
    assert (unasked.code, unasked.out) == (2, "")
    assert "delete 1 queue (old) with 2 messages for good?" in unasked.err
    assert desk.broker.size("old") == 2

    done = desk.items("queue", "delete", "old", "-y")
    assert [(row["queue"], row["messages"]) for row in done] == [("old", 2)]
    assert not desk.broker.exists("old")


def test_an_empty_queue_is_deleted_without_a_question(desk: Desk) -> None:
    desk.send(queue="old")
    desk.broker.purge("old")

    assert desk.run("queue", "delete", "old").code == 0
    assert desk.run("queue", "delete", "old").code == 1


def test_a_queue_with_consumers_is_deleted_by_force_alone(desk: Desk) -> None:
    desk.send(queue="celery")
    desk.node("w1@h", queues=["celery"])

    refused = desk.run("queue", "delete", "celery", "-y")

    assert (refused.code, refused.out) == (1, "")
    assert "queue 'celery' has 1 consumer: w1@h; nothing was deleted" in refused.err
    assert desk.broker.size("celery") == 1
    assert desk.items("queue", "delete", "celery", "--dry-run")[0]["consumers"] == 1
    assert desk.run("queue", "delete", "celery", "--force").code == 0
    assert desk.broker.size("celery") == 0


# --- the rest -----------------------------------------------------------------------------------


VERBS = [("ls",), ("show", "q"), ("peek", "q"), ("pause", "q"), ("resume", "q"), ("delete", "q")]


@pytest.mark.parametrize("words", VERBS)
def test_a_broker_that_is_away_is_exit_69(desk: Desk, words: tuple[str, ...]) -> None:
    desk.url = f"redis://127.0.0.1:{free_port()}/0"

    said = desk.run("queue", *words)

    assert (said.code, said.out) == (69, "")
    assert said.err.startswith("error: broker redis://127.0.0.1:")
    assert "set by " in said.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "missing command"),
        (("lst",), "lst"),
        (("show",), "NAME"),
        (("peek", "q", "-n", "0"), "1 or more expected"),
        (("peek", "q", "-n", "many"), "a whole number expected"),
        (("pause",), "NAME"),
        (("delete",), "NAME"),
        (("ls", "--where", "dpth > 1"), "did you mean: depth"),
        (("ls", "--fields", "dpth"), "did you mean: depth"),
        (("ls", "--sort", "dpth"), "did you mean: depth"),
        (("ls", "-o", "celery"), "does not exist for this command"),
    ],
)
def test_wrong_use_is_exit_2_with_a_cure(desk: Desk, words: tuple[str, ...], said: str) -> None:
    done = desk.run("queue", *words)

    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ") and said in done.err


def test_watching_a_pipe_appends_one_object_a_line(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    try:
        shell.python("from proj.celery import app; app.send_task('t', queue='images')")
        process = shell.start("-A", "proj", "queue", "ls", "-w", "0.1")
        assert process.stdout is not None
        rows = [json.loads(process.stdout.readline()) for _ in range(3)]
    finally:
        shell.close()

    assert [(row["queue"], row["depth"]) for row in rows] == [("images", 1)] * 3
