"""amqp: single words of AMQP to a real RabbitMQ, and a clear word where there is none."""

from __future__ import annotations

import itertools
import os
import pty
import subprocess
import time
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner, Result

from taskctl import program
from taskctl.commands.amqp_shell import complete
from taskctl.commands.amqp_verbs import VERBS

from ..support.servers import RabbitServer, free_port
from ..support.shell import Shell

_numbers = itertools.count(1)


class Amqp:
    """`taskctl amqp` in this very process, on one broker."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, *words: str, stdin: str = "", **env: str) -> Result:
        return _run("amqp", "-b", self.url, *words, stdin=stdin, **env)


def _run(*words: str, stdin: str = "", **env: str) -> Result:
    @click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def whole(ctx: click.Context, words: tuple[str, ...]) -> None:
        ctx.exit(program.run(words))

    return CliRunner().invoke(whole, words, input=stdin, env=env)


@pytest.fixture
def amqp(rabbitmq_server: RabbitServer) -> Amqp:
    return Amqp(rabbitmq_server.url)


@pytest.fixture
def queue(amqp: Amqp) -> Iterator[str]:
    """The name of a queue that exists for one test."""
    name = f"queue{next(_numbers)}"
    assert amqp("queue.declare", name).exit_code == 0
    yield name
    amqp("queue.delete", name)


def test_a_queue_is_declared_shown_and_deleted_in_celerys_words(amqp: Amqp) -> None:
    made = amqp("queue.declare", "images", "no", "yes", "-q")
    shown = amqp("queue.declare", "images", "true")
    gone = amqp("queue.delete", "images", "-q")

    assert (made.exit_code, made.stdout) == (0, "queue:images messages:0 consumers:0\nOK\n")
    assert made.stderr == ""
    assert shown.stderr == f"-> connecting to {_masked(amqp.url)}.\n-> connected.\n"
    assert (gone.exit_code, gone.stdout) == (0, "0 messages deleted.\nOK\n")


def test_a_message_goes_through_an_exchange_and_comes_back_out(amqp: Amqp, queue: str) -> None:
    for words in (
        ("exchange.declare", f"{queue}.x", "topic"),
        ("queue.bind", queue, f"{queue}.x", "png.*"),
        ("basic.publish", "héllo", f"{queue}.x", "png.small", "yes"),
    ):
        assert amqp(*words).stdout == "OK\n"

    got = amqp("basic.get", queue, "yes", "-o", "json")
    none = amqp("basic.get", queue)

    assert '"body": "héllo"' in got.stdout
    assert '"schema": "taskctl/amqp/1"' in got.stdout
    assert '"routing_key": "png.small"' in got.stdout
    assert none.stdout == "No messages in queue. basic.publish something.\nOK\n"
    assert amqp("queue.unbind", queue, f"{queue}.x", "png.*").exit_code == 0
    assert amqp("exchange.delete", f"{queue}.x", "yes").stdout == "OK\n"


def test_a_message_that_is_not_acknowledged_goes_back(amqp: Amqp, queue: str) -> None:
    amqp("basic.publish", "one", "", queue)

    first = amqp("basic.get", queue)
    again = amqp("basic.get", queue)
    purged = amqp("queue.purge", queue)

    assert "'body': 'one'" in first.stdout
    assert "'redelivered': True" in again.stdout
    assert purged.stdout == "1 messages deleted.\nOK\n"


def test_a_session_keeps_its_connection_so_that_acks_hold(amqp: Amqp, queue: str) -> None:
    lines = f"basic.publish one '' {queue}\nbasic.get {queue}\nbasic.ack 1  # done\nexit\nno more\n"

    session = amqp("-", "-o", "jsonl", stdin=lines)

    assert session.exit_code == 0
    assert [line[:27] for line in session.stdout.splitlines()] == [
        '{"command": "basic.publish"', '{"command": "basic.get", "q', '{"command": "basic.ack", "d',
    ]  # fmt: skip
    assert session.stderr.count("connected") == 1
    assert "messages:0" in amqp("queue.declare", queue, "yes").stdout


def test_a_session_in_a_pipe_ends_at_the_first_error(amqp: Amqp, queue: str) -> None:
    session = amqp("-", "-q", stdin=f"queue.purge none\nqueue.purge {queue}\n")

    assert session.exit_code == 1
    assert session.stdout == ""
    assert session.stderr == "error: no queue 'none' in vhost '/' (404 NOT_FOUND)\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["queue.purge", "none"], "no queue 'none' in vhost '/' (404 NOT_FOUND)"),
        (["queue.delete", "none"], "no queue 'none' in vhost '/' (404 NOT_FOUND)"),
        (["basic.publish", "x", "none", ""], "no exchange 'none' in vhost '/' (404 NOT_FOUND)"),
        (["basic.publish", "x", "", "none", "yes"], "the message was returned: no queue is bound"),
        (["basic.ack", "7"], "unknown delivery tag 7 (406 PRECONDITION_FAILED)"),
        (["exchange.declare", "x", "odd"], "unknown exchange type 'odd' (503 COMMAND_INVALID)"),
    ],
)
def test_what_the_broker_refuses_is_exit_1_in_its_own_words(
    amqp: Amqp, words: list[str], error: str
) -> None:
    done = amqp(*words, "-q")

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {error}"), done.stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (
            ["queue.declare"],
            "amqp queue.declare wants QUEUE [PASSIVE] [DURABLE] [AUTO_DELETE], got",
        ),
        (["queue.declare", "q", "maybe"], "amqp queue.declare: PASSIVE maybe: true or false"),
        (["basic.ack", "x"], "amqp basic.ack: DELIVERY_TAG x: whole number expected"),
        (["queue.purge", "a", "b"], "amqp queue.purge wants QUEUE, got 2"),
        (["queue.purg"], "no command 'queue.purg' in taskctl amqp"),
        (["basic.publish", "x", "", "q", "no", "yes"], "amqp basic.publish: RabbitMQ has no IMM"),
        ([], "amqp wants a command, or a terminal for a session"),
    ],
)
def test_wrong_usage_is_exit_2(amqp: Amqp, words: list[str], error: str) -> None:
    done = amqp(*words, "-q")

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {error}"), done.stderr
    assert len(done.stderr.splitlines()) >= 2


@pytest.mark.parametrize("url", ["sqlite:////tmp/none.db", "redis://:canary@h/0", "memory://"])
def test_other_brokers_are_refused_with_a_clear_word(url: str) -> None:
    done = _run("amqp", "-b", url, "queue.purge", "images")

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: amqp speaks to RabbitMQ alone, and the broker here is ")
    assert "canary" not in done.stderr


def test_a_broker_that_is_away_is_exit_69() -> None:
    done = _run(
        "amqp", "-q", "-b", f"amqp://u:canary@127.0.0.1:{free_port()}//", "queue.purge", "q"
    )

    assert (done.exit_code, done.stdout) == (69, "")
    assert "connection refused\n  is RabbitMQ running there" in done.stderr
    assert "canary" not in done.stderr


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("amqp://guest:canary@127.0.0.1:{port}//", "it refuses this user or password"),
        ("amqp://guest:guest@127.0.0.1:{port}/none", "no virtual host 'none', or this user may"),
    ],
)
def test_who_may_not_is_told_why_and_gets_exit_77(
    rabbitmq_server: RabbitServer, url: str, error: str
) -> None:
    done = _run("amqp", "-q", "-b", url.format(port=rabbitmq_server.port), "queue.purge", "q")

    assert (done.exit_code, done.stdout) == (77, "")
    assert error in done.stderr
    assert "canary" not in done.stderr


def test_the_next_of_several_brokers_is_asked(rabbitmq_server: RabbitServer) -> None:
    urls = f"amqp://127.0.0.1:{free_port()}//;{rabbitmq_server.url}"

    done = _run("amqp", "-q", "-b", urls, "queue.declare", "second", "no", "no", "yes")

    assert (done.exit_code, done.stdout) == (0, "queue:second messages:0 consumers:0\nOK\n")


def test_a_session_on_a_terminal_has_help_completion_and_an_end(
    rabbitmq_server: RabbitServer, shell: Shell
) -> None:
    leader, follower = pty.openpty()
    argv = shell.argv("amqp", "-b", rabbitmq_server.url)
    with subprocess.Popen(
        argv, stdin=follower, stdout=follower, stderr=follower, cwd=shell.folder,
        env={**shell.env, "TERM": "dumb"}, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(follower)
        for typed in ("help queue.purge\n", "queue.purge none\n", "queue.decl\ttyped\n", "exit\n"):
            os.write(leader, typed.encode())
        shown, deadline = b"", time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                shown += os.read(leader, 65536)
            except OSError:  # EIO: the session has ended
                break
        os.close(leader)
    text = shown.decode()

    assert process.returncode == 0
    assert "queue.purge QUEUE" in text
    assert "error: no queue 'none'" in text
    assert "queue:typed messages:0 consumers:0" in text
    Amqp(rabbitmq_server.url)("queue.delete", "typed")


def test_completion_knows_every_command() -> None:
    assert complete("queue.d") == ["queue.declare ", "queue.delete "]
    assert complete("e") == [
        "exchange.declare ", "exchange.delete ", "exchange.bind ", "exchange.unbind ", "exit ",
    ]  # fmt: skip
    assert len(complete("")) == len(VERBS) + 2


def test_every_command_has_help_with_two_examples() -> None:
    for name in VERBS:
        done = _run("amqp", name, "--help")
        assert done.exit_code == 0
        assert done.stdout.count("\n  $ taskctl ") == 2
        assert max(map(len, done.stdout.splitlines())) <= 80


def _masked(url: str) -> str:
    return url.replace("guest:guest", "guest:********")
