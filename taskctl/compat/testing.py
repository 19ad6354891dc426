"""`celery.contrib.testing`: apps and workers for tests."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from taskctl.core import current
from taskctl.core.app import App
from taskctl.core.signals import Signal
from taskctl.core.tasks.joining import allow_join_result

from .nodes import anon_nodename
from .ping import ping
from .programs import WorkController

WORKER_LOGLEVEL = os.environ.get("WORKER_LOGLEVEL", "error")

test_worker_starting = Signal("test_worker_starting")
test_worker_started = Signal("test_worker_started", ("worker", "consumer"))
test_worker_stopped = Signal("test_worker_stopped", ("worker",))

DEFAULT_TEST_CONFIG: dict[str, Any] = {
    "worker_hijack_root_logger": False,
    "worker_log_color": False,
    "accept_content": {"json"},
    "enable_utc": True,
    "timezone": "UTC",
    "broker_url": "memory://",
    "result_backend": "cache+memory://",
    "broker_heartbeat": 0,
}


class Trap:
    """Stands for the current app where tests must not use it; any use of it fails."""

    def __getattr__(self, name: str) -> Any:
        if name in ("_is_coroutine", "__func__"):
            raise AttributeError(name)
        raise RuntimeError(f"the test uses the current app: it asked it for {name!r}")


class UnitLogging:
    """What stands for `app.log` in tests: nothing is set up."""

    def __init__(self, app: Any = None) -> None:
        self.app = app
        self.already_setup = True

    def setup(self, *args: Any, **kwargs: Any) -> bool:
        """Nothing."""
        return False


def TestApp(
    name: str | None = None,
    config: Any = None,
    enable_logging: bool = False,
    set_as_current: bool = False,
    log: Any = UnitLogging,
    backend: str | None = None,
    broker: str | None = None,
    **kwargs: Any,
) -> App:
    """Return an app on a broker in memory, unless told otherwise."""
    made = App(
        name or "celery.tests",
        set_as_current=set_as_current,
        broker=broker,
        backend=backend,
        **kwargs,
    )
    made.add_defaults({**_defaults(), **(config or {})})
    if not enable_logging:
        made.__dict__["log"] = UnitLogging(made)
    return made


def _defaults() -> dict[str, Any]:
    """Return the settings of test apps; each gets a broker of its own, which is its backend."""
    place = f"memory://{uuid4().hex}"
    return {**DEFAULT_TEST_CONFIG, "broker_url": place, "result_backend": place}


@contextlib.contextmanager
def set_trap(app: Any) -> Iterator[None]:
    """Let any use of the current app fail for a while."""
    trap: Any = Trap()
    before = current.get_app(make=False)
    current.set_app(trap)
    try:
        yield
    finally:
        current.set_app(before)


@contextlib.contextmanager
def setup_default_app(app: Any, use_trap: bool = False) -> Iterator[None]:
    """Let an app be the current and the default one for a while."""
    before = current.get_app(make=False)
    current.set_default_app(app)
    try:
        if use_trap:
            with set_trap(app):
                yield
        else:
            current.set_app(app)
            yield
    finally:
        current.set_app(before)
        current.set_default_app(before)
        app.close()


class TestWorkController(WorkController):
    """A worker that others can wait for."""

    __test__ = False

    def on_consumer_ready(self, consumer: Any) -> None:
        super().on_consumer_ready(consumer)
        test_worker_started.send(sender=self.app, worker=self, consumer=consumer)

    def ensure_started(self) -> None:
        """Wait until it takes tasks."""
        self.started.wait()


def setup_app_for_worker(app: App, loglevel: Any, logfile: Any) -> None:
    """Make an app ready for a worker: finalized, current, its log set up."""
    app.finalize()
    app.set_current()
    app.set_default()
    if loglevel and not isinstance(app.log, UnitLogging):
        app.log.setup(str(loglevel).upper(), logfile)


@contextlib.contextmanager
def start_worker(
    app: App,
    concurrency: int = 1,
    pool: str = "solo",
    loglevel: Any = WORKER_LOGLEVEL,
    logfile: Any = None,
    perform_ping_check: bool = True,
    ping_task_timeout: float = 10.0,
    shutdown_timeout: float = 10.0,
    WorkController: Any = TestWorkController,
    **kwargs: Any,
) -> Iterator[Any]:
    """Run a worker in a thread of this process, for as long as the context lasts.

    Raises AssertionError if `celery.ping` is not known or not answered, RuntimeError if the
    worker does not start, or does not end within `shutdown_timeout` seconds.
    """
    test_worker_starting.send(sender=app)
    worker = None
    try:
        setup_app_for_worker(app, loglevel, logfile)
        if perform_ping_check:
            assert ping.name in app.tasks, "import celery.contrib.testing.tasks, for its ping"
        worker = WorkController(
            app=app,
            concurrency=concurrency,
            hostname=kwargs.pop("hostname", anon_nodename()),
            pool=pool,
            without_heartbeat=kwargs.pop("without_heartbeat", True),
            **kwargs,
        )
        with _in_thread(worker, shutdown_timeout):
            if perform_ping_check:
                with allow_join_result():
                    answer = app.tasks[ping.name].delay().get(timeout=ping_task_timeout)
                assert answer == "pong"
            yield worker
    finally:
        test_worker_stopped.send(sender=app, worker=worker)


@contextlib.contextmanager
def _in_thread(worker: Any, shutdown_timeout: float) -> Iterator[None]:
    failure: list[BaseException] = []

    def run() -> None:
        try:
            worker.start()
        except BaseException as exc:
            failure.append(exc)

    thread = threading.Thread(target=run, name="worker", daemon=True)
    thread.start()
    worker.ensure_started()
    if failure:
        raise RuntimeError(f"the worker did not start: {failure[0]}") from failure[0]
    try:
        yield
    finally:
        worker.stop()
        thread.join(shutdown_timeout)
        if thread.is_alive():
            raise RuntimeError(
                f"the worker did not end within {shutdown_timeout:g} s: give shutdown_timeout more"
            )
