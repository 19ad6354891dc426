"""`taskctl result`: what came of a task, as text, as JSON and as an exit code."""

from __future__ import annotations

import pytest

from ..support.shell import Shell

MORE = """
@app.task
def boom():
    raise ValueError("no", 42)

@app.task
def shout():
    raise RuntimeError("first line\\nsecond line, redis://:hunter2@h/0")
"""


@pytest.fixture
def proj(shell: Shell) -> Shell:
    """The project with tasks that fail, and a node that runs them."""
    app = shell.folder / "proj" / "celery.py"
    app.write_text(app.read_text() + MORE)
    shell.node("w1")
    return shell


def call(proj: Shell, name: str, args: str = "[]") -> str:
    """Send a task; return its id once it has ended."""
    task_id = proj.proj("call", f"proj.celery.{name}", "-a", args).out.strip()
    proj.proj("result", task_id, "--timeout", "20")
    return task_id


def test_a_value_is_printed_as_celery_prints_it(proj: Shell) -> None:
    task_id = call(proj, "add", "[[1], [2.5, null]]")

    said = proj.proj("result", task_id)

    assert (said.code, said.out, said.err) == (0, "[1, 2.5, None]\n", "")
    document = proj.proj("result", task_id, "-o", "json").json
    assert (document["schema"], document["ok"]) == ("taskctl/result/1", True)
    [item] = document["items"]
    assert (item["id"], item["state"], item["result"]) == (task_id, "SUCCESS", [1, 2.5, None])
    assert item["done_at"].endswith("Z")
    assert proj.proj("result", task_id, "--traceback").out == ""


def test_a_failed_task_exits_1_with_its_exception_in_one_line(proj: Shell) -> None:
    task_id = call(proj, "shout")

    said = proj.proj("result", task_id, "-t", "proj.celery.shout")

    assert (said.code, said.out) == (1, "")
    assert said.err.splitlines() == [
        f"error: proj.celery.shout[{task_id}] ended FAILURE: RuntimeError: first line second line, "
        "redis://:********@h/0",
        f"  where: taskctl result {task_id} --traceback",
    ]


def test_the_traceback_is_printed_on_demand(proj: Shell) -> None:
    task_id = call(proj, "boom")

    said = proj.proj("result", task_id, "--traceback")

    assert said.code == 0
    assert said.out.startswith("Traceback (most recent call last):\n")
    assert said.out.endswith("ValueError: ('no', 42)\n")
    document = proj.proj("result", task_id, "-o", "json")
    assert document.code == 1
    assert document.json["ok"] is False
    assert document.json["items"][0]["error"] == {"type": "ValueError", "message": "('no', 42)"}


def test_a_task_that_is_not_known_in_time_exits_124(shell: Shell) -> None:
    said = shell.proj("result", "nobody", "--timeout", "0.2")

    assert (said.code, said.out) == (124, "")
    assert "task nobody is PENDING; no worker has reported on it" in said.err


def test_there_is_no_traceback_before_the_end(shell: Shell) -> None:
    said = shell.proj("result", "nobody", "--traceback")

    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("error: task nobody is PENDING: there is no traceback yet\n")


def test_an_unknown_task_name_is_wrong_usage_with_the_nearest(shell: Shell) -> None:
    said = shell.proj("result", "nobody", "-t", "proj.celery.ad")

    assert said.code == 2
    assert said.err.startswith(
        "error: no task 'proj.celery.ad' in this app\n  did you mean: -t proj.celery.add\n"
    )


def test_without_a_backend_there_is_nothing_to_wait_for(shell: Shell, redis_url: str) -> None:
    said = shell.run("-b", redis_url, "result", "nobody")

    assert (said.code, said.out) == (78, "")


def test_without_a_timeout_it_waits_until_the_task_has_ended(shell: Shell) -> None:
    task_id = shell.proj("call", "proj.celery.add", "-a", "[20, 22]").out.strip()
    waiting = shell.start("-A", "proj", "result", task_id)

    assert waiting.poll() is None
    shell.node("w1")

    out, _ = waiting.communicate(timeout=20)
    assert (waiting.returncode, out) == (0, "42\n")


def test_on_a_terminal_the_beginning_of_an_id_is_enough(proj: Shell) -> None:
    task_id = call(proj, "add", "[1, 2]")

    typed = proj.type("-A", "proj", "result", task_id[:8])
    unknown = proj.type("-A", "proj", "result", "no-such-id")

    assert (typed.code, typed.out) == (0, "3\n")
    assert unknown.code == 1
    assert "no result of a task whose id begins with 'no-such-id'" in unknown.out
