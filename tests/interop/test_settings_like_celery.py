"""The same steps on Celery's conf and on ours give the same values."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import celery
import celery.app.defaults
import pytest
from celery.exceptions import ImproperlyConfigured as CelerysImproperlyConfigured

from taskctl.core.config import Settings
from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.settings_table import NEW_NAMES, SETTINGS

KEYS = "task_serializer result_serializer task_default_queue broker_url timezone".split()


class Ours:
    """Our settings with the methods of an app."""

    def __init__(self, namespace: str | None = None, **preconf: Any) -> None:
        self.conf = Settings(preconf, namespace=namespace)
        self.config_from_object = self.conf.use_object
        self.config_from_envvar = self.conf.use_envvar
        self.add_defaults = self.conf.add_defaults


def celerys(namespace: str | None = None, **preconf: Any) -> Any:
    broker = preconf.pop("broker_url", None)
    return celery.Celery("x", set_as_current=False, namespace=namespace, broker=broker, **preconf)


class Upper:
    CELERY_TASK_SERIALIZER = "yaml"
    CELERY_DEFAULT_QUEUE = "old"
    BROKER_URL = "redis://old"


class Django:
    CELERY_TASK_SERIALIZER = "msgpack"
    CELERY_RESULT_SERIALIZER = "yaml"
    BROKER_URL = "redis://plain"
    TIME_ZONE = "Europe/Berlin"
    task_default_queue = "plain"
    DEBUG = True


def preconf_wins_over_the_object(app: Any) -> None:
    app.config_from_object({"broker_url": "redis://object", "task_serializer": "yaml"})


def a_change_before_the_first_read_wins(app: Any) -> None:
    app.conf.task_serializer = "yaml"
    app.config_from_object({"task_serializer": "msgpack", "result_serializer": "yaml"})


def a_change_after_the_first_read_wins_until_the_next_object(app: Any) -> None:
    app.config_from_object({"task_serializer": "yaml"})
    app.conf.get("task_serializer")
    app.conf.task_serializer = "msgpack"
    app.conf.update(task_default_queue="changed")


def the_next_object_drops_changes_made_after_the_read(app: Any) -> None:
    a_change_after_the_first_read_wins_until_the_next_object(app)
    app.config_from_object({"result_serializer": "yaml"})


def the_next_object_keeps_changes_made_before_the_read(app: Any) -> None:
    app.conf.task_default_queue = "before"
    app.config_from_object({"task_serializer": "yaml"})
    app.conf.get("task_serializer")
    app.conf.task_default_queue = "after"
    app.config_from_object({"result_serializer": "yaml", "task_default_queue": "object"})


def an_unread_object_is_replaced_by_the_next(app: Any) -> None:
    app.config_from_object({"task_serializer": "yaml"})
    app.config_from_object({"result_serializer": "yaml"})


def force_reads_at_once(app: Any) -> None:
    app.config_from_object({"task_serializer": "yaml"}, force=True)
    app.conf.task_default_queue = "after"
    app.config_from_object({"result_serializer": "yaml"})


def added_defaults_beat_the_object(app: Any) -> None:
    app.add_defaults({"task_serializer": "first", "result_serializer": "first"})
    app.add_defaults(lambda: {"result_serializer": "second"})
    app.config_from_object({"task_serializer": "yaml", "task_default_queue": "object"})


def defaults_added_after_the_read_count_too(app: Any) -> None:
    app.conf.get("task_serializer")
    app.add_defaults({"task_serializer": "yaml"})


def defaults_are_lost_with_the_next_object(app: Any) -> None:
    app.add_defaults({"task_serializer": "yaml"})
    app.conf.get("task_serializer")
    app.config_from_object({"result_serializer": "yaml"})


def setdefault_before_the_read_is_a_change(app: Any) -> None:
    app.conf.setdefault("task_serializer", "yaml")
    app.config_from_object({"task_serializer": "msgpack"})


def setdefault_after_the_read_changes_nothing(app: Any) -> None:
    app.conf.get("task_serializer")
    app.conf.setdefault("task_serializer", "yaml")


def old_names_are_read(app: Any) -> None:
    app.config_from_object(Upper)


def old_names_can_be_changed_under_new_ones(app: Any) -> None:
    app.config_from_object(Upper)
    app.conf.get("task_serializer")
    app.conf.task_serializer = "msgpack"


def new_names_can_be_changed_under_old_ones(app: Any) -> None:
    app.config_from_object({"task_serializer": "yaml"})
    app.conf.get("task_serializer")
    app.conf.CELERY_TASK_SERIALIZER = "msgpack"


def a_namespace_reads_prefixed_names_first_and_the_others_too(app: Any) -> None:
    app.config_from_object(Django, namespace="CELERY")


def a_lower_case_namespace_reads_lower_case_names(app: Any) -> None:
    app.config_from_object(
        {"celery_task_serializer": "yaml", "CELERY_RESULT_SERIALIZER": "msgpack"},
        namespace="celery",
    )


def deleting_a_change_brings_back_what_was(app: Any) -> None:
    app.config_from_object({"task_serializer": "yaml"})
    app.conf.get("task_serializer")
    app.conf.task_serializer = "msgpack"
    del app.conf["task_serializer"]


def clear_takes_back_all_changes(app: Any) -> None:
    app.config_from_object({"task_serializer": "yaml"})
    app.conf.get("task_serializer")
    app.conf.update(task_serializer="msgpack", task_default_queue="x")
    app.conf.clear()


def a_module_by_name(app: Any) -> None:
    app.config_from_object("a_settings_module")


def an_object_in_a_module(app: Any) -> None:
    app.config_from_object("a_settings_module:Inner")


def an_object_in_a_module_by_dots(app: Any) -> None:
    app.config_from_object("a_settings_module.Inner")


def a_missing_module_in_silence(app: Any) -> None:
    app.config_from_object("no_such_settings_module", silent=True)


def a_variable_names_the_module(app: Any) -> None:
    app.config_from_envvar("THE_SETTINGS")


def an_unset_variable_in_silence(app: Any) -> None:
    app.config_from_envvar("NO_SUCH_VARIABLE", silent=True)


def the_environment_beats_everything(app: Any) -> None:
    app.config_from_object({"task_serializer": "yaml"})
    app.conf.broker_url = "redis://change"


STEPS: list[Callable[[Any], None]] = [
    value for value in list(vars().values())
    if callable(value) and getattr(value, "__annotations__", {}).get("app") == "Any"
]  # fmt: skip


@pytest.fixture(autouse=True)
def a_settings_module(monkeypatch: pytest.MonkeyPatch) -> None:
    class Inner:
        task_serializer = "msgpack"

    module = ModuleType("a_settings_module")
    vars(module).update(task_serializer="yaml", task_default_queue="module", Inner=Inner)
    monkeypatch.setitem(sys.modules, "a_settings_module", module)
    monkeypatch.setenv("THE_SETTINGS", "a_settings_module")


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
@pytest.mark.parametrize("environment", [None, "redis://from-environment"], ids=["", "env"])
def test_the_same_steps_give_the_same_values(
    step: Callable[[Any], None], environment: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if environment:
        monkeypatch.setenv("CELERY_BROKER_URL", environment)
    theirs, ours = celerys(broker_url="redis://made-with"), Ours(broker_url="redis://made-with")

    step(theirs)
    step(ours)

    expected = {key: getattr(theirs.conf, key) for key in KEYS}
    assert {key: getattr(ours.conf, key) for key in KEYS} == expected


MIXTURES = [
    {"task_serializer": "yaml", "CELERY_RESULT_SERIALIZER": "yaml"},
    {"task_serializer": "yaml", "CELERY_RESULT_SERIALIZER": "yaml", "BROKER_URL": "redis://x"},
    {"task_serializer": "yaml", "CELERY_TASK_SERIALIZER": "yaml"},
    {"CELERY_TASK_SERIALIZER": "yaml", "BROKER_URL": "redis://x", "task_serializer": "yaml"},
    {"BROKER_URL": "redis://x", "CELERYD_CONCURRENCY": 2},
]


@pytest.mark.parametrize("way", ["object", "update", "namespace"])
@pytest.mark.parametrize("mixture", MIXTURES, ids=",".join)
def test_the_same_mixtures_of_old_and_new_names_are_refused(
    mixture: dict[str, Any], way: str
) -> None:
    def refused(app: Any, error: type[Exception]) -> set[str]:
        try:
            if way == "update":
                app.conf.update(mixture)
            else:
                namespace = "CELERY" if way == "namespace" else None
                app.config_from_object(mixture, namespace=namespace)
            app.conf.get("task_serializer")
        except error as exc:
            return {name for name in str(exc).split() if name in mixture}
        return set()

    expected = refused(celerys(), CelerysImproperlyConfigured)

    assert refused(Ours(), ImproperlyConfigured) == expected


def test_every_setting_of_celery_is_known_with_its_default() -> None:
    theirs = celery.app.defaults.DEFAULTS

    ours = {name: row.celery_default() for name, row in SETTINGS.items() if name in theirs}

    assert ours == theirs


def test_every_old_name_of_celery_means_the_same() -> None:
    theirs = celery.app.defaults._TO_NEW_KEY

    assert {name: NEW_NAMES.get(name) for name in theirs} == theirs


def test_plain_settings_are_humanized_as_celery_does() -> None:
    plain = {
        "task_serializer": "json",
        "imports": ["a", "b"],
        "worker_concurrency": 3,
        "task_ignore_result": True,
        "result_backend": "redis://:secret@h/1",
        "redis_password": "secret",
    }
    theirs, ours = celerys(), Ours()
    theirs.config_from_object(dict(plain))
    ours.config_from_object(dict(plain))

    expected = [line for line in theirs.conf.humanize().splitlines() if "deprecated" not in line]

    assert ours.conf.humanize().splitlines() == expected
