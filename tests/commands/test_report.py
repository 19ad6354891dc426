"""`taskctl report`: what a stranger needs to help, and no password."""

from __future__ import annotations

from ..support.shell import Shell


def test_a_report_names_versions_broker_and_settings(shell: Shell) -> None:
    said = shell.proj("report", "-o", "table", TASKCTL_RESULT_BACKEND="redis://:hunter2@h/1")

    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[1].startswith("software -> taskctl:1.0.0 python:3.")
    assert lines[2].startswith("platform -> system:Linux arch:64bit")
    broker = f"sqlite:///{shell.folder}/.taskctl/queue.db"
    assert lines[4] == f"settings -> transport:sqlite broker:{broker} (reachable)"
    assert lines[5] == "            results:redis://:********@h/1"
    assert "result_backend: 'redis://:********@h/1'" in lines
    assert "hunter2" not in said.out + said.err


def test_the_version_of_a_redis_server_is_told(shell: Shell, redis_url: str) -> None:
    said = shell.proj("-b", redis_url, "report", "-o", "json")

    [facts] = said.json["items"]
    assert facts["broker"]["reachable"] is True
    assert facts["broker"]["version"][0].isdigit()
    assert facts["software"]["taskctl"] == "1.0.0"
    assert facts["settings"]["broker_url"] == redis_url


def test_a_broker_that_is_away_is_part_of_the_report(shell: Shell) -> None:
    said = shell.proj("-b", "redis://:hunter2@127.0.0.1:1/0", "report", "-o", "table")

    assert said.code == 0
    assert "broker:redis://:********@127.0.0.1:1/0 (NOT reachable: " in said.out
    assert "hunter2" not in said.out


def test_an_app_that_cannot_be_imported_is_an_error_of_two_lines(shell: Shell) -> None:
    (shell.folder / "proj" / "celery.py").write_text("import no_such_module\n")

    said = shell.proj("report")

    assert (said.code, said.out) == (2, "")
    assert "proj/celery.py:1" in said.err


def test_in_a_pipe_the_layout_is_celerys(shell: Shell) -> None:
    said = shell.proj("-b", "redis://:hunter2@127.0.0.1:1/0", "report")

    lines = said.out.splitlines()
    assert [line[:12] for line in lines[:8]] == [
        "", "software -> ", "            ", "platform -> ", "            ", "loader   -> ",
        "settings -> ", "",
    ]  # fmt: skip
    assert lines[6] == "settings -> transport:redis results:disabled"
    assert (said.code, said.err) == (0, "")
