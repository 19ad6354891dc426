"""The program around the commands: names, global options, environment, errors, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from ..support.shell import Shell


def test_the_version_is_told_without_loading_click() -> None:
    code = (
        "import sys; from taskctl.cli import main; main(['--version']);"
        "sys.exit([m for m in ('click', 'taskctl.core.app') if m in sys.modules] != [])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "taskctl 1.0.0\n")


def test_without_a_command_help_is_shown_and_nothing_is_wrong(shell: Shell) -> None:
    said = shell.run()

    assert said.code == 0
    assert said.out.startswith("Usage: taskctl [OPTIONS] COMMAND")
    assert shell.run("--help").out == said.out


def test_help_loads_no_command() -> None:
    code = (
        "import sys; from taskctl.cli import main; main(['--help']);"
        "sys.exit(any(m.startswith('taskctl.commands.') for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True)

    assert done.returncode == 0


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["wroker"], "error: no command 'wroker'\n  did you mean: worker\n"),
        (["status", "--timeot", "1"], "error: no option --timeot in taskctl status\n"),
        (["-o", "yaml", "status"], "error: -o yaml: choose from table, wide, plain,"),
        (["--workdir", "/no/such", "status"], "error: --workdir /no/such: no such file"),
        (["inspect", "-t", "soon", "ping"], "error: -t soon: a number expected\n"),
    ],
)
def test_a_wrong_word_is_one_line_with_its_cure(shell: Shell, words: list[str], error: str) -> None:
    said = shell.run(*words)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(error)
    assert "Usage" not in said.err


@pytest.mark.parametrize(
    "words",
    [
        ("-A", "proj", "worker", "--check"),
        ("worker", "-A", "proj", "--check"),
        ("worker", "--check", "-A", "proj"),
        ("-A", "nobody", "worker", "-A", "proj", "--check"),
    ],
)
def test_global_options_stand_anywhere_and_the_last_wins(
    shell: Shell, words: tuple[str, ...]
) -> None:
    said = shell.run(*words)

    assert said.code == 0, said.err
    tasks = "proj.celery.add proj.celery.nap proj.celery.say"
    assert f"app      proj.celery:app, 3 tasks: {tasks}" in said.err


def test_the_environment_stands_in_for_options_ours_before_celerys(shell: Shell) -> None:
    env = {"CELERY_APP": "nobody", "TASKCTL_APP": "proj", "CELERY_WORKER_CONCURRENCY": "5"}

    by_celery = shell.run("worker", "--check", **env)
    by_both = shell.run("worker", "--check", **env, TASKCTL_WORKER_CONCURRENCY="3")
    by_hand = shell.run("worker", "--check", "-c", "4", **env)

    assert "prefork, 5 children" in by_celery.err
    assert "prefork, 3 children" in by_both.err
    assert "prefork, 4 children" in by_hand.err


def test_a_wrong_variable_is_named(shell: Shell) -> None:
    said = shell.proj("worker", "--check", TASKCTL_WORKER_CONCURRENCY="many")

    assert said.code == 2
    assert said.err.startswith(
        "error: TASKCTL_WORKER_CONCURRENCY=many: whole number or 'auto' expected\n"
    )


def test_a_project_file_names_app_and_broker(shell: Shell) -> None:
    (shell.folder / "taskctl.toml").write_text('app = "proj"\nbroker_url = "sqlite:///q.db"\n')

    said = shell.run("worker", "--check")

    assert said.code == 0, said.err
    assert f"broker   sqlite:///{shell.folder}/q.db (taskctl.toml:2)" in said.err


def test_variables_that_belong_to_everybody_are_not_read_and_that_is_said(shell: Shell) -> None:
    said = shell.run("status", "-t", "0.2", APP="proj", BROKER_URL="redis://localhost:1")

    assert "note: APP in the environment is not read; did you mean TASKCTL_APP?" in said.err
    assert "did you mean TASKCTL_BROKER_URL?" in said.err
    assert "redis" not in said.err


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("prj", "error: no module 'prj' in {folder} or on sys.path\n  did you mean: -A proj\n"),
        ("proj.broken", "error: cannot import 'proj.broken': proj/broken.py:2: ZeroDivisionError"),
        ("proj.celery:nap", "error: 'proj.celery:nap' is a Proxy, not an app"),
    ],
)
def test_an_app_that_is_not_found_is_told_in_the_users_words(
    shell: Shell, spec: str, error: str
) -> None:
    (shell.folder / "proj" / "broken.py").write_text("\n1 / 0\n")

    said = shell.run("-A", spec, "worker")

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(error.format(folder=shell.folder).partition(" is a Proxy")[0])
    assert "Traceback" not in said.err


def test_v_shows_the_traceback_of_the_users_code(shell: Shell) -> None:
    (shell.folder / "proj" / "broken.py").write_text("\n1 / 0\n")

    said = shell.run("-A", "proj.broken", "-v", "worker")

    assert "Traceback" in said.err
    assert "broken.py" in said.err
    assert "\nerror: cannot import 'proj.broken'" in said.err


def test_errors_can_be_json_on_one_line(shell: Shell) -> None:
    said = shell.run("inspect", "nothing", TASKCTL_ERRORS="json")

    (line,) = said.err.splitlines()
    error = json.loads(line)["error"]
    assert (error["code"], error["exit"], said.code) == ("usage", 2, 2)
    assert error["message"] == "no inspect command 'nothing'; nothing was sent"


def test_a_setting_of_the_wrong_type_is_exit_78_with_its_place(shell: Shell) -> None:
    (shell.folder / "proj" / "celery.py").write_text(
        "from taskctl import App\napp = App('proj', config_source='proj.conf')\n"
    )
    (shell.folder / "proj" / "conf.py").write_text(
        "task_acks_late = True\nworker_concurrency = 'x'\n"
    )

    said = shell.proj("worker")

    assert said.code == 78
    assert said.err.startswith("error: proj/conf.py:2: worker_concurrency must be ")


def test_a_defect_of_ours_is_exit_70_and_its_traceback_is_kept(shell: Shell) -> None:
    code = (
        "import sys, taskctl.commands.status as s; from taskctl.cli import main\n"
        "def broken(*a, **k): raise RuntimeError('our fault')\n"
        "s.command.callback = broken\n"
        "sys.exit(main(['status']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=shell.folder,
        env={**shell.env, "TMPDIR": str(shell.folder)},
    )

    first, second = done.stderr.splitlines()
    assert (done.returncode, first) == (70, "error: a defect of taskctl: RuntimeError: our fault")
    path = second.split("the traceback is in ")[1].split(";")[0]
    assert path.startswith(str(shell.folder))
    with open(path) as file:
        assert "our fault" in file.read()


def test_a_closed_pipe_ends_the_program_quietly(shell: Shell) -> None:
    done = subprocess.run(
        f"{sys.executable} -m taskctl --help | true; echo ${{PIPESTATUS[0]}}",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        cwd=shell.folder,
        env=shell.env,
    )

    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


def test_multi_gets_the_words_in_front_of_it(shell: Shell) -> None:
    said = shell.run("-A", "proj", "-b", "redis://u:secret@h/1", "multi", "show", "w1", "-c", "3")

    assert said.code == 0, said.err
    assert "-m taskctl -A proj -b 'redis://u:********@h/1' worker" in said.out
    assert "-c 3" in said.out


def test_commands_of_other_packages_are_found(shell: Shell) -> None:
    package = shell.folder / "extra.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[taskctl.commands]\nhello = extra:hello\n")
    (shell.folder / "extra.py").write_text(
        "import click\n@click.command()\n@click.option('--name', default='you')\n"
        "def hello(name):\n    click.echo(f'hello {name}')\n"
    )

    said = shell.run("hello", TASKCTL_HELLO_NAME="me", PYTHONPATH=str(shell.folder))

    assert (said.code, said.out) == (0, "hello me\n"), said.err
    assert "from extra" in shell.run("--help", PYTHONPATH=str(shell.folder)).out
