"""The app: tasks and how they are made, settings, and what a user reaches through it."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import taskctl
from taskctl import App, Celery, Task, app_or_default, current_app, shared_task
from taskctl.core import current
from taskctl.core.errors import AppNotFound, ImproperlyConfigured, NotRegistered, SettingError
from taskctl.core.tasks.registry import DuplicateTaskNameWarning
from taskctl.core.wire.queues import Queue
from tests.support.draining import drain


@pytest.fixture
def app() -> Iterator[App]:
    with App("proj", broker="memory://app", set_as_current=False) as app:
        yield app


@pytest.fixture
def own_current_app() -> Iterator[None]:
    """Give back the app that was current before the test."""
    before = current.get_app(make=False)
    yield
    current.set_app(before)


def add(x: int, y: int) -> int:
    """Add two numbers."""
    return x + y


# --- making tasks -----------------------------------------------------------------------------


def test_a_task_is_made_with_and_without_parentheses(app: App) -> None:
    plain = app.task(add)
    named = app.task(name="proj.plus", priority=5)(add)

    assert (plain.name, named.name) == (f"{__name__}.add", "proj.plus")
    assert named.priority == 5
    assert plain(2, 3) == named(2, 3) == 5
    assert (plain.__doc__, plain.__module__) == ("Add two numbers.", __name__)
    assert plain.__wrapped__ is add
    assert isinstance(plain, Task)


def test_a_bound_task_gets_itself_first(app: App) -> None:
    @app.task(bind=True)
    def who(self: Any, x: int) -> tuple[Any, int]:
        return self, x

    assert who(1) == (who, 1)


def test_decorators_read_no_settings(app: App) -> None:
    app.task(add)
    app.conf.task_serializer = "pickle"

    assert not app.configured
    assert app.task(add).serializer == "pickle"
    assert app.configured


def test_the_object_in_the_module_is_the_one_in_the_registry(app: App) -> None:
    task = app.task(add)

    assert app.tasks[f"{__name__}.add"] is task
    assert app.finalized


def test_tasks_made_after_the_app_was_finalized_are_known_at_once(app: App) -> None:
    app.finalize()

    task = app.task(add, lazy=True)

    assert app.tasks[task.name] is task


def test_an_unknown_task_is_not_registered(app: App) -> None:
    with pytest.raises(NotRegistered, match=r"proj\.nothing"):
        app.tasks["proj.nothing"]


def test_a_task_of_the_main_module_bears_the_apps_name(app: App) -> None:
    assert app.gen_task_name("add", "__main__") == "proj.add"
    assert app.gen_task_name("add", "other.module") == "other.module.add"
    assert App(set_as_current=False).gen_task_name("add", "__main__") == "__main__.add"


def test_an_app_may_name_tasks_its_own_way() -> None:
    class Naming(App):
        def gen_task_name(self, name: str, module: str) -> str:
            return f"ours.{name}"

    assert Naming(set_as_current=False, broker="memory://").task(add).name == "ours.add"


def test_a_name_that_is_taken_gives_the_first_task_and_a_warning(app: App) -> None:
    first = app.task(add, name="same")
    second = app.task(lambda x, y: 0, name="same")

    with pytest.warns(DuplicateTaskNameWarning, match="task same is defined twice, at .+test_app"):
        app.finalize()

    assert second(1, 2) == first(1, 2) == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        app.task(add, name="same")


def test_an_app_without_autofinalize_refuses_its_tasks_before_it_is_ready() -> None:
    app = App("strict", autofinalize=False, set_as_current=False, broker="memory://")
    task = app.task(add)

    with pytest.raises(RuntimeError, match="is not finalized"):
        task.delay(1, 2)
    with pytest.raises(RuntimeError, match="is not finalized"):
        _ = app.tasks

    app.finalize()
    assert task(1, 2) == 3


def test_tasks_first_used_by_many_threads_are_made_once(app: App) -> None:
    made: list[int] = []

    class Counting(Task):  # type: ignore[type-arg]
        def __init__(self) -> None:
            made.append(1)

    task = app.task(add, base=Counting)
    gate = threading.Barrier(8)
    values: list[int] = []

    def use() -> None:
        gate.wait()
        values.append(task(1, 2))

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (values, made) == ([3] * 8, [1])


@pytest.mark.parametrize("wrong", [(42,), (add, add)])
def test_the_decorator_takes_a_function_and_nothing_else(app: App, wrong: Any) -> None:
    with pytest.raises(TypeError, match="takes a function"):
        app.task(*wrong)


def test_a_filter_decides_what_the_module_keeps(app: App) -> None:
    kept = app.task(filter=lambda task: [task])(add)

    assert kept[0](1, 2) == 3


# --- base classes -----------------------------------------------------------------------------


def test_a_base_class_adds_behaviour(app: App) -> None:
    class Loud(Task):  # type: ignore[type-arg]
        abstract = True
        rate_limit = "5/s"

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return ["called", super().__call__(*args, **kwargs)]

    loud = app.task(add, base=Loud)

    assert loud(1, 2) == ["called", 3]
    assert loud.rate_limit == "5/s"
    assert isinstance(loud, Loud)


def test_the_base_class_of_an_app_may_be_named_or_replaced() -> None:
    class Mine(Task):  # type: ignore[type-arg]
        colour = "red"

    by_argument = App(task_cls=Mine, set_as_current=False, broker="memory://")
    by_path = App(task_cls="taskctl.core.tasks.task:Task", set_as_current=False, broker="memory://")
    replaced = App(set_as_current=False, broker="memory://")
    task = replaced.task(add)
    replaced.Task = Mine

    assert by_argument.task(add).colour == "red"
    assert issubclass(by_path.Task, Task)
    assert by_path.Task is not Task
    assert task.colour == "red"


def test_a_task_may_be_a_class(app: App) -> None:
    class Adder(app.Task):  # type: ignore[misc,name-defined]
        def run(self, x: int, y: int) -> int:
            return x + y

    class Named(Task):  # type: ignore[type-arg]
        name = "proj.named"

        def run(self) -> str:
            return "ran"

    adder, named = app.register_task(Adder()), app.register_task(Named)

    assert adder.name == f"{__name__}.Adder"
    assert app.tasks["proj.named"] is named
    assert (adder(1, 2), named()) == (3, "ran")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'"):
        adder.delay(1)


# --- settings of tasks ------------------------------------------------------------------------


class Annotation:
    """An annotation as a class, which the tests name by its path too."""

    def annotate(self, task: Any) -> dict[str, Any] | None:
        return {"rate_limit": "1/s"} if task.name == "proj.add" else None

    def annotate_any(self) -> dict[str, Any]:
        return {"colour": "red"}


@pytest.mark.parametrize(
    "annotations",
    [
        {"proj.add": {"rate_limit": "1/s"}},
        {"*": {"rate_limit": "9/s"}, "proj.add": {"rate_limit": "1/s"}},
        {"*": {"rate_limit": "1/s"}},
        [{"other": {"rate_limit": "9/s"}}, {"proj.add": {"rate_limit": "1/s"}}],
        Annotation,
        Annotation(),
        f"{__name__}.Annotation",
        (Annotation(), {"proj.add": {"rate_limit": "9/s"}}),
    ],
)
def test_annotations_change_attributes(app: App, annotations: Any) -> None:
    app.conf.task_annotations = annotations

    assert app.task(add, name="proj.add").rate_limit == "1/s"


def test_annotations_wrap_methods(app: App) -> None:
    def doubled(run: Any) -> Any:
        return lambda *args: 2 * run(*args)

    app.conf.task_annotations = {"proj.add": {"@run": lambda run: staticmethod(doubled(run))}}

    assert app.task(add, name="proj.add").run(1, 2) == 6


def test_annotations_that_make_no_sense_are_refused(app: App) -> None:
    app.conf.task_annotations = 42

    with pytest.raises(ImproperlyConfigured, match="task_annotations holds 42"):
        app.task(add).delay(1, 2)


def test_a_task_takes_from_the_settings_what_it_leaves_open() -> None:
    app = App(
        broker="memory://",
        set_as_current=False,
        task_time_limit=30,
        task_track_started=True,
        task_acks_on_failure_or_timeout=False,
    )
    own, other = app.task(add, name="own", time_limit=5), app.task(add, name="other")

    assert (own.time_limit, other.time_limit) == (5, 30)
    assert other.track_started is True
    assert (other.acks_on_failure, other.acks_on_timeout) == (False, False)


# --- several apps -----------------------------------------------------------------------------


def test_a_task_of_one_app_is_there_in_another_unless_it_is_not_shared(app: App) -> None:
    mine = app.task(add, name="shared.add")
    app.task(add, name="unshared.add", shared=False)

    other = App("other", broker="memory://other", set_as_current=False)

    assert other.tasks["shared.add"] is not mine
    assert other.tasks["shared.add"].app is other
    assert "unshared.add" not in other.tasks
    later = app.task(add, name="shared.later")
    assert later.name in other.tasks


def test_a_shared_task_is_that_of_the_current_app(own_current_app: None) -> None:
    @shared_task(name="everybody.add", bind=True)
    def everybody(self: Any, x: int) -> Any:
        return self.app

    first, second = App("first", broker="memory://1"), App("second", broker="memory://2")

    assert everybody.app is second
    first.set_current()
    assert everybody(1) is first
    assert everybody == first.tasks["everybody.add"]
    assert isinstance(everybody, Task)
    assert repr(everybody) == repr(first.tasks["everybody.add"])
    assert everybody.delay(1).id


def test_the_current_app_is_that_of_the_thread(own_current_app: None) -> None:
    first = App("first", broker="memory://")
    first.set_default()
    second = App("second", broker="memory://")
    seen: list[Any] = []

    thread = threading.Thread(target=lambda: seen.append(app_or_default()))
    thread.start()
    thread.join()

    assert current_app == second
    assert current_app.main == "second"
    assert seen == [first]
    assert app_or_default(first) is first


def test_the_old_name_still_stands() -> None:
    assert Celery is App
    assert taskctl.exceptions.CeleryError


# --- settings ---------------------------------------------------------------------------------


def test_any_setting_may_be_a_keyword() -> None:
    app = App(
        "proj",
        broker="redis://localhost/5",
        backend="redis://localhost/6",
        include=["a", "b"],
        timezone="Europe/Berlin",
        task_serializer="pickle",
        set_as_current=False,
    )

    assert app.broker_url() == "redis://localhost/5"
    assert app.backend_url() == "redis://localhost/6"
    assert list(app.conf.include) == ["a", "b"]
    assert str(app.timezone) == "Europe/Berlin"
    assert app.now().tzinfo is app.timezone
    with pytest.raises(SettingError, match="task_serialiser"):
        App(task_serialiser="pickle", set_as_current=False)


def test_settings_come_from_an_object_and_signals_tell_when(app: App) -> None:
    told: list[str] = []
    app.on_configure.connect(lambda **_: told.append("before"), weak=False)
    app.on_after_configure.connect(
        lambda source, **_: told.append(source.task_serializer), weak=False
    )
    app.on_after_finalize.connect(lambda **_: told.append("finalized"), weak=False)

    app.config_from_object({"task_serializer": "pickle"})
    assert told == []
    app.finalize()

    assert told == ["before", "pickle", "finalized"]


def test_settings_come_from_where_an_environment_variable_points(
    app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "settings_of_envvar.py").write_text("task_default_queue = 'enved'\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("MY_SETTINGS", "settings_of_envvar")

    app.config_from_envvar("MY_SETTINGS")

    assert app.conf.task_default_queue == "enved"
    assert app.config_from_envvar("NO_SUCH_VARIABLE", silent=True) is None
    with pytest.raises(ImproperlyConfigured, match="NO_SUCH_VARIABLE is not set"):
        app.config_from_envvar("NO_SUCH_VARIABLE")


def test_a_changed_setting_holds_for_the_next_call(app: App) -> None:
    task = app.task(add)
    task.delay(1, 2)

    app.conf.task_default_queue = "changed"
    app.conf.task_routes = {"*.other": "elsewhere"}
    task.delay(1, 2)

    assert app.shared_connection().broker.size("changed") == 1


# --- broker and results -----------------------------------------------------------------------


def test_without_a_url_the_queue_is_beside_the_code(tmp_path: Path) -> None:
    package = tmp_path / "shop"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "app.py").write_text("from taskctl import App\napp = App('shop')\n")
    probe = "import shop.app as m; print(m.app.broker_url()); print(m.app.backend_url())"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    lines = subprocess.run(
        [sys.executable, "-c", probe],
        cwd=elsewhere,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/bin"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()

    assert lines == [f"sqlite:///{tmp_path}/.taskctl/queue.db"] * 2


def test_the_environment_names_the_broker(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CELERY_BROKER_URL", "redis://env/1")

    assert app.broker_urls() == ["redis://env/1"]


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({"broker_url": "redis://a/0"}, None),
        ({"broker_url": "sqlite:////tmp/x.db"}, "sqlite:////tmp/x.db"),
        ({"broker_url": "memory://x"}, "memory://x"),
        ({"broker_url": "sqlite:////tmp/x.db", "result_backend": "redis://b/1"}, "redis://b/1"),
        ({"broker_url": "redis://a/0", "result_backend": "redis"}, "redis://localhost"),
        (
            {
                "broker_url": "redis://a/0",
                "result_backend": "redis",
                "redis_port": 7000,
                "redis_db": 2,
            },
            "redis://localhost:7000/2",
        ),
        (
            {"result_backend": "redis://b/1", "redis_backend_use_ssl": {"ssl_cert_reqs": "none"}},
            "rediss://b/1",
        ),
    ],
)
def test_an_embedded_broker_keeps_results_too(settings: dict[str, Any], url: str | None) -> None:
    assert App(set_as_current=False, **settings).backend_url() == url


def test_several_brokers_are_tried_in_the_order_of_the_strategy() -> None:
    def app(**settings: Any) -> App:
        return App(broker="redis://a;redis://b;redis://c", set_as_current=False, **settings)

    assert app().broker_urls() == ["redis://a", "redis://b", "redis://c"]
    assert sorted(app(broker_failover_strategy="shuffle").broker_urls()) == app().broker_urls()
    assert app(broker_failover_strategy=lambda urls: iter(urls[::-1])).broker_urls() == [
        "redis://c",
        "redis://b",
        "redis://a",
    ]
    assert app(broker_use_ssl={"ssl_cert_reqs": "none"}).broker_url() == "rediss://a"


def test_the_shared_connection_lasts_while_the_broker_stays_the_same(app: App) -> None:
    first = app.shared_connection()
    app.conf.task_serializer = "pickle"
    same = app.shared_connection()
    app.conf.broker_url = "memory://elsewhere"

    assert same is first
    assert app.shared_connection().url == "memory://elsewhere"


def test_queues_of_a_worker_are_chosen_by_name() -> None:
    app = App(task_queues=[Queue(name="a"), Queue(name="b")], set_as_current=False)

    assert [q.name for q in app.select_queues("a, extra")] == ["a", "extra"]
    assert [q.name for q in app.select_queues(None, ["extra"])] == ["a"]
    assert app.known_queue("b") is not None
    assert app.known_queue("nowhere") is None


def test_control_purges_the_queues_of_the_app(app: App) -> None:
    app.control.purge()
    app.send_task("a")
    app.send_task("b")

    assert app.control.purge() == 2


# --- calling by name --------------------------------------------------------------------------


def test_a_task_is_sent_by_name_with_the_options_it_has_here(app: App) -> None:
    app.task(add, name="proj.add", priority=7, ignore_result=True)
    app.finalize()

    result = app.send_task("proj.add", (1, 2), countdown=None)
    outcomes = drain(app)

    assert [outcome.kind for outcome in outcomes] == ["succeeded"]
    assert isinstance(result, app.AsyncResult)
    assert not result.ignored


# --- modules ----------------------------------------------------------------------------------


def test_modules_are_imported_when_a_worker_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("found_one", "found_two"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
    (tmp_path / "found_one" / "tasks.py").write_text("here = 1\n")
    (tmp_path / "found_extra.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    app = App(include=["found_extra"], set_as_current=False)
    app.autodiscover_tasks(["found_one", "found_two"])
    assert "found_one.tasks" not in sys.modules

    app.import_default_modules()

    assert {"found_one.tasks", "found_two", "found_extra"} <= set(sys.modules)
    app.autodiscover_tasks(lambda: ["found_two"], related_name=None, force=True)
    with pytest.raises(AppNotFound, match="no_such_module"):
        App(imports=["no_such_module"], set_as_current=False).import_default_modules()


def test_what_a_discovered_module_raises_is_raised(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "found_bad").mkdir()
    (tmp_path / "found_bad" / "__init__.py").write_text("")
    (tmp_path / "found_bad" / "tasks.py").write_text("import not_installed_at_all\n")
    monkeypatch.syspath_prepend(str(tmp_path))

    with pytest.raises(ModuleNotFoundError, match="not_installed_at_all"):
        app.autodiscover_tasks(["found_bad"], force=True)


# --- what it is -------------------------------------------------------------------------------


def test_an_app_and_its_tasks_say_who_they_are(app: App) -> None:
    task = app.task(add, name="proj.add")

    assert repr(app) == f"<App proj at {id(app):#x}>"
    assert repr(task) == f"<@task: proj.add of proj at {id(app):#x}>"


def test_an_app_travels_by_its_settings(own_current_app: None) -> None:
    app = App("proj", broker="memory://pickled", task_serializer="pickle")
    task = app.task(add, name="pickled.add")

    copy = pickle.loads(pickle.dumps(app))

    assert (copy.main, copy.broker_url(), copy.conf.task_serializer) == (
        "proj",
        "memory://pickled",
        "pickle",
    )
    assert pickle.loads(pickle.dumps(task)) is task


def test_a_bug_report_holds_no_password() -> None:
    app = App(broker="redis://:secret@localhost/0", set_as_current=False)

    text = app.bugreport()

    assert "taskctl:" in text
    assert "redis://:********@localhost/0" in text
    assert "secret" not in text
    info = app.broker_info(app.broker_url())
    assert (info["hostname"], info["port"], info["transport"]) == ("localhost", 6379, "redis")
    assert "secret" not in str(info)


def test_importing_loads_nothing_heavy() -> None:
    code = textwrap.dedent(
        """
        import sys
        import taskctl
        heavy = {"rich", "click", "redis", "pika", "taskctl.core.worker", "taskctl.core.pool"}
        assert "taskctl.core.app" not in sys.modules
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        from taskctl import App, group, chain, shared_task, current_app
        app = App("proj", broker="memory://")
        app.task(lambda: None, name="nothing").delay()
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
        """
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_can_be_had() -> None:
    for name in taskctl.__all__:
        assert getattr(taskctl, name) is not None
    assert set(dir(taskctl)) == set(taskctl.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = taskctl.nothing
