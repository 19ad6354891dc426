"""`taskctl purge`: asks first, counts right, and says what Celery says."""

from __future__ import annotations

import pytest

from ..support.servers import free_port
from ..support.shell import Shell


@pytest.fixture
def full(shell: Shell) -> Shell:
    """Three messages in celery, one in images."""
    shell.python(
        "from proj.celery import app\n"
        "for queue in ('celery', 'celery', 'celery', 'images'): app.send_task('t', queue=queue)"
    )
    return shell


def waiting(shell: Shell) -> dict[str, int]:
    counted = shell.proj("purge", "--dry-run", "-Q", "celery,images", "-o", "json").json
    return {item["queue"]: item["messages"] for item in counted["items"]}


def test_with_force_the_queues_of_the_app_are_emptied(full: Shell) -> None:
    said = full.proj("purge", "-f")

    assert (said.code, said.out) == (0, "Purged 3 messages from 1 known task queue.\n")
    assert waiting(full) == {"celery": 0, "images": 1}
    assert full.proj("purge", "-f").out == "No messages purged from 1 queue.\n"


def test_named_queues_are_emptied_and_excluded_ones_are_not(full: Shell) -> None:
    both = full.proj("purge", "-f", "-Q", "images,celery", "-X", "celery")

    assert both.out == "Purged 1 message from 1 known task queue.\n"
    assert waiting(full) == {"celery": 3, "images": 0}
    assert full.proj("purge", "-y", "-Q", "images,celery", "-o", "json").json["items"] == [
        {"queue": "celery", "messages": 3},
        {"queue": "images", "messages": 0},
    ]


def test_a_dry_run_counts_and_deletes_nothing(full: Shell) -> None:
    said = full.proj("purge", "--dry-run", "-Q", "celery,images")

    assert (said.code, said.out) == (0, "queue\tmessages\ncelery\t3\nimages\t1\n")
    assert waiting(full) == {"celery": 3, "images": 1}


def test_without_a_terminal_nobody_is_asked_and_nothing_deleted(full: Shell) -> None:
    said = full.proj("purge")

    assert (said.code, said.out) == (2, "")
    assert "delete 3 messages from 1 queue (celery) for good?" in said.err
    assert waiting(full)["celery"] == 3


@pytest.mark.parametrize(("answer", "code", "left"), [("\n", 1, 3), ("n\n", 1, 3), ("y\n", 0, 0)])
def test_on_a_terminal_it_asks_and_the_default_is_no(
    full: Shell, answer: str, code: int, left: int
) -> None:
    said = full.type("-A", "proj", "purge", answer=answer)

    assert said.code == code
    assert "delete 3 messages from 1 queue (celery) for good? [y/N] " in said.out
    assert waiting(full)["celery"] == left


def test_a_queue_that_nobody_has_is_pointed_out(full: Shell) -> None:
    said = full.proj("purge", "-f", "-Q", "imagse")

    assert (said.code, said.out) == (0, "No messages purged from 1 queue.\n")
    assert said.err == "note: there is no queue 'imagse': images?\n"


def test_leaving_no_queue_at_all_is_a_mistake(shell: Shell) -> None:
    said = shell.proj("purge", "-f", "-X", "celery")

    assert (said.code, said.out) == (2, "")


def test_it_empties_redis_too(shell: Shell, redis_url: str) -> None:
    for priority in (0, 9):
        shell.python(
            f"from taskctl import App; app = App(broker={redis_url!r});"
            f"app.send_task('t', priority={priority})"
        )

    said = shell.run("-b", redis_url, "purge", "-f")

    assert said.out == "Purged 2 messages from 1 known task queue.\n"


def test_a_broker_that_is_away_is_exit_69(shell: Shell) -> None:
    said = shell.run("-b", f"redis://127.0.0.1:{free_port()}/0", "purge", "-f")

    assert (said.code, said.out) == (69, "")
    assert said.err.startswith("error: broker redis://127.0.0.1:")
    assert "set by " in said.err


def test_every_format_says_what_went(full: Shell) -> None:
    rows = [("json", 3), ("plain", 0), ("name", 0), ("jsonl", 0)]
    for format, count in rows:
        said = full.proj("purge", "-f", "-o", format)
        assert said.code == 0
        if format == "json":
            assert said.json["schema"] == "taskctl/purge/1"
            assert said.json["items"] == [{"queue": "celery", "messages": count}]
        elif format == "jsonl":
            assert said.json == {"queue": "celery", "messages": count}
        else:
            assert "celery" in said.out


def test_a_dry_run_asks_nothing_on_a_terminal(full: Shell) -> None:
    said = full.type("-A", "proj", "purge", "--dry-run")

    assert said.code == 0
    assert "QUEUE   MESSAGES\ncelery         3\n" in said.out
    assert "would delete 3 messages from 1 queue" in said.out
    assert "[y/N]" not in said.out
