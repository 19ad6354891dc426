"""A whole worker in this process, on the memory broker, turned by hand."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from taskctl import App
from taskctl.core import signals
from taskctl.core.pool import PoolError
from taskctl.core.worker.options import resolve
from taskctl.core.worker.worker import Worker

from ..support.waiting import eventually


@pytest.fixture
def app(request: pytest.FixtureRequest) -> Iterator[App]:
    app = App(
        "inside", broker=f"memory://{request.node.name}", backend="memory://", set_as_current=False
    )

    @app.task(name="add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="nap")
    def nap(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    yield app
    app.close()


def turning(worker: Worker, check: Callable[[], Any]) -> Any:
    """Turn the worker until `check` holds."""

    def step() -> Any:
        worker.turn()
        return check()

    return eventually(step, within=5, every=0.001)


@pytest.fixture
def worker(app: App) -> Iterator[Worker]:
    worker = Worker(app, resolve(app, pool="threads", concurrency=2, hostname="in@test"))
    worker.open()
    yield worker
    worker.close()


def test_a_task_runs_and_its_message_is_gone(app: App, worker: Worker) -> None:
    result = app.tasks["add"].delay(2, 3)

    turning(worker, result.ready)

    assert result.get() == 5
    turning(worker, lambda: not worker.settlement.pending())
    assert worker.requests == {}
    assert (worker.totals.done, worker.totals.accepted) == (1, {"add": 1})
    assert worker.consumer.broker.queues()[0].unacked == 0


def test_a_warm_stop_ends_when_what_runs_has_ended(app: App, worker: Worker) -> None:
    results = [app.tasks["nap"].delay(0.2) for _ in range(5)]
    turning(worker, lambda: len(worker.pool.running()) == 2)

    worker.stop_warmly()
    turning(worker, lambda: worker.done)

    assert [result.ready() for result in results].count(True) == 2
    assert worker.consumer.broker.size("celery") == 3


def test_a_warm_stop_says_every_ten_seconds_how_many_tasks_remain(
    app: App, worker: Worker, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        app.tasks["nap"].delay(0.3)
    turning(worker, lambda: len(worker.pool.running()) == 2)
    worker.stop_warmly()
    began = time.monotonic()
    caplog.clear()

    for second in range(1, 32):
        worker.shutdown.look(began + second)

    said = [r.getMessage() for r in caplog.records if r.name == "taskctl.worker"]
    assert said == ["shutdown: waiting for 2 running tasks"] * 3
    turning(worker, lambda: worker.done)


def test_a_node_registers_and_says_how_it_is(app: App, worker: Worker) -> None:
    turning(worker, lambda: worker.ready)
    worker.heart.renew(worker.consumer.broker)

    (node,) = worker.consumer.broker.nodes()

    assert (node.name, node.alive) == ("in@test", True)
    assert node.record["state"] == "ok"
    assert node.record["queues"] == ["celery"]
    # Tasks that other tests shared with every app of this process are there too.
    assert {"add", "nap"} <= set(node.record["tasks"])
    assert node.record["slots"] == 2


def test_messages_lost_before_start_only_when_a_thread_is_idle(app: App, worker: Worker) -> None:
    turning(worker, lambda: worker.ready)
    for _ in range(4):
        app.tasks["nap"].delay(0.3)
    broker = worker.consumer.broker
    lost = broker.receive(4)
    broker.reject([delivery.tag for delivery in lost], requeue=True, lost=True)
    worker.prefetch.multiplier = 4

    turning(worker, lambda: len(worker.requests) == 4)

    assert len(worker.pool.running()) + worker.pool.waiting() == 2
    assert sum(request.noted for request in worker.requests.values()) == 2
    turning(worker, lambda: worker.totals.done == 4)


def test_what_waits_behind_long_tasks_goes_back(app: App, worker: Worker) -> None:
    for _ in range(20):
        worker.prefetch.ran("nap", 0.001)
    for _ in range(6):
        app.tasks["nap"].delay(1.6)
    turning(worker, lambda: len(worker.requests) == 6)

    turning(worker, lambda: len(worker.requests) == 2)

    assert worker.consumer.broker.size("celery") == 4 or turning(
        worker, lambda: worker.consumer.broker.size("celery") == 4
    )


def test_settings_may_be_changed_when_a_worker_is_made(app: App) -> None:
    def configure(sender: str, conf: Any, **_: Any) -> None:
        assert sender == "in@test"
        conf.task_dead_letter_queue = "elsewhere"

    signals.celeryd_init.connect(configure, weak=False)
    try:
        worker = Worker(app, resolve(app, pool="threads", hostname="in@test"))
    finally:
        signals.celeryd_init.disconnect(configure)

    assert worker.settlement.dead_queue == "elsewhere"
    worker.rest.close()


def test_what_listeners_of_celeryd_init_change_holds_for_the_nodes_options(app: App) -> None:
    def configure(conf: Any, options: dict[str, Any], **_: Any) -> None:
        conf.worker_concurrency = options.get("concurrency") or 5

    signals.celeryd_init.connect(configure, sender="in@test", weak=False)
    try:
        changed = Worker(app, resolve(app, pool="threads", hostname="in@test"))
        typed = Worker(app, resolve(app, pool="threads", hostname="in@test", concurrency=2))
    finally:
        signals.celeryd_init.disconnect(configure, sender="in@test")

    assert (changed.options.concurrency, typed.options.concurrency) == (5, 2)
    changed.rest.close()
    typed.rest.close()


def test_a_listener_of_celeryd_after_setup_gives_its_node_a_queue(app: App) -> None:
    taken: list[list[str]] = []

    def select(sender: str, instance: Any, **_: Any) -> None:
        instance.app.amqp.queues.select_add(f"{sender}.dq")
        instance.app.amqp.queues.deselect("celery")

    signals.celeryd_after_setup.connect(select, weak=False)
    try:
        worker = Worker(app, resolve(app, pool="solo", hostname="in@test"))

        def end() -> None:
            taken.append(list(worker.consumer.queues))
            worker.stop_warmly()

        worker.on_ready = end  # type: ignore[method-assign]
        assert worker.run() == 0
    finally:
        signals.celeryd_after_setup.disconnect(select)

    assert taken == [["in@test.dq"]]
    assert [queue.name for queue in worker.options.queues] == ["in@test.dq"]


def test_a_pool_that_cannot_start_leaves_nothing_open(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = Worker(app, resolve(app, pool="solo", hostname="in@test"))
    monkeypatch.setattr(worker.pool, "boot", lambda index: 1 / 0)
    before = worker.signals

    with pytest.raises(PoolError, match="ZeroDivisionError"):
        worker.run()

    assert before._before == {}


def test_life_is_told_in_order(app: App) -> None:
    told: list[str] = []
    names = "celeryd_init worker_init celeryd_after_setup worker_ready worker_shutting_down"
    receivers = []
    for name in [*names.split(), "worker_shutdown"]:

        def tell(name: str = name, **_: Any) -> None:
            told.append(name)

        receivers.append((getattr(signals, name), tell))
        getattr(signals, name).connect(tell, weak=False)
    try:
        worker = Worker(app, resolve(app, pool="solo", hostname="in@test"))
        worker.on_ready = worker.stop_warmly  # type: ignore[method-assign]
        assert worker.run() == 0
    finally:
        for signal, receiver in receivers:
            signal.disconnect(receiver)

    assert told == [*names.split(), "worker_shutdown"]
