"""Workers, beats and command lines started from Python: `app.start`, `app.Worker`, `app.Beat`."""

from __future__ import annotations

import importlib
import logging
import sys
import threading
from collections.abc import Sequence
from typing import Any

from taskctl.core import log as logs
from taskctl.core.app import App, app_or_default
from taskctl.core.beat import Service
from taskctl.core.worker.options import resolve
from taskctl.core.worker.worker import Worker

log = logging.getLogger("taskctl.worker")


def start(app: App, argv: Sequence[str] | None = None) -> int:
    """Run a command line, `sys.argv` if None, with this app unless it names another."""
    words = list(sys.argv[1:] if argv is None else argv)
    program = importlib.import_module("taskctl.program")
    code: int = program.run(words, app=app)
    return code


def worker_main(app: App, argv: Sequence[str] | None = None) -> int:
    """Run the command line of a worker with this app.

    Raises ValueError if the words do not hold `worker`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if "worker" not in words:
        raise ValueError(f"the command 'worker' is missing in {words!r}")
    return start(app, words)


#: What WorkController takes and has no meaning here: these parts work otherwise.
_IDLE = frozenset(
    "without_gossip without_mingle ready_callback optimization pool_cls consumer_cls "
    "worker_lost_wait pool_putlocks redirect_stdouts redirect_stdouts_level state_db "
    "schedule_filename scheduler beat no_color quiet timer_cls pidfile".split()
)


class Node(Worker):
    """A worker that tells its controller when it is ready."""

    controller: WorkController

    def on_ready(self) -> None:
        super().on_ready()
        self.controller.on_consumer_ready(self.consumer)


class WorkController:
    """A worker made and run in Python; `start` returns when it has ended.

    Keywords are the options of the command line with underscores.  It may run in any thread:
    outside of the main one it obeys `stop` and remote control, and no signals of the system.
    """

    app: Any = None

    def __init__(self, app: Any = None, hostname: str | None = None, **options: Any) -> None:
        self.app = app_or_default(app or self.app)
        self.exitcode: int | None = None
        self.loglevel = options.pop("loglevel", None)
        self.logfile = options.pop("logfile", None)
        self.ready_callback = options.get("ready_callback")
        self.app.loader.import_default_modules()
        self.app.finalize()
        include = options.pop("include", None) or ()
        for module in [include] if isinstance(include, str) else include:
            self.app.loader.import_task_module(module)
        unknown = {k: v for k, v in options.items() if k not in _IDLE}
        unknown = {_NAMES.get(k, k): v for k, v in unknown.items()}
        self.options = resolve(self.app, hostname=hostname, **unknown)
        self.hostname = self.options.hostname
        self.started = threading.Event()
        self.on_before_init(**options)
        self.node = Node(self.app, self.options)
        self.node.controller = self

    def on_before_init(self, **kwargs: Any) -> None:
        """Called before the worker is made; for subclasses."""

    def on_consumer_ready(self, consumer: Any) -> None:
        """Called when it takes tasks; for subclasses."""
        self.started.set()
        if self.ready_callback is not None:
            self.ready_callback(consumer)

    @property
    def consumer(self) -> Any:
        return self.node.consumer

    @property
    def pool(self) -> Any:
        return self.node.pool

    @property
    def concurrency(self) -> int:
        return self.options.concurrency

    def start(self) -> int:
        """Work until told to stop; return the exit code."""
        if self.loglevel:
            self.app.log.setup(self.loglevel, self.logfile)
        try:
            self.exitcode = self.node.run()
        finally:
            self.started.set()
        return self.exitcode

    run = start

    def stop(self, in_sighandler: bool = False, exitcode: int | None = None) -> None:
        """Take nothing new, finish what runs, and end; from any thread."""
        self.node.signals.put(15)

    def terminate(self, in_sighandler: bool = False) -> None:
        """End as soon as may be; from any thread."""
        self.node.signals.put(3)

    def reload(
        self, modules: Sequence[str] | None = None, reload: bool = False, reloader: Any = None
    ) -> None:
        """Let it know tasks that were defined since it was made; import `modules` first.

        With `reload`, those that are imported already are imported anew.
        """
        for name in self.app.loader.task_modules if modules is None else modules:
            if name not in sys.modules:
                self.app.loader.import_task_module(name)
            elif reload:
                (reloader or importlib.reload)(sys.modules[name])
        self.node.tasks = self.app.tasks

    def stats(self) -> dict[str, Any]:
        """Return what `inspect stats` says."""
        found: dict[str, Any] = self.node.commands.stats()
        return found

    def __repr__(self) -> str:
        return f"<Worker: {self.hostname}>"


#: Names of Celery's for options of ours.
_NAMES = {
    "queues": "queues",
    "exclude_queues": "exclude_queues",
    "send_events": "task_events",
    "events": "task_events",
    "max_tasks_per_child": "max_tasks_per_child",
}


class Beat:
    """What sends periodic tasks, made and run in Python."""

    app: Any = None

    def __init__(
        self,
        max_interval: float | None = None,
        app: Any = None,
        loglevel: Any = "WARNING",
        logfile: Any = None,
        schedule: str | None = None,
        scheduler: Any = None,
        **_: Any,
    ) -> None:
        self.app = app_or_default(app or self.app)
        self.loglevel = loglevel
        self.logfile = logfile
        self.service = Service(
            self.app,
            max_interval=max_interval,
            schedule_filename=schedule,
            scheduler_cls=scheduler,
        )

    def run(self) -> None:
        """Send what is due until it is stopped."""
        logs.setup(self.loglevel, self.logfile)
        self.app.loader.import_default_modules()
        self.app.finalize()
        self.service.start()

    def stop(self) -> None:
        """Stop sending; from any thread."""
        self.service.stop()
