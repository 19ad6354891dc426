"""`taskctl list bindings`: Celery's columns, and every other format."""

from __future__ import annotations

import subprocess
import sys

from taskctl.core.wire.queues import Exchange, Queue

from ..support.inside import Desk
from ..support.servers import free_port


def declare(desk: Desk) -> None:
    desk.send(queue="images")
    news = Exchange(name="news", type="topic")
    desk.broker.declare(Queue(name="paper", exchange=news, routing_key="sport.#"))


def test_in_a_pipe_it_prints_what_celery_prints(desk: Desk) -> None:
    declare(desk)

    said = desk.run("list", "bindings")

    assert (said.code, said.err) == (0, "")
    assert said.out == (
        "Queue                        Exchange                     Routing Key\n"
        "----------------             ----------------             ----------------\n"
        "images                       images                       images\n"
        "paper                        news                         sport.#\n"
    )


def test_celery_lists_the_same_of_the_same_broker(desk: Desk) -> None:
    if not desk.url.startswith("redis"):
        return
    declare(desk)

    celery = subprocess.run(
        [sys.executable, "-m", "celery", "-b", desk.url, "list", "bindings"],
        capture_output=True, text=True, timeout=60, check=True,
    ).stdout.splitlines()  # fmt: skip

    ours = desk.run("list", "bindings").out.splitlines()
    assert celery[:2] == ours[:2]
    own_queue = f"{'celery':<28} {'celery':<28} celery"  # it declares its own before it looks
    known = {line for line in celery[2:] if not line.startswith("paper")}
    assert known == {ours[2], own_queue}


def test_other_formats_have_the_type_too(desk: Desk) -> None:
    declare(desk)

    rows = desk.items("list", "bindings")

    assert rows[1] == {
        "queue": "paper", "exchange": "news", "routing_key": "sport.#", "type": "topic"
    }  # fmt: skip
    assert desk.run("list", "bindings", "-o", "name").out == "images\npaper\n"
    plain = desk.run("list", "bindings", "-o", "plain", "--where", "exchange == news").out
    assert plain == "queue\texchange\trouting_key\ttype\npaper\tnews\tsport.#\ttopic\n"
    filtered = desk.run("list", "bindings", "--where", "queue == images")
    assert len(filtered.out.splitlines()) == 3


def test_wrong_use_and_an_absent_broker(desk: Desk) -> None:
    assert desk.run("list").code == 2
    assert desk.run("list", "queues").code == 2
    desk.url = f"redis://127.0.0.1:{free_port()}/0"
    assert (desk.run("list", "bindings").code, desk.run("list", "bindings").out) == (69, "")
