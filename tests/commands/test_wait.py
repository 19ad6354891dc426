"""`taskctl wait`: ends when the condition holds, says what it was last when time is over."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from taskctl.waiting import DLQ, QUEUE, TASK, TASKS, WORKERS

from ..support.inside import Desk
from ..support.servers import RedisServer, free_port
from ..support.shell import Shell


@pytest.fixture(scope="module")
def manned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """A project with one node of two children, for tests that leave it idle."""
    shell = Shell(tmp_path_factory.mktemp("manned"))
    try:
        shell.node("w1", "-Q", "celery,my-queue")
        yield shell
    finally:
        shell.close()


def test_what_holds_already_is_said_at_once(desk: Desk) -> None:
    desk.send(queue="images")

    said = desk.run("wait", "queue.images.depth==1 and dlq.depth == 0", "-j")

    assert said.code == 0
    assert said.json["items"] == [
        {"name": "queue.images.depth", "value": 1},
        {"name": "dlq.depth", "value": 0},
    ]
    assert desk.run("wait", "queue.images.depth>0").out == "name\tvalue\nqueue.images.depth\t1\n"


def test_it_waits_for_what_comes(desk: Desk) -> None:
    desk.send(queue="my-queue.v2")
    timer = threading.Timer(0.3, lambda: desk.app.connection().broker.purge("my-queue.v2"))
    timer.start()

    said = desk.run("wait", "queue.my-queue.v2.depth==0", "--interval", "0.05", "--timeout", "10")

    timer.join()
    assert said.code == 0


@pytest.mark.parametrize("measure", QUEUE)
def test_every_number_of_a_queue_can_be_waited_for(desk: Desk, measure: str) -> None:
    desk.send(queue="a-b")
    desk.broker.pause("a-b")
    desk.node("w1@h", queues=["a-b"], rates={"a-b": 2.0})
    expected = {"depth": 1, "unacked": 0, "consumers": 1, "rate": 2.0, "paused": True, "due": 0}
    if measure == "oldest_seconds":
        condition = f"queue.a-b.{measure} < 60 or queue.a-b.{measure} == none"
    else:
        condition = f"queue.a-b.{measure} == {expected[measure]}"

    assert desk.run("wait", condition, "--timeout", "0").code == 0


def test_when_time_is_over_it_says_what_it_was_last(desk: Desk) -> None:
    desk.send(queue="images")

    said = desk.run("wait", "queue.images.depth == 0", "--timeout", "0.2", "--interval", "0.05")

    assert (said.code, said.out) == (124, "")
    first, second = said.err.splitlines()
    assert first.startswith("error: after 0.2 s it does not hold: queue.images.depth == 0")
    assert second == "  last: queue.images.depth is 1"


def test_a_queue_that_is_not_there_is_not_an_empty_one(desk: Desk) -> None:
    said = desk.run("wait", "queue.imagse.depth == 0", "--timeout", "0.1", "--interval", "0.05")

    assert said.code == 124
    assert "note: there is no queue 'imagse' yet\n" in said.err
    assert said.err.count("imagse' yet") == 1
    assert "last: queue.imagse.depth is unknown" in said.err


def test_the_state_of_a_task(desk: Desk) -> None:
    task_id = desk.send()

    assert desk.run("wait", f"task.{task_id}.state==PENDING", "--timeout", "0").code == 0
    late = desk.run("wait", f"task.{task_id}.ready", "--timeout", "0.1", "--interval", "0.05")

    assert late.code == 124
    assert f"last: task.{task_id}.ready is false" in late.err


def test_nodes_tasks_and_queues_of_a_running_fleet(manned: Shell) -> None:
    assert (
        manned.proj("wait", "workers.ready>=1 and workers.total == 1", "--timeout", "10").code == 0
    )
    nap = manned.proj("call", "proj.celery.nap", "-a", "[1.5]").out.strip()

    busy = manned.proj("wait", "tasks.running == 1 and workers.busy == 0", "--timeout", "10")
    idle = manned.proj(
        "wait", f"tasks.running==0 and queue.my-queue.unacked==0 and task.{nap}.state==SUCCESS",
        "--timeout", "20", "--interval", "0.2",
    )  # fmt: skip

    assert (busy.code, idle.code) == (0, 0), busy.err + idle.err


def test_it_waits_for_a_broker_that_is_not_there_yet(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    server = RedisServer(free_port())
    desk = Desk(server.url, capsys)
    timer = threading.Timer(0.3, server.start)
    timer.start()
    try:
        said = desk.run("wait", "dlq.depth == 0", "--interval", "0.1", "--timeout", "20")
    finally:
        timer.join()
        server.stop()

    assert said.code == 0
    notes = said.err.splitlines()
    assert notes[0].startswith("note: broker redis://127.0.0.1:")
    assert notes[0].endswith("; waiting for it")
    assert notes[1:] == ["note: reached again"]


def test_a_broker_that_never_comes_is_a_timeout(desk: Desk) -> None:
    desk.url = f"redis://127.0.0.1:{free_port()}/0"

    said = desk.run("wait", "workers.ready >= 1", "--timeout", "0.2", "--interval", "0.05")

    assert (said.code, said.out) == (124, "")
    assert "broker redis" in said.err.splitlines()[-1]


def test_a_broker_that_swallows_everything_keeps_nobody_beyond_the_time(desk: Desk) -> None:
    server = RedisServer().start()
    desk.url = server.url
    server.pause()
    began = time.monotonic()
    try:
        said = desk.run("wait", "queue.a.depth == 0", "--timeout", "0.5", "--interval", "0.1")
    finally:
        server.stop()

    assert said.code == 124
    assert time.monotonic() - began < 2.5


@pytest.mark.parametrize(
    ("condition", "said"),
    [
        ("worker.ready >= 1", "did you mean: workers"),
        ("workers.redy >= 1", "did you mean: workers.ready"),
        ("queue.images.dpth == 0", "did you mean: queue.images.depth"),
        ("queue.depth == 0", "write queue.NAME.depth"),
        ("task.state == SUCCESS", "write task.ID.state"),
        ("dlq == 0", "there are: dlq.depth"),
        ("workers.ready = 4", "compare with == rather than ="),
        ("", "is no condition"),
    ],
)
def test_unknown_names_are_refused_with_those_there_are(
    desk: Desk, condition: str, said: str
) -> None:
    done = desk.run("wait", condition)

    assert (done.code, done.out) == (2, "")
    assert said in done.err


@pytest.mark.parametrize(
    "words", [(), ("dlq.depth == 0", "--timeout", "soon"), ("dlq.depth == 0", "--interval", "0")]
)
def test_wrong_use_is_exit_2(desk: Desk, words: tuple[str, ...]) -> None:
    said = desk.run("wait", *words)

    assert (said.code, said.out) == (2, "")


def test_a_url_that_no_broker_takes_is_told_at_once(desk: Desk) -> None:
    desk.url = "rabbit://h"

    assert desk.run("wait", "dlq.depth == 0").code == 78


def test_every_name_is_explained() -> None:
    assert all(text for table in (WORKERS, TASKS, DLQ, QUEUE, TASK) for text in table.values())


def test_on_a_terminal_it_shows_what_it_waits_for_and_leaves_no_trace(manned: Shell) -> None:
    said = manned.type(
        "-A", "proj", "wait", "workers.ready >= 2", "--timeout", "1.2", "--interval", "0.1"
    )

    assert said.code == 124
    assert "workers.ready is 1" in said.out
    assert said.out.rstrip().splitlines()[-1].strip() == "last: workers.ready is 1"
