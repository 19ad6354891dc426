"""logtool: what became of tasks, from real logs of ours and of Celery 5.7, text and JSON."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from taskctl import program
from taskctl.logtool import Audit, entries

from ..support.shell import Shell
from ..support.waiting import eventually

CELERYS = Path(__file__).parent.parent / "golden" / "log_celery_worker.txt"
TASKS = """
from celery.exceptions import Ignore, Reject

@app.task
def fail():
    raise ValueError("bad\\nvalue")

@app.task(bind=True, max_retries=1)
def again(self):
    raise self.retry(countdown=0, exc=KeyError("k"))

@app.task
def ignored():
    raise Ignore()

@app.task
def rejected():
    raise Reject("no", requeue=False)
""".replace("celery.exceptions", "taskctl.core.errors")
SEND = """
from proj.celery import *
for task in (add.s(1, 2), add.s(3, 4), fail.s(), again.s(), ignored.s(), rejected.s(), say.s("hi")):
    task.apply_async()
nap.apply_async((60,))
app.send_task("proj.celery.unknown")
revoked = add.apply_async((5, 5), expires=-1)
"""


def _run(*words: str, stdin: str = "") -> Result:
    @click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def whole(ctx: click.Context, words: tuple[str, ...]) -> None:
        ctx.exit(program.run(words))

    return CliRunner().invoke(whole, ["logtool", *words], input=stdin)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Logs of the same tasks by a node with text lines and one with JSON; both were killed."""
    found = {}
    for form in ("text", "json"):
        shell = Shell(tmp_path_factory.mktemp(form))
        with (shell.folder / "proj" / "celery.py").open("a") as file:
            file.write(TASKS)
        try:
            log = found[form] = shell.folder / "w1.log"
            node = shell.start(
                "-A", "proj", "worker", "-l", "INFO", "-c", "2", "-n", "w1@h",
                "-f", str(log), "--log-format", form,
            )  # fmt: skip
            eventually(lambda log=log: log.exists() and "ready in" in log.read_text(), within=20)
            shell.python(SEND)
            eventually(
                lambda log=log: (
                    all(
                        word in log.read_text()
                        for word in (
                            "unexpected: KeyError",
                            "ignored",
                            "moved to",
                            "Discarding",
                            "hi",
                            "nap",
                        )
                    )
                    and log.read_text().count("succeeded in") == 3
                ),
                within=20,
            )
            node.kill()
            node.wait()
        finally:
            shell.close()
    yield found


def _stats(path: Path) -> dict[str, dict[str, object]]:
    items = json.loads(_run("stats", "-o", "json", str(path)).stdout)["items"]
    return {item["task"]: item for item in items}


def test_celerys_own_log_of_today_is_understood() -> None:
    stats = _stats(CELERYS)

    assert stats["lproj.add"]["received"] == 5
    assert stats["lproj.add"]["succeeded"] == 2
    assert stats["lproj.add"]["revoked"] == 1
    assert stats["lproj.add"]["incomplete"] == 2
    assert stats["lproj.again"]["retried"] == 1
    assert stats["lproj.again"]["incomplete"] == 1
    assert stats["lproj.fail"]["failed"] == stats["lproj.expected"]["failed"] == 1
    assert stats["lproj.rejected"]["rejected"] == stats["lproj.ignored"]["ignored"] == 1
    assert stats["lproj.slow"]["revoked"] == stats["lproj.slow"]["incomplete"] == 1
    assert stats["lproj.chatty"]["mean_seconds"] == 0.0024786779995338293
    assert stats["lproj.add"]["longest_seconds"] == pytest.approx(0.0300495570)


@pytest.mark.parametrize("form", ["text", "json"])
def test_our_own_logs_of_today_are_understood(logs: dict[str, Path], form: str) -> None:
    stats = _stats(logs[form])

    assert stats["proj.celery.add"]["succeeded"] == 2
    assert stats["proj.celery.add"]["mean_seconds"] is not None
    assert stats["proj.celery.fail"]["failed"] == 1
    assert stats["proj.celery.again"]["retried"] == 1
    assert stats["proj.celery.again"]["failed"] == 1
    assert stats["proj.celery.ignored"]["ignored"] == 1
    assert stats["proj.celery.rejected"]["rejected"] == 1
    assert stats["proj.celery.nap"]["incomplete"] == 1
    assert sum(item["incomplete"] for item in stats.values()) == 1  # type: ignore[misc]


@pytest.mark.parametrize("form", ["text", "json"])
def test_errors_and_their_traces_are_shown(logs: dict[str, Path], form: str) -> None:
    errors = _run("errors", str(logs[form]))
    traces = _run("traces", "-o", "jsonl", str(logs[form]))
    ids = _run("errors", "-o", "name", str(logs[form]))

    assert [len(errors.stdout.splitlines()), len(ids.stdout.splitlines())] == [3, 3]
    assert "raised unexpected" in errors.stdout
    found = [json.loads(line) for line in traces.stdout.splitlines()]
    assert {row["task"] for row in found} == {"proj.celery.fail", "proj.celery.again"}
    for row in found:
        assert row["traceback"].startswith("Traceback (most recent call last):\n")
    assert found[0]["traceback"].endswith("ValueError: bad\nvalue")


@pytest.mark.parametrize("form", ["text", "json"])
def test_incomplete_names_what_never_ended(logs: dict[str, Path], form: str) -> None:
    (item,) = json.loads(_run("incomplete", "-j", str(logs[form])).stdout)["items"]
    celerys = _run("incomplete", "-o", "celery", str(logs[form]))

    assert item["task"] == "proj.celery.nap"
    assert item["at"].endswith("Z")
    assert celerys.stdout == f"Did not complete: {item['id']}\n"


@pytest.mark.parametrize("form", ["text", "json"])
def test_debug_shows_what_is_not_of_a_tasks_life(logs: dict[str, Path], form: str) -> None:
    lines = _run("debug", str(logs[form])).stdout

    assert "ready in" in lines
    assert "unknown task 'proj.celery.unknown'" in lines
    assert "succeeded in" not in lines


def test_lines_can_be_chosen_as_they_stream() -> None:
    done = _run(
        "errors", "--where", "level == ERROR", "--fields", "task,outcome", str(CELERYS)
    )  # fmt: skip

    assert (done.exit_code, done.stdout) == (0, "task\toutcome\nlproj.fail\tfailed\n")
    assert _run("errors", "--sort", "at", str(CELERYS)).exit_code == 2
    assert _run("errors", "--where", "tsk == a", str(CELERYS)).exit_code == 2


def test_stdin_is_read_if_it_is_named_alone() -> None:
    named = _run("stats", "-", "--fields", "task,failed", stdin=CELERYS.read_text())
    unnamed = _run("stats", stdin=CELERYS.read_text())

    assert "lproj.fail\t1\n" in named.stdout
    assert (unnamed.exit_code, unnamed.stdout) == (2, "")
    assert unnamed.stderr.startswith("error: logtool wants log files, or - for stdin\n  example:")


def test_lines_of_multi_logs_and_of_the_journal_are_understood_too() -> None:
    text = "\n".join(
        [
            "w1@h  [2026-01-31 12:00:00,000: INFO/MainProcess] Task a.b[1-2] received",
            "<6>[INFO/MainProcess] Task a.b[1-3] received",
            "Jan 31 12:00:01 web3 taskctl[71]: [INFO/MainProcess] Task a.b[1-4] received",
            "\x1b[1;31m[2026-01-31 12:00:02,000: ERROR/Main] Task a.b[1-4] raised unexpected: "
            "E()\x1b[0m",
        ]
    )

    done = _run("stats", "-", "--fields", "task,received,failed,incomplete", stdin=text)

    assert done.stdout.splitlines()[1] == "a.b\t3\t1\t2"


def test_a_report_in_celerys_form() -> None:
    lines = _run("stats", "-o", "celery", str(CELERYS)).stdout.splitlines()

    assert lines[:7] == [
        "", "Report", "======", "Task total: 14", "Task errors: 3", "Task success: 3",
        "Task completed: 9",
    ]  # fmt: skip
    assert "lproj.add: 5" in lines


def test_a_file_that_is_no_log_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\0\xff\nnothing of the kind\n{}\n")

    done = _run("stats", str(tmp_path / "x"))

    assert done.exit_code == 0
    assert "warning: no line in the format of a worker's log" in done.stderr
    assert _run("stats", str(tmp_path)).stderr.startswith(f"error: {tmp_path} is a folder")
    away = _run("errors", str(tmp_path / "none"))
    assert (away.exit_code, away.stdout) == (1, "")
    assert away.stderr == f"error: {tmp_path}/none: no such file or directory\n"


def test_secrets_in_logs_stay_hidden(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("[2026-01-31 12:00:00,000: INFO/Main] on redis://:canary@h/0\n")

    for words in (["debug"], ["debug", "-o", "jsonl"], ["debug", "-j"]):
        assert "canary" not in _run(*words, str(tmp_path / "x")).stdout


def test_a_big_log_is_never_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "big"
    head = "[2026-01-31 12:00:00,000: INFO/MainProcess] Task a.b"
    with path.open("w") as file:
        for number in range(10_000):
            file.write(f"{head}[{number}] received\n{head}[{number}] succeeded in 0.1s: None\n")
        file.write("no record at all\n" * 40_000)
    audit = Audit()

    tracemalloc.start()
    for entry in entries([str(path)]):
        audit.feed(entry)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert audit.rows()[0]["succeeded"] == 10_000
    assert audit.open == {}
    assert peak < path.stat().st_size / 4
