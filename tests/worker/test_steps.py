"""Steps and loaders: what users' code adds around a worker."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from taskctl import App, bootsteps
from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.loaders import BaseLoader
from taskctl.core.worker.options import direct_queue, resolve
from taskctl.core.worker.steps import in_order
from taskctl.core.worker.worker import Worker

from ..support.waiting import eventually


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[App]:
    app = App("steps", broker=f"memory://{request.node.name}", backend="memory://",
              set_as_current=False)  # fmt: skip

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    yield app
    app.close()


def live(app: App, stop: str = "warm", **extras: Any) -> Worker:
    options = resolve(app, pool="solo", hostname="in@test")
    options.extras.update(extras)
    worker = Worker(app, options)
    worker.open()
    result = app.tasks["add"].delay(2, 3)
    eventually(lambda: worker.turn() or result.ready())
    getattr(worker.shutdown, stop)()
    eventually(lambda: worker.turn() or worker.done)
    worker.close()
    return worker


def test_steps_start_in_the_order_they_need_and_stop_backwards(app: App) -> None:
    said: list[str] = []

    class First(bootsteps.StartStopStep):
        def __init__(self, parent: Any, watch: int = 0, **options: Any) -> None:
            said.append(f"made with watch={watch}")

        def start(self, parent: Any) -> None:
            said.append(f"first starts on {parent.hostname}")

        def stop(self, parent: Any) -> None:
            said.append("first stops")

    class Second(bootsteps.StartStopStep):
        requires = (First, "celery.worker.components:Pool")

        def create(self, parent: Any) -> Any:
            class Thing:
                def start(self) -> None:
                    said.append("second starts")

                def stop(self) -> None:
                    raise ValueError("it does not want to")

            return Thing()

    class Unwanted(bootsteps.StartStopStep):
        enabled = False

        def start(self, parent: Any) -> None:
            said.append("unwanted")

    app.steps["worker"].update({Second, First, Unwanted})

    live(app, user_options={"watch": 5})

    assert said == [
        "made with watch=5", "first starts on in@test", "second starts", "first stops",
    ]  # fmt: skip


def test_steps_that_require_each_other_are_refused() -> None:
    class One(bootsteps.Step):
        pass

    class Two(bootsteps.Step):
        requires = (One,)

    One.requires = (Two,)

    with pytest.raises(ImproperlyConfigured, match="steps require each other"):
        in_order({One, Two})


def test_a_cold_end_terminates_a_step(app: App) -> None:
    said: list[str] = []

    class Step(bootsteps.StartStopStep):
        def terminate(self, parent: Any) -> None:
            said.append("terminated")

    app.steps["worker"].add(Step)

    live(app, stop="cold")

    assert said == ["terminated"]


class Loader(BaseLoader):
    """Gives settings, and notes what is called."""

    said: list[str] = []

    def read_configuration(self) -> dict[str, Any]:
        return {"task_default_queue": "from-the-loader"}

    def on_worker_init(self) -> None:
        self.said.append("worker")

    def on_worker_process_init(self) -> None:
        self.said.append("child")

    def on_task_init(self, task_id: str, task: Any) -> None:
        self.said.append(task.name)

    def on_process_cleanup(self) -> None:
        self.said.append("cleanup")

    def on_worker_shutdown(self) -> None:
        self.said.append("end")


def test_a_loader_gives_settings_and_is_told_what_happens(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CELERY_LOADER", f"{__name__}:Loader")
    app.conf.read()
    Loader.said.clear()

    live(app)

    assert app.conf.task_default_queue == "from-the-loader"
    assert Loader.said == ["worker", "child", "add", "cleanup", "end"]


@pytest.mark.parametrize("name", ["app", "default", "celery.loaders.app:AppLoader"])
def test_celerys_own_loaders_are_the_one_every_app_has(name: str) -> None:
    app = App("plain", loader=name, set_as_current=False)

    assert type(app.loader).__name__ == "AppLoader"
    app.close()


def test_a_loader_that_is_not_there_is_named() -> None:
    app = App("plain", loader="no.such:Loader", set_as_current=False)

    with pytest.raises(ImproperlyConfigured, match=r"loader 'no\.such:Loader': No module"):
        app.conf.read()
    app.close()


def test_a_worker_may_have_a_queue_of_its_own() -> None:
    app = App("direct", broker="memory://", worker_direct=True, set_as_current=False)

    options = resolve(app, hostname="w1@h")

    assert [queue.name for queue in options.queues] == ["celery", "w1@h.dq2"]
    assert direct_queue("w1@h").exchange.name == "C.dq2"
    assert direct_queue("w1@h").routing_key == "w1@h"
    app.close()


@pytest.mark.parametrize("concurrency", [None, 1, 5, 50])
def test_autoscale_begins_with_the_fewest_children(concurrency: int | None) -> None:
    app = App("scaled", broker="memory://", set_as_current=False)

    options = resolve(app, autoscale=(10, 2), concurrency=concurrency)

    assert (options.concurrency, options.autoscale) == (2, (10, 2))
    app.close()
