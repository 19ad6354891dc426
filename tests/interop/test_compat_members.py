"""What Celery's users call on an app, besides what every app of taskctl has."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taskctl.compat.absences import UnsupportedMember
from taskctl.core.app import App
from taskctl.core.errors import BrokerError, UnsupportedFeature

from ..support.as_celery import as_celery
from ..support.waiting import eventually


@pytest.fixture
def celery() -> Iterator[Any]:
    """The module `celery`, which is taskctl."""
    with as_celery():
        yield importlib.import_module("celery")


@pytest.fixture
def app(celery: Any, tmp_path: Path) -> Iterator[Any]:
    url = f"sqlite:///{tmp_path}/queue.db"
    made = celery.Celery("shop", broker=url, backend=url, set_as_current=False)

    @made.task(name="add", shared=False)
    def add(x: int, y: int) -> int:
        return x + y

    with made:
        yield made


def test_a_worker_made_in_python_runs_in_a_thread_until_it_is_stopped(app: Any) -> None:
    worker = app.Worker(pool="solo", hostname="w1@test", concurrency=1)
    thread = threading.Thread(target=worker.start)
    thread.start()
    try:
        assert worker.started.wait(20)
        assert app.tasks["add"].delay(2, 3).get(timeout=20) == 5
        assert worker.stats()["pid"] > 0
    finally:
        worker.stop()
        thread.join(20)

    assert worker.exitcode == 0
    assert not thread.is_alive()


def test_a_beat_made_in_python_sends_until_it_is_stopped(app: Any, tmp_path: Path) -> None:
    app.conf.beat_schedule = {"often": {"task": "add", "schedule": 0.1, "args": (1, 1)}}
    beat = app.Beat(schedule=str(tmp_path / "schedule"), max_interval=0.1)
    thread = threading.Thread(target=beat.run)
    thread.start()
    try:
        channel = app.connection_for_read().default_channel
        eventually(lambda: channel.queue_declare("celery").message_count >= 2, within=20)
    finally:
        beat.stop()
        thread.join(20)

    assert not thread.is_alive()


def test_a_command_line_runs_with_the_app_that_started_it(
    app: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    app.conf.task_default_queue = "till"

    code = app.start(["config", "get", "task_default_queue", "-o", "plain"])

    assert code == 0
    assert "till" in capfd.readouterr().out
    with pytest.raises(ValueError, match="worker"):
        app.worker_main(["status"])


def test_connections_have_the_calls_of_gauges_and_health_checks(app: Any) -> None:
    app.send_task("add", (1, 1), queue="shelf")

    with app.connection_for_write() as connection, app.pool.acquire(block=True) as lent:
        connection.ensure_connection(max_retries=1)
        found = lent.default_channel.queue_declare("shelf", passive=True)
        assert (found.queue, found.message_count) == ("shelf", 1)
        assert connection.channel().queue_purge("shelf") == 1
        assert connection.connected and connection.as_uri().startswith("sqlite://")
        with pytest.raises(BrokerError, match="no queue 'nowhere'"):
            lent.default_channel.queue_declare("nowhere", passive=True)
        with pytest.raises(UnsupportedFeature, match=r"channel\.basic_get"):
            connection.channel().basic_get("shelf")


def test_a_lent_producer_publishes_calls_and_bodies_of_any_kind(app: Any) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        app.tasks["add"].apply_async((1, 2), producer=producer)
        producer.publish({"any": "body"}, routing_key="celery", serializer="json")

    channel = app.connection().default_channel
    assert channel.queue_declare("celery").message_count == 2


def test_settings_are_taken_from_words(app: Any) -> None:
    app.config_from_cmdline(["worker.prefetch_multiplier=2", ".concurrency=3"], namespace="worker")

    assert (app.conf.worker_prefetch_multiplier, app.conf.worker_concurrency) == (2, 3)


def test_a_class_made_with_the_app_knows_it(app: Any) -> None:
    class Part:
        """A part."""

    made = app.subclass_with_self(Part, name="Own", attribute="owner")

    assert (made.__name__, made.owner, made.__doc__) == ("Own", app, "A part.")


def test_the_names_of_queues_and_routes_are_those_of_the_settings(app: Any) -> None:
    queues = app.amqp.queues

    assert list(queues) == ["celery"]
    assert app.amqp.default_queue.routing_key == "celery"
    assert queues["made when it is asked for"].name == "made when it is asked for"
    assert list(queues.consume_from) == ["celery"]


def test_a_signal_that_would_retry_says_that_it_does_not(celery: Any) -> None:
    signals = importlib.import_module("celery.signals")

    with pytest.raises(UnsupportedFeature, match="called once"):
        signals.task_prerun.connect(print, retry=True)


#: Celery's objects by the expression that makes each of them, in both libraries.
OBJECTS = {
    "app": "app",
    "Task": "app.tasks['add']",
    "Signature": "app.tasks['add'].s()",
    "group": "celery.group(app.tasks['add'].s())",
    "chord": "celery.chord([app.tasks['add'].s()], app.tasks['add'].s())",
    "AsyncResult": "app.AsyncResult('1')",
    "GroupResult": "app.GroupResult('1')",
    "app.control": "app.control",
    "app.events": "app.events",
    "app.amqp": "app.amqp",
    "app.log": "app.log",
    "app.tasks": "app.tasks",
    "app.conf": "app.conf",
    "app.backend": "app.backend",
    "kombu.Queue": "kombu.Queue('q')",
    "kombu.Exchange": "kombu.Exchange('x')",
    "crontab": "celery.schedules.crontab()",
}
LISTING = f"""
import json, celery, celery.schedules, celery.backends.base, kombu
app = celery.Celery('shop', broker='memory://', backend=celery.backends.base.Backend)
@app.task(name='add')
def add(): pass
objects = {{name: eval(text) for name, text in {OBJECTS!r}.items()}}
print(json.dumps({{name: [m for m in dir(one) if m[0] != '_'] for name, one in objects.items()}}))
"""


@pytest.fixture(scope="module")
def members() -> dict[str, list[str]]:
    """The public members of Celery's objects, as Celery says."""
    done = subprocess.run(
        [sys.executable, "-c", LISTING], capture_output=True, text=True, check=True
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("name", OBJECTS)
def test_each_member_of_celerys_objects_is_there_or_is_refused_by_name(
    app: Any, celery: Any, members: dict[str, list[str]], name: str
) -> None:
    importlib.import_module("celery.schedules")
    ours = eval(
        OBJECTS[name], {"app": app, "celery": celery, "kombu": importlib.import_module("kombu")}
    )
    silent = []
    for member in (m for m in members[name] if not hasattr(type(ours), m)):
        try:
            getattr(ours, member)
        except (UnsupportedMember, UnsupportedFeature) as exc:
            assert member in str(exc) and "not in taskctl" in str(exc)
        except AttributeError:
            silent.append(member)

    assert silent == []


def test_a_refused_member_says_why_and_what_to_use_instead(app: Any) -> None:
    task = app.tasks["add"]

    with pytest.raises(UnsupportedMember, match=r"^Task\.Request is not in taskctl: .*; override"):
        task.Request  # noqa: B018
    assert not hasattr(task, "Strategy") and getattr(task, "request_stack", None) is None
    with pytest.raises(AttributeError, match="'nothing'"):
        task.nothing  # noqa: B018


def test_own_projects_have_plain_errors() -> None:
    assert not hasattr(App, "__getattr__")
