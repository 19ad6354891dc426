"""`taskctl config`: what is set, where, whether it is right; and no secret shows."""

from __future__ import annotations

import pytest

from ..support.shell import Shell

CONF = """\
broker_url = 'redis://ops:hunter2@10.0.0.5'
task_default_routing_key = 'shop.default'
worker_prefetch_multiplier = 1
"""


@pytest.fixture
def proj(shell: Shell) -> Shell:
    """A project whose settings stand in proj/conf.py."""
    (shell.folder / "proj" / "conf.py").write_text(CONF)
    app = shell.folder / "proj" / "celery.py"
    app.write_text(app.read_text() + "app.config_from_object('proj.conf')\n")
    return shell


def test_show_tells_what_is_set_and_where(proj: Shell) -> None:
    said = proj.type("-A", "proj", "config", "show")

    assert said.code == 0
    assert said.out.splitlines()[:-1] == [
        "SETTING                     VALUE                          FROM",
        "broker_url                  redis://ops:********@10.0.0.5  proj/conf.py:1",
        "task_default_routing_key    shop.default                   proj/conf.py:2",
        "worker_prefetch_multiplier  1                              proj/conf.py:3",
    ]
    assert said.out.splitlines()[-1].startswith("3 of ")
    assert said.out.rstrip().endswith("settings differ from their defaults (-a shows all)")


def test_show_in_a_pipe_is_tab_separated_and_names_each_origin(proj: Shell) -> None:
    (proj.folder / "taskctl.toml").write_text("# ours\nworker_concurrency = 3\n")

    said = proj.proj(
        "--result-backend", "sqlite:///r.db", "config", "show",
        TASKCTL_BROKER_URL="redis://:hunter2@env/0",
    )  # fmt: skip

    assert said.code == 0
    assert said.out.splitlines() == [
        "key\tvalue\tfrom",
        "broker_url\tredis://:********@env/0\tenv TASKCTL_BROKER_URL",
        "result_backend\tsqlite:///r.db\t--result-backend",
        "task_default_routing_key\tshop.default\tproj/conf.py:2",
        "worker_concurrency\t3\ttaskctl.toml:2",
        "worker_prefetch_multiplier\t1\tproj/conf.py:3",
    ]


def test_show_all_lists_defaults_too(proj: Shell) -> None:
    said = proj.proj("config", "show", "-a", "-o", "json")

    document = said.json
    items = {item["key"]: item for item in document["items"]}
    assert (document["schema"], document["ok"]) == ("taskctl/config.show/1", True)
    assert items["broker_url"] == {
        "key": "broker_url",
        "value": "redis://ops:********@10.0.0.5",
        "origin": {"kind": "object", "path": str(proj.folder / "proj" / "conf.py"), "line": 1},
        "default": None,
        "censored": True,
    }
    assert items["enable_utc"]["origin"] == {"kind": "default", "path": None, "line": None}
    assert "hunter2" not in said.out


@pytest.mark.parametrize(
    ("key", "out"),
    [
        ("broker_url", "redis://ops:********@10.0.0.5\n"),
        ("BROKER_URL", "redis://ops:********@10.0.0.5\n"),
        ("worker_prefetch_multiplier", "1\n"),
        ("enable_utc", "true\n"),
        ("accept_content", '["json"]\n'),
        ("task_default_queue", "celery\n"),
    ],
)
def test_get_prints_the_bare_value(proj: Shell, key: str, out: str) -> None:
    said = proj.proj("config", "get", key)

    assert (said.code, said.out, said.err) == (0, out, "")


def test_get_tells_the_broker_that_is_used_where_none_is_set(shell: Shell) -> None:
    said = shell.proj("config", "get", "broker_url")

    assert said.out == f"sqlite:///{shell.folder}/.taskctl/queue.db\n"


def test_get_of_an_unknown_key_names_the_nearest(proj: Shell) -> None:
    said = proj.proj("config", "get", "brokr_url")

    assert (said.code, said.out) == (2, "")
    assert said.err.splitlines()[0] == "error: unknown setting 'brokr_url': broker_url?"


def test_humanize_is_celerys_text_with_passwords_hidden(proj: Shell) -> None:
    said = proj.proj("config", "humanize")

    assert (said.code, said.out) == (
        0,
        "broker_url: 'redis://ops:********@10.0.0.5'\n"
        "task_default_routing_key: 'shop.default'\n"
        "worker_prefetch_multiplier: 1\n",
    )
    assert "\nenable_utc: True\n" in proj.proj("config", "humanize", "--with-defaults").out


def test_passwords_are_shown_on_a_terminal_or_after_a_yes_only(proj: Shell) -> None:
    words = ("-A", "proj", "config", "humanize", "--no-censor")

    refused = proj.run(*words)

    assert (refused.code, refused.out) == (2, "")
    assert "hunter2" in proj.run(*words, "--yes").out
    assert "hunter2" in proj.type(*words).out


def test_censor_copies_a_file_without_its_secrets(proj: Shell) -> None:
    said = proj.run("config", "censor", "proj/conf.py")

    assert (said.code, said.out) == (0, CONF.replace("hunter2", "********"))


def test_censor_reads_stdin_only_where_it_is_told_to(proj: Shell) -> None:
    piped = proj.run("config", "censor", "-", stdin='{"password": "hunter2"}\n')
    alone = proj.run("config", "censor", stdin='{"password": "hunter2"}\n')

    assert piped.out == '{"password": "********"}\n'
    assert (alone.code, alone.out) == (2, "")
    assert alone.err.startswith("error: taskctl config censor wants FILE|-, got nothing\n")


def test_censor_check_prints_nothing_and_says_by_its_code(proj: Shell) -> None:
    (proj.folder / "clean.env").write_text("BROKER=redis://h\nTOKEN=${TOKEN}\n")

    secret = proj.run("config", "censor", "--check", "proj/conf.py")
    clean = proj.run("config", "censor", "--check", "clean.env")

    assert (secret.code, secret.out, secret.err) == (1, "", "")
    assert (clean.code, clean.out, clean.err) == (0, "", "")


def test_censor_of_a_file_that_is_not_there_is_one_line(shell: Shell) -> None:
    said = shell.run("config", "censor", "nope.py")

    assert (said.code, said.out, said.err) == (
        1,
        "",
        "error: nope.py: no such file or directory\n",
    )


def test_check_is_content_with_what_is_right(proj: Shell) -> None:
    with (proj.folder / "proj" / "conf.py").open("a") as conf:
        conf.write("task_ignore_result = True\n")

    said = proj.proj("config", "check")

    assert (said.code, said.out) == (0, "ok: no unknown, unused or conflicting settings\n")
    document = proj.proj("config", "check", "-o", "json").json
    assert (document["ok"], document["items"]) == (True, [])


def test_check_lists_every_problem_with_its_place(proj: Shell) -> None:
    (proj.folder / "proj" / "conf.py").write_text(
        "task_soft_time_limit = 10\ntask_time_limit = 5\ntask_serializer = 'yaml'\n"
        "task_acks_late = False\ntask_reject_on_worker_lost = True\n"
    )

    said = proj.proj("config", "check")

    assert said.code == 78
    assert [line.partition(" ")[2].partition(" (")[0][:47] for line in said.out.splitlines()] == [
        "proj/conf.py:1: task_soft_time_limit",
        "proj/conf.py:3: task_serializer is 'yaml', whic",
        "proj/conf.py:5: task_reject_on_worker_lost has ",
    ]


def test_check_lists_all_unknown_settings(proj: Shell) -> None:
    conf = proj.folder / "proj" / "conf.py"
    conf.write_text(
        "task_acks_lat = True\nworker_prefetch_multiplyer = 1\nbroker_pool_limit = 'x'\n"
    )

    said = proj.proj("config", "check", "-o", "json")

    assert said.code == 78
    found = {item["key"]: (item["severity"], item["from"]) for item in said.json["items"]}
    assert found == {
        "task_acks_lat": ("error", "proj/conf.py:1"),
        "worker_prefetch_multiplyer": ("error", "proj/conf.py:2"),
        "broker_pool_limit": ("error", "proj/conf.py:3"),
    }
    assert said.json["ok"] is False


def test_check_finds_what_keeps_the_app_from_being_imported(shell: Shell) -> None:
    app = shell.folder / "proj" / "celery.py"
    app.write_text("from taskctl import App\napp = App('proj', task_acks_lat=True)\n")

    said = shell.proj("config", "check")

    assert said.code == 78
    assert said.out.startswith(
        "error: proj/celery.py:2: unknown setting 'task_acks_lat': task_acks"
    )


def test_config_without_a_command_names_what_is_missing(shell: Shell) -> None:
    said = shell.run("config")

    assert said.code == 2
    assert said.err.splitlines()[0] == "error: missing command"
    assert said.out == ""


def test_without_an_app_the_queue_and_the_settings_are_those_of_the_folder(shell: Shell) -> None:
    here = shell.folder / "elsewhere"
    here.mkdir()
    (here / "taskctl.toml").write_text("worker_concurrency = 7\n")

    url = shell.run("--workdir", "elsewhere", "config", "get", "broker_url")
    number = shell.run("--workdir", "elsewhere", "config", "get", "worker_concurrency")

    assert url.out == f"sqlite:///{here}/.taskctl/queue.db\n"
    assert number.out == "7\n"
