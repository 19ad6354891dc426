"""`taskctl call`: a task is sent by its name, with what Celery's own command takes."""

from __future__ import annotations

import re

import pytest

from ..support.shell import Shell

UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\n")

MORE = """
@app.task(ignore_result=True)
def quiet():
    return "said"

@app.task
def boom():
    raise ValueError("no", 42)
"""


@pytest.fixture
def proj(shell: Shell) -> Shell:
    """The project with a few more tasks."""
    app = shell.folder / "proj" / "celery.py"
    app.write_text(app.read_text() + MORE)
    return shell


def test_a_name_that_nobody_knows_is_sent_and_its_id_printed(shell: Shell) -> None:
    said = shell.proj("call", "no.such.task", "-a", "[2, 3]", "-k", '{"x": 1}')

    assert said.code == 0, said.err
    assert UUID.fullmatch(said.out)
    waiting = shell.python(
        "import json; from proj.celery import app;"
        "[raw] = app.shared_connection().call(lambda broker: broker.peek('celery'));"
        "print(json.loads(raw)['headers']['task'], json.loads(raw)['headers']['argsrepr'])"
    )
    assert waiting == "no.such.task [2, 3]"


def test_queue_countdown_and_expiry_reach_the_message(shell: Shell) -> None:
    said = shell.proj(
        "call", "t", "--queue", "images", "--eta", "2026-01-01T00:00:00Z", "--expires", "3600",
        "--serializer", "pickle", "-o", "json",
    )  # fmt: skip

    assert said.json["items"][0]["task"] == "t"
    headers = shell.python(
        "import json; from proj.celery import app;"
        "[raw] = app.shared_connection().call(lambda broker: broker.peek('images'));"
        "m = json.loads(raw); print(m['headers']['eta'], m['content-type'],"
        " m['headers']['expires'] is not None, m['headers']['id'])"
    )
    task_id = said.json["items"][0]["id"]
    assert headers == f"2026-01-01T00:00:00+00:00 application/x-python-serialize True {task_id}"


def test_the_routes_of_the_app_hold_also_if_the_broker_is_named(shell: Shell) -> None:
    app = shell.folder / "proj" / "celery.py"
    app.write_text(app.read_text() + "app.conf.task_routes = {'t': {'queue': 'far'}}\n")
    url = f"sqlite:///{shell.folder}/other.db"

    shell.proj("-b", url, "call", "t")

    counted = shell.run("-b", url, "purge", "--dry-run", "-Q", "far", "-o", "json").json
    assert counted["items"] == [{"queue": "far", "messages": 1}]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["-a", "[2"], "-a: '[2' is no JSON: "),
        (["-a", "{}"], "-a: a JSON array expected, got dict {}; write '[2, 3]'"),
        (["-k", "[1]"], "-k: a JSON object expected, got list [1]; write '{\"x\": 2}'"),
        (["--eta", "soon"], "--eta: 'soon' is no time: write 2026-08-01T12:00:00Z"),
        (["--expires", "nan"], "--expires: 'nan' is no time: write 2026-08-01T12:00:00Z or sec"),
        (["--countdown", "x"], "--countdown: "),
        (["--serializer", "xml"], "--serializer: unknown serializer 'xml': choose json, pickle"),
        (["--eta", "2026-08-01", "--countdown", "1"], "--eta and --countdown both say when: "),
        (["--wait", "-1"], "no option -1 in taskctl call"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_nothing_is_sent(
    shell: Shell, words: list[str], error: str
) -> None:
    said = shell.proj("call", "t", *words)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {error}"), said.err
    assert shell.proj("purge", "--dry-run", "-o", "json").json["items"][0]["messages"] == 0


def test_waiting_prints_the_result_and_a_failure_exits_1(proj: Shell) -> None:
    proj.node("w1")

    added = proj.proj("call", "proj.celery.add", "-a", "[2, 3]", "--wait", "20")
    alone = proj.proj("call", "--wait", "proj.celery.add", "-a", '["ab", "c"]')
    kept = proj.proj("call", "proj.celery.quiet", "--wait", "20", "-o", "json")
    failed = proj.proj("call", "proj.celery.boom", "--wait", "20")

    assert (added.code, added.out, added.err) == (0, "5\n", "")
    assert (alone.code, alone.out) == (0, "abc\n")
    assert (kept.json["items"][0]["state"], kept.json["items"][0]["result"]) == ("SUCCESS", "said")
    assert (failed.code, failed.out) == (1, "")
    assert re.match(
        r"error: task \S+ ended FAILURE: ValueError: \('no', 42\)\n  where: taskctl result ",
        failed.err,
    )


def test_waiting_ends_with_124(shell: Shell) -> None:
    said = shell.proj("call", "nobody.runs.this", "--wait", "0.2")

    assert (said.code, said.out) == (124, "")
    assert "after 0.2 s task" in said.err


def test_waiting_without_a_result_backend_sends_nothing(shell: Shell, redis_url: str) -> None:
    said = shell.run("-b", redis_url, "call", "t", "--wait")

    assert (said.code, said.out) == (78, "")
    assert said.err.startswith(f"error: no result backend: with broker {redis_url} results are")
    waiting = shell.run("-b", redis_url, "purge", "--dry-run", "-o", "json").json["items"]
    assert waiting == [{"queue": "celery", "messages": 0}]


def test_an_unreachable_broker_is_one_line_and_exits_69(shell: Shell) -> None:
    said = shell.run("-b", "redis://:hunter2@127.0.0.1:1/0", "call", "t")

    assert (said.code, said.out) == (69, "")
    assert "hunter2" not in said.err
    assert said.err.splitlines()[1] == "  set by -b; next: taskctl doctor"


def test_a_countdown_is_kept(proj: Shell) -> None:
    proj.node("w1")

    task_id = proj.proj("call", "proj.celery.add", "-a", "[1, 1]", "--countdown", "600").out.strip()

    assert proj.proj("result", task_id, "--timeout", "0.5").code == 124
