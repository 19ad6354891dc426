"""`taskctl migrate`: counts, asks, moves or copies; that none is lost is proved in tests/remote."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from taskctl import App

from ..support.inside import Desk
from ..support.servers import free_port
from ..support.shell import Shell
from ..support.waiting import eventually


@pytest.fixture
def target(tmp_path: Path) -> App:
    return App("target", broker=f"sqlite:///{tmp_path}/target.db", set_as_current=False)


def ids(app: App, queue: str) -> list[str]:
    with app.connection() as connection:
        return [json.loads(one)["headers"]["id"] for one in connection.broker.peek(queue)]


def test_without_a_the_source_keeps_its_messages(desk: Desk, target: App) -> None:
    sent = [desk.send(queue="images") for _ in range(3)]

    said = desk.run("migrate", desk.url, target.broker_url(), "-t", "0")

    assert said.code == 0
    assert said.out.splitlines()[0] == "queue\tmessages\tdestination"
    assert "images\t3\timages" in said.out
    assert said.err == "note: the source keeps its messages; -a removes them\n"
    assert ids(target, "images") == desk.ids("images") == sent


def test_with_a_they_move(desk: Desk, target: App) -> None:
    sent = [desk.send(queue="images") for _ in range(3)]

    (row,) = [r for r in desk.items("migrate", desk.url, target.broker_url(), "-a", "-t", "0")
              if r["messages"]]  # fmt: skip

    assert row == {"queue": "images", "messages": 3, "destination": "images"}
    assert ids(target, "images") == sent
    assert desk.ids("images") == []


def test_a_dry_run_counts_and_moves_nothing(desk: Desk, target: App) -> None:
    for task in ("a", "b", "b"):
        desk.send(task, queue="q")

    rows = desk.items(
        "migrate", desk.url, target.broker_url(), "--dry-run", "-a", "-T", "b", "-Q", "q:new"
    )

    assert rows == [{"queue": "q", "messages": 2, "destination": "new"}]
    assert len(desk.ids("q")) == 3
    assert ids(target, "new") == []


def test_options_of_celery_choose(desk: Desk, target: App) -> None:
    for task in ("a", "b", "b", "b"):
        desk.send(task, queue="q")

    said = desk.run(
        "migrate", desk.url, target.broker_url(), "--ack-messages", "--tasks", "b", "--limit", "2",
        "--queues", "q:new", "--timeout", "0",
    )  # fmt: skip

    assert said.code == 0
    assert len(ids(target, "new")) == 2
    assert len(desk.ids("q")) == 2


def test_a_queue_can_be_renamed_at_one_broker(desk: Desk) -> None:
    sent = [desk.send(queue="old")]

    assert desk.run("migrate", desk.url, desk.url, "-a", "-t", "0", "-Q", "old:new").code == 0
    assert desk.ids("new") == sent


def test_wrong_use_is_exit_2_and_moves_nothing(desk: Desk, target: App) -> None:
    desk.send(queue="q")
    url = target.broker_url()

    same = desk.run("migrate", desk.url, desk.url, "-a")
    unknown = desk.run("migrate", desk.url, url, "-Q", "qq")

    assert (same.code, "rename" in same.err) == (2, True)
    assert (unknown.code, "there is no queue 'qq'" in unknown.err) == (1, True)
    for words in ((), (desk.url,), (desk.url, url, "-n", "0"), (desk.url, url, "-t", "x")):
        said = desk.run("migrate", *words)
        assert (said.code, said.out) == (2, "")
    assert desk.run("migrate", desk.url, "nonsense://x").code == 78
    assert len(desk.ids("q")) == 1


@pytest.mark.parametrize("place", [0, 1])
def test_a_broker_that_is_away_is_exit_69_and_costs_nothing(
    desk: Desk, target: App, place: int
) -> None:
    sent = desk.send(queue="q")
    urls = [desk.url, target.broker_url()]
    urls[place] = f"redis://127.0.0.1:{free_port()}/0"

    said = desk.run("migrate", *urls, "-a")

    assert (said.code, said.out) == (69, "")
    assert desk.ids("q") == [sent]


def test_on_a_terminal_it_asks_and_forever_ends_with_ctrl_c(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    source, goal = (f"sqlite:///{tmp_path}/{name}.db" for name in ("source", "goal"))
    app = App("a", broker=source, set_as_current=False)
    there = App("b", broker=goal, set_as_current=False)
    app.send_task("t", queue="q")
    try:
        refused = shell.type("migrate", source, goal, "-a", answer="n\n")
        assert refused.code == 1
        assert f"move 1 message of 1 queue from {source} to {goal}? [y/N]" in refused.out
        assert ids(there, "q") == []

        process = shell.start("migrate", source, goal, "-a", "-F")
        eventually(lambda: len(ids(there, "q")) == 1)
        app.send_task("t", queue="q")
        eventually(lambda: len(ids(there, "q")) == 2)
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert "moved 2 messages of 1 queue, then it ended" in shell.err
    finally:
        shell.close()
