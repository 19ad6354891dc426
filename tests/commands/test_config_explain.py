"""`config explain`, `config diff` and the advice of `config check`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl.core.config import Settings
from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.settings_files import read_settings_file
from taskctl.core.settings_risks import Site, find_risks

from ..support.shell import Shell

CONF = "broker_url = 'redis://ops:hunter2@10.0.0.5'\nworker_prefetch_multiplier = 1\n"


@pytest.fixture
def proj(shell: Shell) -> Shell:
    """A project whose settings stand in proj/conf.py."""
    return with_settings(shell)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """The same with a node that was started with other settings."""
    shell = with_settings(Shell(tmp_path_factory.mktemp("fleet")), CONF.splitlines()[1] + "\n")
    shell.node("w1", "task_default_rate_limit=10/m")
    yield shell
    shell.close()


def with_settings(shell: Shell, text: str = CONF) -> Shell:
    (shell.folder / "proj" / "conf.py").write_text(text)
    app = shell.folder / "proj" / "celery.py"
    app.write_text(app.read_text() + "app.config_from_object('proj.conf')\n")
    return shell


def test_explain_says_all_there_is_to_say(proj: Shell) -> None:
    asked = ("-A", "proj", "config", "explain", "CELERYD_PREFETCH_MULTIPLIER")
    said = proj.type(*asked, columns=200, NO_COLOR="1")

    words = {line[2:11].strip(): line[12:] for line in said.out.splitlines()[1:]}
    assert said.out.splitlines()[0] == "worker_prefetch_multiplier = 1"
    assert words["from"] == "proj/conf.py:2"
    assert words["default"] == "auto (Celery: 4)"
    assert words["old name"] == "CELERYD_PREFETCH_MULTIPLIER"
    assert words["read by"] == "workers"
    assert words["type"].startswith("a whole number or 'auto'")
    assert words["meaning"].endswith(".")


def test_explain_names_the_places_that_lose(proj: Shell) -> None:
    (proj.folder / "taskctl.toml").write_text("broker_url = 'redis://:hunter2@toml'\n")

    said = proj.proj(
        "-b", "redis://:hunter2@cli", "config", "explain", "broker_url", "-o", "json",
        TASKCTL_BROKER_URL="redis://:hunter2@env",
    )  # fmt: skip

    [item] = said.json["items"]
    assert [place["from"] for place in item["places"]] == [
        "-b", "env TASKCTL_BROKER_URL", "proj/conf.py:1", "taskctl.toml:1",
    ]  # fmt: skip
    assert item["places"][0]["value"] == "redis://:********@cli"
    assert "hunter2" not in said.out


def test_explain_of_what_has_no_effect_says_why_and_that_nobody_reads_it(proj: Shell) -> None:
    said = proj.proj("config", "explain", "broker_pool_limit")

    assert "  read by   nobody\n" in said.out
    assert "  note      the threads of a process share one connection\n" in said.out


def test_explain_of_an_unknown_key_names_the_nearest(proj: Shell) -> None:
    said = proj.proj("config", "explain", "worker_concurency")

    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "error: unknown setting 'worker_concurency': worker_concurrency?\n"
        "  all of them: taskctl config show -a -o name\n"
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.py", CONF),
        ("x.toml", CONF),
        (
            "pyproject.toml",
            "[tool.taskctl]\nbroker_url = 'redis://ops:hunter2@10.0.0.5'\n"
            "[tool.taskctl.worker]\nprefetch_multiplier = 1\n",
        ),
        (
            "x.json",
            '{"broker_url": "redis://ops:hunter2@10.0.0.5", "worker_prefetch_multiplier": 1}',
        ),
        (
            ".env",
            "# TASKCTL_BROKER_URL=no\nexport TASKCTL_BROKER_URL='redis://ops:hunter2@10.0.0.5'\n"
            "CELERYD_PREFETCH_MULTIPLIER=1 # one\nPATH=/bin\n",
        ),
    ],
)
def test_each_kind_of_file_is_read(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)

    found = read_settings_file(str(tmp_path / name))

    assert {key: value for key, (value, _) in found.items()} == {
        "broker_url": "redis://ops:hunter2@10.0.0.5",
        "worker_prefetch_multiplier": 1,
    }
    assert found["broker_url"][1].path == str(tmp_path / name)


def test_diff_with_a_file_of_the_same_settings_exits_0(proj: Shell) -> None:
    said = proj.proj("config", "diff", "app", "proj/conf.py")

    assert (said.code, said.out.splitlines()[1:], said.err) == (0, [], "")


def test_diff_tells_both_values_and_exits_1(proj: Shell) -> None:
    (proj.folder / "new.py").write_text("broker_url = 'redis://ops:other@10.0.0.5'\n")

    said = proj.proj("config", "diff", "app", "new.py", "-o", "json")

    assert said.code == 1
    found = {item["key"]: (item["left"], item["right"]) for item in said.json["items"]}
    assert found == {
        # The passwords differ, and neither is shown.
        "broker_url": ("redis://ops:********@10.0.0.5", "redis://ops:********@10.0.0.5"),
        "worker_prefetch_multiplier": (1, "auto"),
    }
    assert said.json["items"][1]["origin"]["kind"] == "default"
    assert "hunter2" not in said.out


def test_diff_of_default_and_celery_are_the_defaults_that_differ(proj: Shell) -> None:
    said = proj.run("config", "diff", "default", "celery", "-o", "name")

    assert said.code == 1
    assert {"task_acks_late", "worker_prefetch_multiplier"} <= set(said.out.split())


def test_diff_asks_a_node(fleet: Shell) -> None:
    differ = fleet.proj("config", "diff", "app", "w1@h", "-o", "json")
    to_itself = fleet.proj("config", "diff", "w1", "w1@h")
    nobody = fleet.proj("config", "diff", "app", "w9@h", "-t", "0.3")

    assert {item["key"]: item["right"] for item in differ.json["items"]} == {
        "task_default_rate_limit": "10/m"
    }
    assert (differ.code, to_itself.code) == (1, 0)
    assert (nobody.code, nobody.out) == (69, "")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("x.json", "[1]", "an object of settings expected"),
        ("x.json", "{", "Expecting property name"),
        ("x.py", "1/0", "ZeroDivisionError: division by zero"),
        ("x.toml", "a = ", "Invalid value"),
        ("x.toml", "task_acks_lat = true", "unknown setting 'task_acks_lat': task_acks_late?"),
    ],
)
def test_a_file_that_cannot_be_understood_says_why(
    tmp_path: Path, file: str, text: str, message: str
) -> None:
    (tmp_path / file).write_text(text)

    with pytest.raises(ImproperlyConfigured, match=re.escape(message)):
        read_settings_file(str(tmp_path / file))


def test_diff_with_a_file_that_is_not_there_exits_2(proj: Shell) -> None:
    said = proj.proj("config", "diff", "app", "gone.toml")

    assert (said.code, said.out, said.err) == (
        2,
        "",
        "error: gone.toml: no such file or directory\n",
    )


@pytest.mark.parametrize(
    ("conf", "key"),
    [
        (
            {"broker_transport_options": {"visibility_timeout": 60}, "task_time_limit": 90},
            "broker_transport_options",
        ),
        ({"task_reject_on_worker_lost": False}, "task_reject_on_worker_lost"),
        ({"task_max_deliveries": None}, "task_max_deliveries"),
        ({"accept_content": ["json", "pickle"]}, "accept_content"),
        ({"worker_prefetch_multiplier": 0}, "worker_prefetch_multiplier"),
        ({"broker_connection_retry": False}, "broker_connection_retry"),
        ({"worker_enable_remote_control": False}, "worker_enable_remote_control"),
        ({"result_expires": None}, "result_expires"),
        ({"broker_use_ssl": {"ssl_cert_reqs": None}}, "broker_use_ssl"),
    ],
)
def test_what_hurts_at_night_is_advised_against(conf: dict[str, Any], key: str) -> None:
    settings = Settings()
    settings.update(conf)
    scheme = "rediss" if "broker_use_ssl" in conf else "redis"

    found = find_risks(settings, Site(f"{scheme}://h", "redis://h", {}))

    assert [(problem.severity, problem.key) for problem in found] == [("advice", key)]


def test_advice_counts_if_strict(shell: Shell) -> None:
    with_settings(shell, "result_expires = None\n")

    said = shell.proj("config", "check", "-o", "json")
    strict = shell.proj("config", "check", "--strict")

    assert (said.code, said.json["ok"], strict.code) == (0, True, 78)
    assert strict.out.startswith("advice: proj/conf.py:1: result_expires is None")


def test_check_looks_at_the_delays_of_tasks_too(shell: Shell) -> None:
    with_settings(shell, "broker_url = 'redis://h'\nresult_backend = 'redis://h'\n")
    app = shell.folder / "proj" / "celery.py"
    app.write_text(
        app.read_text() + "\n@app.task(default_retry_delay=7200)\ndef slow():\n    ...\n"
    )

    said = shell.proj("config", "check")

    assert "is below default_retry_delay of proj.celery.slow (7200 s)" in said.out


def test_a_settings_module_that_raises_is_the_users_error(proj: Shell) -> None:
    (proj.folder / "proj" / "conf.py").write_text("x = 1\nraise ValueError('no')\n")

    said = proj.proj("config", "show")

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: cannot import 'proj.conf': proj/conf.py:2: ValueError: no\n")


def test_show_takes_the_options_of_lists(proj: Shell) -> None:
    said = proj.proj(
        "config",
        "show",
        "-a",
        "--where",
        "key == 'worker_lease*'",
        "--sort=-key",
        "--fields",
        "key",
    )

    assert said.out.splitlines() == ["key", "worker_lease_interval", "worker_lease"]
