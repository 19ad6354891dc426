"""Settings: layers, names, types, places, and what is said when they are wrong."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.config import Origin, Settings
from taskctl.core.errors import ConfigSourceNotFound, ImproperlyConfigured, SettingError
from taskctl.core.settings_table import NEW_NAMES, PREFIXES, SETTINGS
from taskctl.core.settings_types import READERS, coerce, words_of


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("BROKER_URL", "RESULT_BACKEND", "CONFIG_MODULE"):
        monkeypatch.delenv(f"TASKCTL_{name}", raising=False)
        monkeypatch.delenv(f"CELERY_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write(name: str, text: str) -> None:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    importlib.invalidate_caches()


# -- the table


@pytest.mark.parametrize("row", SETTINGS.values(), ids=lambda row: row.name)
def test_a_setting_has_a_type_that_takes_its_default_and_a_line_of_help(row: Any) -> None:
    assert all(word in READERS or word.startswith('"') for word in words_of(row))
    assert coerce(row, row.default) == row.default
    assert coerce(row, row.celery_default()) == row.celery_default()
    assert row.help.endswith(".") and len(row.help) < 120
    assert row.own or row.old


def test_no_old_name_stands_for_two_settings() -> None:
    assert len(NEW_NAMES) == sum(len(row.old) for row in SETTINGS.values())


def test_no_setting_hides_a_method() -> None:
    assert not set(SETTINGS) & set(dir(Settings))


def test_the_defaults_that_differ_from_celery_are_these() -> None:
    differ = {name for name, row in SETTINGS.items() if row.default != row.celery_default()}

    assert differ == {
        "redis_socket_timeout",
        "task_priority_order",
        "task_acks_late",
        "task_reject_on_worker_lost",
        "worker_prefetch_multiplier",
    }
    assert Settings(celery_defaults=True).worker_prefetch_multiplier == 4
    assert Settings().worker_prefetch_multiplier == "auto"


# -- access


def test_a_setting_is_read_by_attribute_by_item_and_by_its_old_name() -> None:
    conf = Settings({"task_time_limit": 30})

    assert conf.task_time_limit == conf["task_time_limit"] == conf.CELERYD_TASK_TIME_LIMIT == 30
    assert conf.get("CELERYD_TASK_TIME_LIMIT") == 30
    assert conf.get("no_such_key", 7) == 7
    assert "task_time_limit" in conf and "no_such_key" not in conf
    assert len(conf) == len(list(conf)) == len(SETTINGS)


def test_a_change_is_seen_at_once_though_values_are_remembered() -> None:
    conf = Settings()
    assert conf.task_default_exchange == "celery"

    conf.task_default_queue = "shop"

    assert conf.task_default_exchange == conf.task_default_routing_key == "shop"


def test_a_default_that_is_a_dict_is_not_shared() -> None:
    one, other = Settings(), Settings()

    one.beat_schedule["mine"] = {"task": "x"}

    assert one["beat_schedule"] == one.beat_schedule == {"mine": {"task": "x"}}
    assert other.beat_schedule == {} and SETTINGS["beat_schedule"].default == {}


def test_nothing_is_read_before_a_key_is_asked_for() -> None:
    conf = Settings()
    conf.use_object("not_there_yet")
    conf.task_serializer = "yaml"
    assert not conf.configured

    write("not_there_yet.py", "result_serializer = 'yaml'\ntask_serializer = 'msgpack'\n")

    assert (conf.result_serializer, conf.task_serializer) == ("yaml", "yaml")
    assert conf.configured


def test_the_hooks_are_called_around_the_first_read_and_may_use_the_settings() -> None:
    seen: list[Any] = []
    conf = Settings()
    conf.before_read = lambda: conf.update(task_serializer="yaml")
    conf.after_read = lambda: seen.append(conf.task_serializer)

    assert conf.task_serializer == "yaml"
    assert seen == ["yaml"]


def test_threads_that_ask_at_once_read_it_once() -> None:
    reads: list[int] = []
    gate = threading.Barrier(4)
    conf = Settings(after_read=lambda: reads.append(1))

    def ask() -> None:
        gate.wait()
        assert conf.task_serializer == "json"

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert reads == [1]


def test_a_read_that_fails_is_tried_again() -> None:
    conf = Settings()
    conf.use_object("comes_later")
    with pytest.raises(ConfigSourceNotFound):
        conf.get("task_serializer")

    write("comes_later.py", "task_serializer = 'yaml'\n")

    assert conf.task_serializer == "yaml"


# -- layers and origins


def test_the_order_of_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = Settings()
    seen = [(conf.broker_url, conf.origin("broker_url").kind)]
    steps: list[Callable[[], object]] = [
        lambda: conf.use_project_file({"broker_url": "toml://"}, "taskctl.toml"),
        lambda: conf.use_object({"broker_url": "object://"}),
        lambda: conf.add_defaults({"broker_url": "added://"}),
        lambda: conf.update(broker_url="change://"),
        lambda: monkeypatch.setenv("CELERY_BROKER_URL", "celery-env://"),
        lambda: monkeypatch.setenv("TASKCTL_BROKER_URL", "env://"),
        lambda: conf.override({"broker_url": "cli://"}),
    ]

    for step in steps:
        step()
        seen.append((conf.broker_url, conf.origin("broker_url").kind))

    assert seen == [
        (None, "default"),
        ("toml://", "toml"),
        ("object://", "object"),
        ("added://", "app"),
        ("change://", "app"),
        ("celery-env://", "env"),
        ("env://", "env"),
        ("cli://", "cli"),
    ]


def test_the_origin_of_a_module_s_setting_is_its_line() -> None:
    write("proj/__init__.py", "")
    write("proj/config.py", "import os\n\nif os.name:\n    task_serializer = 'yaml'\n")
    conf = Settings()
    conf.use_object("proj.config")

    origin = conf.origin("task_serializer")

    assert origin == Origin("object", str(Path.cwd() / "proj/config.py"), 4)
    assert str(origin) == "proj/config.py:4"
    assert str(conf.origin("result_serializer")) == "default"


def test_the_origin_of_a_class_s_setting_is_its_line_in_that_class() -> None:
    write(
        "conf_classes.py",
        "class Base:\n    task_serializer = 'yaml'\n\nclass Live(Base):\n"
        "    result_serializer: str = 'yaml'\n",
    )
    conf = Settings()
    conf.use_object("conf_classes:Live")

    assert str(conf.origin("task_serializer")) == "conf_classes.py:2"
    assert str(conf.origin("result_serializer")) == "conf_classes.py:5"


def test_the_origin_of_a_change_is_the_user_s_line() -> None:
    conf = Settings()

    conf.task_serializer = "yaml"

    origin = conf.origin("task_serializer")
    assert origin.kind == "app" and origin.path == __file__ and origin.line is not None
    line = Path(__file__).read_text().splitlines()[origin.line - 1]
    assert line.strip() == 'conf.task_serializer = "yaml"'


def test_the_origin_of_the_environment_is_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_RESULT_BACKEND", "redis://h")

    assert str(Settings().origin("result_backend")) == "env CELERY_RESULT_BACKEND"


def test_the_project_file_may_group_settings_and_its_origin_is_the_line() -> None:
    write(
        "pyproject.toml",
        "[tool.taskctl]\napp = 'proj'\nbroker_url = 'redis://h'\n\n"
        "[tool.taskctl.worker]\nconcurrency = 3\n\n[tool.other]\nconcurrency = 1\n",
    )
    conf = Settings()

    conf.use_project_file(
        {"app": "proj", "broker_url": "redis://h", "worker": {"concurrency": 3}}, "pyproject.toml"
    )

    assert (conf.broker_url, conf.worker_concurrency) == ("redis://h", 3)
    assert str(conf.origin("broker_url")) == "pyproject.toml:3"
    assert str(conf.origin("worker_concurrency")) == "pyproject.toml:6"


def test_the_command_line_is_read_as_the_setting_wants_it() -> None:
    conf = Settings()

    conf.override(
        {
            "worker_concurrency": "4", "worker_prefetch_multiplier": "auto",
            "task_track_started": "true", "imports": "a, b", "task_time_limit": "2.5",
            "task_publish_retry_policy": '{"max_retries": 1}', "broker_pool_limit": "none",
        }
    )  # fmt: skip

    assert (conf.worker_concurrency, conf.worker_prefetch_multiplier) == (4, "auto")
    assert (conf.task_track_started, conf.imports, conf.task_time_limit) == (True, ("a", "b"), 2.5)
    assert (conf.task_publish_retry_policy, conf.broker_pool_limit) == ({"max_retries": 1}, None)
    with pytest.raises(SettingError, match=r"^command line: worker_concurrency must be"):
        conf.override({"worker_concurrency": "x4"})


def test_a_module_named_in_the_environment_is_read_if_the_app_names_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("from_env.py", "task_serializer = 'yaml'\n")
    monkeypatch.setenv("CELERY_CONFIG_MODULE", "from_env")

    assert Settings().task_serializer == "yaml"


# -- what is wrong


def test_an_unknown_key_is_told_with_place_and_nearest_name() -> None:
    write("proj2/__init__.py", "")
    write("proj2/config.py", "\n" * 11 + "task_acks_lat = True\n")
    conf = Settings()
    conf.use_object("proj2.config")

    with pytest.raises(SettingError) as info:
        conf.get("task_acks_late")

    assert str(info.value) == "proj2/config.py:12: unknown setting 'task_acks_lat': task_acks_late?"


def test_a_wrong_type_is_told_with_place_and_value() -> None:
    write("wrong_type.py", "task_time_limit = 'soon'\n")
    conf = Settings()
    conf.use_object("wrong_type")

    with pytest.raises(ImproperlyConfigured) as info:
        conf.get("task_acks_late")

    assert str(info.value) == (
        "wrong_type.py:1: task_time_limit must be seconds (a number or a timedelta) or None,"
        " got 'soon'"
    )


def test_a_wrong_secret_is_not_shown() -> None:
    with pytest.raises(SettingError) as info:
        Settings({"redis_password": ["hunter2"]})

    assert "hunter2" not in str(info.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("worker_concurrency", "4", "got '4' (text: write 4, or convert it)"),
        ("worker_concurrency", -1, "worker_concurrency must be 0 or more, got -1"),
        ("worker_concurrency", True, "a whole number or 'auto'"),
        ("task_always_eager", "False", "got 'False' (text: write False, or convert it)"),
        ("task_default_exchange_type", "topik", "got 'topik': 'topic'?"),
        ("task_default_rate_limit", "10/x", "a rate like 10, '10/s'"),
        ("timezone", "Europe/Berln", "a time zone like 'Europe/Berlin'"),
        ("worker_redirect_stdouts_level", "LOUD", "a log level"),
        ("result_expires", timedelta(seconds=-1), "must be 0 or more"),
        ("task_queues", "images", "a list of queues"),
        ("accept_content", [1], "a list of names"),
        ("task_protocol", 1, "task_protocol must be 2, got 1"),
        ("beat_schedule", [], "a dict"),
    ],
)
def test_a_wrong_value_is_refused_where_it_is_set(key: str, value: Any, said: str) -> None:
    conf = Settings()

    with pytest.raises(SettingError) as info:
        conf[key] = value

    assert said in str(info.value) and str(info.value).startswith(f"{__file__}:")
    assert conf[key] == SETTINGS[key].default


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("task_time_limit", timedelta(minutes=1)), ("task_time_limit", 1), ("task_time_limit", 1.5),
        ("worker_concurrency", "auto"), ("worker_concurrency", None), ("imports", {"a", "b"}),
        ("broker_url", ["redis://a", "redis://b"]), ("broker_use_ssl", {"ca_certs": "x"}),
        ("result_backend", dict), ("task_default_rate_limit", "10/m"), ("result_expires", None),
        ("task_routes", lambda *_: None), ("task_queues", {"a": {}}), ("broker_pool_limit", None),
    ],
)  # fmt: skip
def test_a_right_value_is_kept_as_it_is(key: str, value: Any) -> None:
    conf = Settings()

    conf[key] = value

    assert conf[key] is value or conf[key] == value


def test_a_single_name_counts_as_a_list_of_one() -> None:
    assert Settings({"accept_content": "json"}).accept_content == ("json",)


def test_other_things_in_a_module_pass() -> None:
    write(
        "lively.py",
        "import os\nimport os as task_os\nfrom pathlib import Path\nDEBUG = True\nmy_list = [1]\n"
        "def task_helper(): pass\nclass worker_class: pass\n_task_private = 1\n"
        "class Task:\n    def __call__(self): pass\ntask_object = Task()\n"
        "task_serializer = 'yaml'\n",
    )
    conf = Settings()
    conf.use_object("lively")

    assert conf.task_serializer == "yaml"
    assert conf.my_list == [1] and conf.DEBUG is True
    assert conf.without_defaults() == {"task_serializer": "yaml"}


def test_a_helper_with_the_name_of_a_setting_is_told_how_to_pass() -> None:
    write("helper.py", "task_zzz = [1]\n")
    conf = Settings()
    conf.use_object("helper")

    with pytest.raises(SettingError, match=r"helper\.py:1: .*'task_zzz'.*call it _task_zzz"):
        conf.read()


def test_own_keys_are_kept_beside_the_settings() -> None:
    conf = Settings({"shop_name": "x"})
    conf.use_object({"shop_size": 3})
    conf.shop_colour = "red"

    assert (conf.shop_name, conf.shop_size, conf.shop_colour) == ("x", 3, "red")
    assert {"shop_name", "shop_size", "shop_colour"} <= set(conf)


@pytest.mark.parametrize("key", ["worker_prefech_multiplier", "CELERYD_CONCURENCY", "result_x"])
def test_a_dict_takes_no_unknown_key_that_looks_like_a_setting(key: str) -> None:
    conf = Settings()

    with pytest.raises(SettingError, match=f"unknown setting '{key}'"):
        conf.update({key: 1})


def test_an_unknown_attribute_names_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"no setting 'task_serialiser': task_serializer\?"):
        _ = Settings().task_serialiser


def test_a_slip_under_a_namespace_is_told_with_the_namespace() -> None:
    conf = Settings()
    conf.use_object({"CELERY_TASK_ACKS_LAT": True, "OTHER": 1}, namespace="CELERY")

    with pytest.raises(SettingError, match=r"'CELERY_TASK_ACKS_LAT': CELERY_TASK_ACKS_LATE\?"):
        conf.read()


def test_mixed_names_are_refused_with_a_list_of_renames() -> None:
    write("mixed.py", "CELERY_RESULT_SERIALIZER = 'yaml'\ntask_serializer = 'yaml'\n")
    conf = Settings()
    conf.use_object("mixed")

    with pytest.raises(ImproperlyConfigured) as info:
        conf.read()

    first, second = str(info.value).splitlines()
    assert first == "mixed.py: old and new setting names are mixed; rename these:"
    assert second.split() == ["CELERY_RESULT_SERIALIZER", "->", "result_serializer"]


def test_a_missing_module_of_settings_is_an_import_error_that_tells_who_named_it() -> None:
    conf = Settings()
    conf.use_object("no_such.config")

    with pytest.raises(ImportError) as info:
        conf.read()

    assert isinstance(info.value, ConfigSourceNotFound)
    assert str(info.value).startswith(f"{__file__}:")
    assert "no settings at 'no_such.config'" in str(info.value)


def test_an_error_inside_the_module_of_settings_is_left_as_it_is() -> None:
    write("broken_config.py", "import no_such_module_at_all\n")
    conf = Settings()
    conf.use_object("broken_config", silent=False)

    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all") as info:
        conf.read()

    assert "while reading settings from 'broken_config'" in info.value.__notes__[0]


def test_an_unset_variable_is_told() -> None:
    with pytest.raises(ImproperlyConfigured, match="variable NO_SUCH_VARIABLE is not set"):
        Settings().use_envvar("NO_SUCH_VARIABLE")


# -- asking


def test_check_finds_what_contradicts_and_what_has_no_effect() -> None:
    conf = Settings()
    conf.update(
        task_soft_time_limit=300, task_time_limit=200, worker_lease_interval=14,
        task_serializer="yaml", cassandra_keyspace="x", task_always_eager=True,
        broker_url="localhost", redbeat_lock="x", brokr_url="x",
    )  # fmt: skip

    problems = conf.check()

    assert [(p.key, p.severity) for p in problems] == [
        ("task_soft_time_limit", "error"),
        ("worker_lease_interval", "error"),
        ("task_serializer", "error"),
        ("broker_url", "error"),
        ("brokr_url", "warning"),
        ("cassandra_keyspace", "warning"),
        ("task_always_eager", "warning"),
    ]
    assert all(p.where.startswith(f"{__file__}:") for p in problems)


def test_defaults_have_no_problems() -> None:
    assert Settings().check() == []


def test_check_lists_all_errors_of_a_source_instead_of_raising() -> None:
    write("many.py", "task_acks_lat = 1\nworker_concurrency = 'x'\n")
    conf = Settings()
    conf.use_object("many")

    assert sorted(map(str, conf.check())) == [
        "many.py:1: unknown setting 'task_acks_lat': task_acks_late?",
        "many.py:2: worker_concurrency must be a whole number or 'auto' or None, got 'x'",
    ]


def test_names_that_others_put_beside_ours_pass_and_check_lists_them() -> None:
    write(
        "django_like.py",
        "TIME_ZONE = 'Europe/Paris'\nCELERY_TASK_TIME_LIMIT = 30 * 60\n"
        "CELERY_EMAIL_TASK_CONFIG = {}\nCELERYD_FOO = 1\n",
    )
    conf = Settings()
    conf.use_object("django_like", namespace="CELERY")

    assert (conf.task_time_limit, conf.timezone) == (1800, "Europe/Paris")
    assert sorted(map(str, conf.check())) == [
        "django_like.py:3: unknown setting 'CELERY_EMAIL_TASK_CONFIG': nothing reads it",
        "django_like.py:4: unknown setting 'CELERYD_FOO': nothing reads it",
    ]


def test_explain_tells_all_there_is_to_say() -> None:
    told = Settings({"broker_url": "redis://:pw@h"}).explain("BROKER_URL")

    assert (told.key, told.value, told.default) == ("broker_url", "redis://:********@h", None)
    assert told.origin.path == __file__ and told.help.startswith("Where messages")
    with pytest.raises(SettingError, match=r"unknown setting 'broker_ulr': broker_url\?"):
        Settings().explain("broker_ulr")


def test_humanize_and_table_hide_secrets_unless_told_otherwise() -> None:
    conf = Settings()
    conf.use_object(
        {
            "broker_url": "redis://:pw@h/0", "redis_password": "pw",
            "broker_transport_options": {"sentinel_kwargs": {"password": "pw"}, "queue": "q"},
            "imports": ("a", "b"), "task_default_routing_key": "shop.default",
        }
    )  # fmt: skip

    assert conf.humanize().splitlines() == [
        "broker_url: 'redis://:********@h/0'",
        "redis_password: '********'",
        "broker_transport_options: ",
        "    {'queue': 'q', 'sentinel_kwargs': {'password': '********'}}",
        "imports: ",
        "    ('a', 'b')",
        "task_default_routing_key: 'shop.default'",
    ]
    assert conf.table(censored=False)["redis_password"] == "pw"
    assert set(conf.table(with_defaults=True)) == set(SETTINGS)
    assert "task_acks_late: True" in conf.humanize(with_defaults=True).splitlines()


def test_the_split_form_of_the_broker_url_is_put_together() -> None:
    conf = Settings()
    conf.update(
        broker_transport="redis", broker_host="h", broker_port=1, broker_user="u",
        broker_password="p@w", broker_vhost=2,
    )  # fmt: skip

    assert conf.broker_url == conf.broker_read_url == "redis://u:p%40w@h:1/2"


def test_a_plain_redis_backend_takes_its_host_from_the_split_form() -> None:
    conf = Settings({"result_backend": "redis"})
    assert conf.result_backend == "redis"

    conf.update(redis_host="h", redis_port=2, redis_db=3, redis_password="pw")

    assert conf.result_backend == "redis://:pw@h:2/3"


def test_a_broker_url_without_a_scheme_gets_that_of_broker_transport() -> None:
    assert Settings({"broker_url": "h", "broker_transport": "redis"}).broker_url == "redis://h"


def test_values_read_while_others_change_are_never_stale() -> None:
    conf = Settings()
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            assert conf.task_default_exchange

    readers = [threading.Thread(target=read) for _ in range(2)]
    for thread in readers:
        thread.start()
    for number in range(300):
        conf.task_default_queue = f"q{number}"
        assert conf.task_default_exchange == f"q{number}"
    stop.set()
    for thread in readers:
        thread.join()


def test_reading_urls_may_differ_from_writing_ones() -> None:
    conf = Settings({"broker_url": "redis://a", "broker_read_url": "redis://b"})

    assert (conf.broker_read_url, conf.broker_write_url) == ("redis://b", "redis://a")


def test_a_setting_is_found_without_its_prefix() -> None:
    conf = Settings({"worker_disable_rate_limits": True})

    assert conf.find_value_for_key("disable_rate_limits") is True
    assert conf.find_value_for_key("timezone") is None
    assert conf.get_by_parts("worker", "disable_rate_limits") is True
    assert conf.first("broker_host", "task_serializer") == "json"
    assert conf.value_set_for("CELERY_DISABLE_RATE_LIMITS")
    assert not conf.value_set_for("task_serializer")


@given(st.sampled_from(sorted(SETTINGS)), st.data())
def test_any_value_is_kept_or_refused_with_its_key(key: str, data: st.DataObject) -> None:
    simple = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    value = data.draw(simple | st.lists(simple, max_size=2) | st.dictionaries(st.text(), simple))

    for text in (False, True):
        try:
            coerce(SETTINGS[key], value, text=text)
        except ValueError as exc:
            assert key in str(exc)


@given(st.text(max_size=30) | st.sampled_from(PREFIXES).flatmap(
    lambda prefix: st.text("abcdefgh_", max_size=8).map(lambda rest: prefix + rest)))  # fmt: skip
def test_any_key_is_kept_or_refused(key: str) -> None:
    conf = Settings()

    try:
        conf.update({key: None})
    except SettingError as exc:
        assert exc.key == key or NEW_NAMES.get(key) == exc.key
    else:
        assert key in conf


def test_a_module_object_works_as_its_name_does() -> None:
    module = ModuleType("loose")
    vars(module).update(task_serializer="yaml")
    conf = Settings()

    assert conf.use_object(module, force=True) is True
    assert conf.task_serializer == "yaml"
