"""`taskctl shell`, `help` and `version`."""

from __future__ import annotations

import json

import pytest

from ..support.shell import Shell


def test_the_app_its_tasks_and_the_library_have_names(shell: Shell) -> None:
    said = shell.proj(
        "shell", "-c", "print(app is celery, add.name, callable(chord), group, nap(0))"
    )

    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("True proj.celery.add True <class ")


def test_what_stdin_holds_is_run(shell: Shell) -> None:
    said = shell.run("-A", "proj", "shell", stdin="for x in (1, 2):\n    print(add(x, x))\n")

    assert (said.code, said.out, said.err) == (0, "2\n4\n", "")


def test_on_a_terminal_pythons_own_shell_answers(shell: Shell) -> None:
    said = shell.type("-A", "proj", "shell", "--python", answer="add(2, 3)\nexit()\n", TERM="dumb")

    assert said.code == 0
    assert "· python · app: proj · tasks: add, nap, say\n" in said.out
    assert "\n5\n" in said.out


def test_tasks_may_be_left_out_and_a_taken_name_is_told(shell: Shell) -> None:
    app = shell.folder / "proj" / "celery.py"
    app.write_text(app.read_text() + "\n@app.task\ndef group():\n    pass\n")

    without = shell.proj("shell", "-T", "-c", "print('add' in globals())")
    told = shell.proj("shell", "-c", "print(group.__name__, app.tasks['proj.celery.group'].name)")

    assert without.out == "False\n"
    assert told.out == "group proj.celery.group\n"
    assert told.err.startswith("note: proj.celery.group has no short name, 'group' is taken")


def test_an_error_of_the_code_is_one_line_and_exit_1(shell: Shell) -> None:
    said = shell.proj("shell", "-c", "1/0")
    loud = shell.proj("-v", "shell", "-c", "1/0")
    left = shell.proj("shell", "-c", "raise SystemExit(5)")

    assert (said.code, said.out) == (1, "")
    assert said.err == ("error: ZeroDivisionError: division by zero\n  see the traceback with -v\n")
    assert 'File "<-c>", line 1' in loud.err
    assert left.code == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--gevent"], "--gevent: taskctl has no green threads"),
        (["--eventlet"], "--eventlet: taskctl has no green threads"),
        (["-I", "-B"], "IPython and bpython are two shells: choose one"),
    ],
)
def test_what_it_cannot_be_is_refused(shell: Shell, words: list[str], message: str) -> None:
    said = shell.proj("shell", *words)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith(f"error: {message}\n")


def test_help_is_what_the_option_prints(shell: Shell) -> None:
    for words in ([], ["worker"], ["config", "diff"]):
        by_word, by_option = shell.run("help", *words), shell.run(*words, "--help")
        assert (by_word.code, by_word.err) == (0, "")
        assert by_word.out == by_option.out

    wrong = shell.run("help", "wroker")
    assert (wrong.code, wrong.out) == (2, "")
    assert wrong.err == "error: no command 'wroker'\n  did you mean: worker\n"


def test_version_in_every_format(shell: Shell) -> None:
    assert shell.run("version").out == shell.run("--version").out == "taskctl 1.0.0\n"
    assert shell.run("version", "-v").out.splitlines()[1].startswith("python 3.")
    document = json.loads(shell.run("version", "-j").out)
    assert document["schema"] == "taskctl/version/1"
    assert document["items"][0]["taskctl"] == "1.0.0"
