"""Variables, the project file and the command line: what each says, and who wins."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ..support.shell import Said, Shell


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """A project that no test here changes, and no node."""
    return Shell(tmp_path_factory.mktemp("place"))


def value(said: Said, key: str = "broker_url") -> tuple[str, str]:
    """Return a value and its origin, as `config show` has them."""
    assert said.code == 0, said.err
    [row] = [line.split("\t") for line in said.out.splitlines() if line.startswith(f"{key}\t")]
    return row[1], row[2]


def test_the_command_line_wins_over_variables_over_the_app_over_the_project_file(
    shell: Shell,
) -> None:
    app = shell.folder / "proj" / "celery.py"
    toml = shell.folder / "taskctl.toml"
    celery = {"CELERY_BROKER_URL": "memory://celery"}
    ours = {**celery, "TASKCTL_BROKER_URL": "memory://ours"}
    toml.write_text('broker_url = "memory://toml"\n')
    show = ("config", "show")
    found = [value(shell.proj(*show))]

    app.write_text(app.read_text() + "app.conf.broker_url = 'memory://app'\n")
    found.append(value(shell.proj(*show)))
    found.append(value(shell.proj(*show, **celery)))
    found.append(value(shell.proj(*show, **ours)))
    found.append(value(shell.proj("-b", "memory://cli", *show, **ours)))

    assert [one[0] for one in found] == [
        "memory://toml", "memory://app", "memory://celery", "memory://ours", "memory://cli",
    ]  # fmt: skip
    assert [one[1] for one in found] == [
        "taskctl.toml:1", "app, proj/celery.py:18", "env CELERY_BROKER_URL",
        "env TASKCTL_BROKER_URL", "-b",
    ]  # fmt: skip


@pytest.mark.parametrize("variable", ["TASKCTL_APP", "CELERY_APP"])
def test_the_app_may_be_named_by_a_variable(place: Shell, variable: str) -> None:
    said = place.run("shell", "-c", "print(app.main)", **{variable: "proj"})

    assert said.out == "proj\n"


@pytest.mark.parametrize("prefix", ["TASKCTL", "CELERY"])
def test_results_settings_and_loader_may_be_named_by_variables(place: Shell, prefix: str) -> None:
    (place.folder / "conf.py").write_text("task_default_queue = 'from-conf'\n")
    (place.folder / "loading.py").write_text(
        "from taskctl.core.loaders import BaseLoader\n"
        "class Loader(BaseLoader):\n"
        "    def read_configuration(self):\n"
        "        return {'worker_concurrency': 7}\n"
    )
    backend = {f"{prefix}_RESULT_BACKEND": "sqlite:///r.db"}
    module = {f"{prefix}_CONFIG_MODULE": "conf"}

    loader = {f"{prefix}_LOADER": "loading:Loader"}
    assert place.run("config", "get", "worker_concurrency", **loader).out == "7\n"
    assert place.proj("config", "get", "result_backend", **backend).out == "sqlite:///r.db\n"
    assert place.run("config", "get", "task_default_queue", **module).out == "from-conf\n"


def test_the_working_directory_may_be_named_by_a_variable(place: Shell, tmp_path: Path) -> None:
    place.env["PYTHONPATH"] = str(Path(__file__).resolve().parents[2])
    outside = Shell(tmp_path)
    (outside.folder / "proj" / "celery.py").unlink()

    said = outside.run(
        "-A", "proj", "shell", "-c", "import os; print(os.getcwd())",
        TASKCTL_WORKDIR=str(place.folder),
    )  # fmt: skip

    assert said.out == f"{place.folder}\n"


@pytest.mark.parametrize(
    ("env", "coloured"),
    [
        ({}, False),
        ({"TASKCTL_COLOR": "always"}, True),
        ({"TASKCTL_COLOR": "always", "NO_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ({"FORCE_COLOR": "1", "TASKCTL_COLOR": "never"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": ""}, True),
    ],
)
def test_colour_in_a_pipe(place: Shell, env: dict[str, str], coloured: bool) -> None:
    said = place.proj("config", "explain", "timezone", "-o", "table", **env)

    assert ("\x1b[" in said.out) is coloured
    assert "\x1b[" not in place.proj("-C", "config", "explain", "timezone", **env).out


def test_on_a_terminal_colour_is_there_unless_it_is_dumb_or_unwanted(place: Shell) -> None:
    words = ("-A", "proj", "config", "explain", "timezone")

    assert "\x1b[1m" in place.type(*words).out
    assert "\x1b[" not in place.type(*words, TERM="dumb").out
    assert "\x1b[" not in place.type(*words, NO_COLOR="1").out


@pytest.mark.parametrize(
    "env", [{"TASKCTL_QUIET": "1"}, {"CELERY_QUIET": "true"}, {"TASKCTL_QUIET": "yes"}]
)
def test_quiet_by_a_variable_leaves_data_alone(place: Shell, env: dict[str, str]) -> None:
    words = ("config", "show", "-o", "table")

    loud = place.proj(*words, TASKCTL_QUIET="0")
    quiet = place.proj(*words, **env)

    assert "settings differ" in loud.err
    assert (quiet.out, quiet.err) == (loud.out, "")


def test_verbose_by_a_variable_shows_tracebacks(place: Shell) -> None:
    said = place.proj("shell", "-c", "1/0", TASKCTL_VERBOSE="1")

    assert 'File "<-c>", line 1' in said.err
    assert 'File "<-c>"' not in place.proj("shell", "-c", "1/0", TASKCTL_VERBOSE="0").err


def test_output_by_a_variable_where_the_command_can(place: Shell) -> None:
    assert place.proj("config", "show", TASKCTL_OUTPUT="json").json["schema"]
    assert place.proj("config", "show", "-o", "name", TASKCTL_OUTPUT="json").out == ""
    (place.folder / "x.env").write_text("A=1\n")
    assert place.run("config", "censor", "x.env", TASKCTL_OUTPUT="wide").out == "A=1\n"
    wrong = place.proj("config", "show", TASKCTL_OUTPUT="xml")
    assert (wrong.code, wrong.out) == (2, "")


def test_a_colour_that_does_not_exist_is_refused_by_name(place: Shell) -> None:
    said = place.proj("config", "show", TASKCTL_COLOR="blue")

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: color 'blue': choose auto, always, never\n")


def test_errors_are_one_line_of_json_where_that_is_wanted(place: Shell) -> None:
    said = place.run("-A", "nope", "config", "show", "-j", TASKCTL_ERRORS="json")
    usage = place.run("config", "get", TASKCTL_ERRORS="json")

    assert (said.code, said.out) == (2, "")
    error = json.loads(said.err)["error"]
    assert (error["code"], error["exit"]) == ("app", 2)
    assert error["message"].startswith("no module 'nope'")
    assert json.loads(usage.err)["error"]["code"] == "usage"


@pytest.mark.parametrize(
    ("policy", "words", "code"),
    [("never", [], 0), ("auto", [], 2), ("always", [], 2), ("always", ["-y"], 0), ("no", [], 2)],
)
def test_questions_are_answered_by_a_variable(
    place: Shell, policy: str, words: list[str], code: int
) -> None:
    said = place.proj("purge", "-Q", "x", *words, TASKCTL_CONFIRM=policy)

    assert said.code == code, said.err


@pytest.mark.parametrize("prefix", ["TASKCTL", "CELERY"])
def test_any_option_of_a_command_has_a_variable(place: Shell, prefix: str) -> None:
    by_name = place.run("init", "x", "--dry-run", "-o", "name", **{f"{prefix}_INIT_NAME": "shop"})
    deep = place.proj("config", "show", "-o", "name", **{f"{prefix}_CONFIG_SHOW_ALL": "1"})

    assert by_name.out.startswith("x/shop/__init__.py\n")
    assert len(deep.out.splitlines()) > 100


def test_our_variable_of_an_option_wins_over_celerys(place: Shell) -> None:
    said = place.run(
        "init", "x", "--dry-run", "-o", "name", TASKCTL_INIT_NAME="ours", CELERY_INIT_NAME="theirs"
    )

    assert said.out.startswith("x/ours/")


def test_a_bad_value_in_a_variable_is_told_with_its_name(place: Shell) -> None:
    said = place.proj("doctor", TASKCTL_DOCTOR_TIMEOUT="soon")

    assert (said.code, said.out) == (2, "")
    assert "TASKCTL_DOCTOR_TIMEOUT" in said.err


def test_the_project_file_speaks_for_options(shell: Shell) -> None:
    (shell.folder / "pyproject.toml").write_text(
        '[tool.taskctl]\napp = "proj"\noutput = "json"\nquiet = true\n'
        'broker_url = "memory://"\n[tool.taskctl.worker]\nconcurrency = 3\n'
    )

    said = shell.run("config", "show")

    assert said.err == ""
    assert {item["key"]: item["origin"]["line"] for item in said.json["items"]} == {
        "broker_url": 5,
        "worker_concurrency": 7,
    }


def test_colour_of_the_project_file_and_wrong_words_in_it(shell: Shell) -> None:
    (shell.folder / "taskctl.toml").write_text('app = "proj"\ncolor = "always"\n')
    assert "\x1b[1m" in shell.run("config", "explain", "timezone", "-o", "table").out

    (shell.folder / "taskctl.toml").write_text('app = "proj"\ntask_acks_lat = true\n')
    said = shell.run("config", "show")
    assert (said.code, said.out) == (78, "")
    assert "taskctl.toml:2" in said.err

    (shell.folder / "taskctl.toml").write_text("app = \n")
    assert shell.run("config", "show").code == 78


@pytest.mark.parametrize("bare", ["APP", "BROKER_URL", "LOADER"])
def test_bare_names_are_not_read_and_that_is_told(place: Shell, bare: str) -> None:
    said = place.run("config", "show", **{bare: "nonsense"})

    assert said.code == 0
    assert said.err == (
        f"note: {bare} in the environment is not read; did you mean TASKCTL_{bare}?\n"
    )


def test_a_bare_broker_is_told_if_the_app_does_not_take_it(place: Shell) -> None:
    told = place.proj("config", "show", BROKER_URL="redis://h")
    said = place.proj("-b", "memory://", "config", "show", BROKER_URL="redis://h")

    assert "did you mean TASKCTL_BROKER_URL?" in told.err
    assert said.err == ""


def test_places_come_from_our_variables_then_from_systemd(place: Shell) -> None:
    def folders(**env: str) -> str:
        kept = {name: "" for name in ("TASKCTL_RUN_DIR", "TASKCTL_LOG_DIR", "TASKCTL_STATE_DIR")}
        code = (
            "from taskctl.core.places import run_folder, log_folder, state_folder;"
            "print(run_folder(), log_folder(), state_folder())"
        )
        return place.run("shell", "-c", code, **{**kept, **env}).out.strip()

    systemd = {"RUNTIME_DIRECTORY": "/r:/x", "LOGS_DIRECTORY": "/l", "STATE_DIRECTORY": "/s"}
    ours = {"TASKCTL_RUN_DIR": "/1", "TASKCTL_LOG_DIR": "/2", "TASKCTL_STATE_DIR": "/3"}

    assert folders(**systemd) == "/r /l /s"
    assert folders(**systemd, **ours) == "/1 /2 /3"
