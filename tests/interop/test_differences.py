"""Where taskctl differs from Celery on purpose: what each does, and what can be had back."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator

import celery.apps.multi
import pytest

from ..support.products import Product, Products
from ..support.shell import Said

AS_CELERY = {"TASKCTL_STRICT": "0"}


def codes(said: tuple[Said, Said]) -> list[int]:
    return [one.code for one in said]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("taskctl -A proj control rate_limit nope 1/m -d w1@host", 1),
        ("taskctl -A proj inspect ping -d w1@host,nobody@host -t 0.5", 3),
    ],
    ids=["a-reply-that-is-an-error", "a-named-node-that-is-missing"],
)
def test_what_went_wrong_shows_in_the_exit_code(products: Products, line: str, code: int) -> None:
    theirs, ours = products.line(line)
    restored = products.ours.line(line, **AS_CELERY)

    assert [theirs.code, ours.code, restored.code] == [0, code, 0]
    assert ours.out == restored.out == theirs.out


def test_multi_fails_when_a_node_fails(products: Products) -> None:
    line = (
        "taskctl -A proj multi start bad -P none -n host "
        "--pidfile=/run/x/%n.pid --logfile=/log/x/%n.log"
    )

    assert codes(products.line(line)) == [0, 1]
    # Not one of those that can be had back.
    assert products.ours.line(line, **AS_CELERY).code == 1


def test_status_j_is_json_and_nothing_else(products: Products) -> None:
    theirs, ours = products.line("taskctl -A proj status -j -d w1@host")
    document, _, rest = theirs.out.partition("\n")

    assert rest.strip() == "1 node online."
    assert json.loads(ours.out) == json.loads(document) == {"w1@host": {"ok": "pong"}}


@pytest.fixture
def brief(products: Products) -> Iterator[tuple[Said, Said]]:
    """A node of each that was interrupted when it had nothing to do: all it said."""

    def run(product: Product) -> Said:
        process, stem = product.start("taskctl -A proj worker -l INFO -c 1 -n w3@host -Q none")
        process.send_signal(signal.SIGINT)
        code = process.wait(30)
        return Said(code, *(stem.with_suffix(end).read_text() for end in (".out", ".err")))

    yield products.each(run)


def test_a_node_interrupted_in_peace_ends_well_and_says_nothing_on_stdout(
    brief: tuple[Said, Said],
) -> None:
    theirs, ours = brief

    assert codes(brief) == [1, 0]
    assert "[queues]" in theirs.out
    assert ours.out == ""
    assert "pool=prefork" in ours.err and 'queues="none empty"' in ours.err


def test_control_shutdown_is_answered(products: Products) -> None:
    def shut_down(product: Product) -> tuple[Said, int]:
        process, _ = product.start("taskctl -A proj worker -l INFO -c 1 -n w4@host -Q none")
        return product.line("taskctl -A proj control shutdown -d w4@host"), process.wait(30)

    (theirs, _), (ours, code) = products.each(shut_down)

    assert codes((theirs, ours)) == [69, 0]
    assert "No nodes replied" in theirs.err
    assert (ours.out, code) == ("->  w4@host: OK\n        shutting down\n", 0)


def test_pidfiles_and_logs_are_elsewhere_unless_told(
    products: Products, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Celery makes the folders even if it starts nothing; the machine of a test is not for that.
    monkeypatch.setattr(celery.apps.multi.os, "makedirs", lambda folder: None)
    theirs = celery.apps.multi.Node("a@host").options
    ours = products.ours
    show = "taskctl multi show a -n host"
    old = {"TASKCTL_RUN_DIR": "/var/run/celery", "TASKCTL_LOG_DIR": "/var/log/celery"}

    assert theirs["--pidfile"] == "/var/run/celery/%n.pid"
    assert theirs["--logfile"] == "/var/log/celery/%n%I.log"
    assert f"--pidfile={ours.folder}/run/a.pid" in ours.line(show).out
    said = ours.line(show, **old).out.split()
    assert "--pidfile=/var/run/celery/a.pid" in said
    assert "--logfile=/var/log/celery/a%I.log" in said


def test_bare_variables_are_not_read_but_told(products: Products) -> None:
    nowhere = "redis://127.0.0.1:1/0"
    line = f"APP=proj taskctl report; BROKER_URL={nowhere} LOADER=default taskctl report"
    theirs, ours = products.line(line)

    assert re.findall(r"result_backend: '(.*)'", theirs.out) == [products.theirs.url]
    assert re.findall(r"transport:(\w+)", theirs.out) == ["redis", "redis"]
    assert re.findall(r"transport:(\w+)", ours.out) == ["sqlite", "sqlite"]
    told = [f"TASKCTL_{name}" for name in ("APP", "BROKER_URL", "LOADER")]
    assert re.findall(r"did you mean (\w+)\?", ours.err) == told


def test_events_d_dumps(products: Products) -> None:
    theirs, ours = products.line("timeout 3 taskctl -A proj events -d")

    # There -d is declared twice: it opens the screen, which wants a terminal.
    assert "starting capture" not in theirs.out
    assert ours.out.startswith("-> evdump: starting capture...\n")
    assert "heartbeat: active=0" in ours.out


def test_in_multi_a_word_behind_a_long_option_is_its_value(products: Products) -> None:
    line = "taskctl multi names a --loglevel INFO --pidfile=/run/x/%n.pid --logfile=/log/x/%n.log"
    theirs, ours = products.line(line)

    assert codes((theirs, ours)) == [0, 0]
    names = [[name.partition("@")[0] for name in said.out.split()] for said in (theirs, ours)]
    assert names == [["a", "INFO"], ["a"]]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("rate_limit tasks.add", "control rate_limit wants TASK_NAME RATE_LIMIT, got tasks.add"),
        ("pool_grow x", "control pool_grow: n must be a whole number, got 'x'"),
    ],
)
def test_arguments_are_checked_before_anything_is_sent(
    products: Products, words: str, error: str
) -> None:
    line = f"taskctl -A proj control {words} -d w1@host"
    theirs, ours = products.line(line)

    assert "TypeError" in theirs.out or "Traceback" in theirs.err
    assert (ours.code, ours.out) == (2, "")
    assert ours.err.startswith(f"error: {error}; nothing was sent\n")
