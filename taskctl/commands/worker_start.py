"""A worker from its options to its end, step by step.

The order matters: rights are given up before anything is opened, the process detaches before
threads and connections exist, the pidfile is held before the log is, and the broker answers
before children are forked.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from taskctl.app_options import tell_preload, values_of
from taskctl.apps import unreachable, user_app
from taskctl.context import Context
from taskctl.core import daemon
from taskctl.core import log as logs
from taskctl.core.app import App
from taskctl.core.errors import BrokerConnectionError, QueueNotFound
from taskctl.core.loader import import_modules
from taskctl.core.pidfile import Pidfile
from taskctl.core.privileges import refuse_pickle_as_root
from taskctl.core.worker.options import WorkerOptions, resolve
from taskctl.core.worker.reexec import Past, execute, own_argv, take_past
from taskctl.core.worker.worker import Worker
from taskctl.failures import CommandError, usage
from taskctl.staying import report_failure
from taskctl.views.banner import banner, log_line

from .worker_facts import facts_of, waiting_in
from .worker_place import Place
from .worker_values import apply_overrides

if TYPE_CHECKING:
    from taskctl.core.beat.service import EmbeddedBeat

log = logging.getLogger("taskctl.worker")

Given = Mapping[str, Any]

#: Longest pause between two tries to reach a broker at start, in seconds; Celery's steps too.
_LONGEST_PAUSE = 32.0
_CHECK_FORMATS = ("table", "wide", "plain", "json", "jsonl")


class Node(Worker):
    """A worker that tells the outside when it is ready."""

    announce: Callable[[], None]

    def on_ready(self) -> None:
        self.announce()


class Start:
    """One start of a worker; `run` returns the exit code."""

    def __init__(self, context: Context, given: Given) -> None:
        self.context = context
        self.given = given
        self.began = time.monotonic()
        self.on_terminal = False
        self.pidfile: Pidfile | None = None
        #: Whether to begin anew when all is closed.
        self.again = False
        self.past = take_past()
        #: Whether somebody waits for us to get ready, and wants to know soon if we do not.
        self.awaited = bool(given["detach"] or os.environ.get(daemon.READY_VARIABLE))
        self.awaited = self.awaited and not self.past.restarted
        if given["check"] and given["detach"]:
            raise usage("--check and --detach do not go together")
        if (given["pool_start_method"] or "fork") != "fork":
            raise usage(
                f"--pool-start-method {given['pool_start_method']}: children are always forked",
                "leave it out, or say fork",
            )
        self.place = Place(given, self.past)

    def run(self) -> int:
        """Start, work, and stop; return the exit code."""
        self.place.settle()
        if self.given["detach"] and not self.past.detached:
            self._detach()
        daemon.claim_ready_pipe()
        daemon.resume(self.past.silent)
        try:
            code = self._run()
        except BaseException as exc:
            logs.restore_stdouts()
            report_failure(exc)
            raise
        finally:
            logs.restore_stdouts()
            if self.pidfile is not None and not self.again:
                self.pidfile.release()
        if self.again:
            self._start_again()
        return code

    def _run(self) -> int:
        self._hold_pidfile()
        app = self._load_app()
        self.place.settle_by(app.conf)
        self._hold_pidfile()
        refuse_pickle_as_root(app.conf.accept_content)
        options = self._options(app)
        self._set_up_log(app)
        worker = Node(app, options)
        if not self.given["check"]:
            worker.vitals.open()
        try:
            return self._work(worker)
        finally:
            worker.vitals.close()

    def _work(self, worker: Node) -> int:
        waiting = self._reach_broker(worker)
        facts = facts_of(worker, self.context.app_spec, waiting)
        if self.given["check"]:
            return self._checked(worker.app, facts)
        self._introduce(facts)
        worker.announce = lambda: self._ready(worker)
        code = worker.run()
        self.again = worker.shutdown.again
        return code

    # -- the process

    def _hold_pidfile(self) -> None:
        path = self.place.pidfile
        if path is not None and self.pidfile is None and not self.given["check"]:
            pidfile = Pidfile(path)
            pidfile.acquire()
            self.pidfile = pidfile

    def _detach(self) -> None:
        logfile = self.place.logfile
        if logfile:
            logs.open_handler(logfile).close()  # makes the folder, or says why not
        daemon.daemonize(logfile, told=None if self.context.quiet else _tell_detached)
        self.place.past = self.past = Past(detached=True)

    def _start_again(self) -> None:
        """Execute the program anew: same pid, same arguments, the pidfile held throughout."""
        if self.pidfile is not None:
            self.pidfile.mark_ready(False)
            self.pidfile.keep_over_exec()
        if self.context.came_from is not None:
            os.chdir(self.context.came_from)
        argv = own_argv()
        try:
            execute(argv, Past(detached=self.past.detached, restarted=True))
        except OSError as exc:
            if self.pidfile is not None:
                self.pidfile.release()
            raise CommandError(
                f"cannot start again: {argv[0]}: {(exc.strerror or str(exc)).lower()}"
            ) from exc

    # -- the app and its settings

    def _load_app(self) -> App:
        app = user_app(self.context)
        tell_preload(app)
        apply_overrides(app, self.given["overrides"])
        if self.given["disable_prefetch"]:
            app.conf.override({"worker_disable_prefetch": True})
        app.set_default()
        app.set_current()
        app.import_default_modules()
        import_modules(self.given["include"] or ())
        app.finalize()
        return app

    def _options(self, app: App) -> WorkerOptions:
        names = (
            "queues", "exclude_queues", "concurrency", "pool", "prefetch_multiplier",
            "max_tasks_per_child", "max_memory_per_child", "time_limit", "soft_time_limit",
            "task_events", "without_heartbeat", "without_gossip", "without_mingle",
            "heartbeat_interval", "autoscale", "purge", "shutdown_timeout", "children",
        )  # fmt: skip
        given = {name: self.given[name] for name in names}
        if self.past.restarted:
            given["purge"] = None  # what waits now may be what was given back
        try:
            options = resolve(app, hostname=self.place.node, **given)
        except QueueNotFound as exc:
            raise usage(f"-Q: {exc.args[0]}") from exc
        if not options.queues:
            raise usage("no queue is left to take tasks from", "see -Q and -X")
        options.statedb = self.place.statedb
        options.health_file = self.place.health_file
        options.health_required = bool(self.given["health_file"])
        options.health_listen = self.given["health_listen"]
        options.metrics_listen = self.given["metrics_listen"]
        options.extras["imported"] = True
        options.extras["child_log"] = self._child_log(app)
        options.extras["user_options"] = values_of(app, "worker", self.given)
        options.extras["beat"] = self._beat(app)
        return options

    def _beat(self, app: App) -> EmbeddedBeat | None:
        """Return beat as a child of this worker, if that was asked for."""
        given = self.given
        if given["beat"]:
            # 10 ms and 2 MiB, which a worker without it need not pay.
            from taskctl.core.beat.service import EmbeddedBeat

            return EmbeddedBeat(app, self.place.schedule, given["scheduler"])
        for option in ("schedule_filename", "scheduler"):
            if given[option]:
                self.context.note(f"--{option.removesuffix('_filename')} has no effect without -B")
        return None

    # -- the log

    def _set_up_log(self, app: App) -> None:
        self.on_terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()
        self._log_to(app, self.place.logfile)
        if self.past.detached and self.place.logfile and not self.given["logfile"]:
            daemon.write_output_to(self.place.logfile)

    def _child_log(self, app: App) -> Callable[[int], None] | None:
        """Return what gives each child a log of its own, if the template has a place for it."""
        if not self.place.child_logs():
            return None
        # Children count from 0, their letters from 1.
        template = self.place.log_template
        return lambda index: self._log_to(app, self.place.path("--logfile", template, index + 1))

    def _log_to(self, app: App, path: str | None) -> None:
        conf = app.conf
        colour = self.context.color
        logs.setup(
            self.given["loglevel"] or ("DEBUG" if self.context.verbose > 1 else "WARNING"),
            path,
            format=conf.worker_log_format,
            task_format=conf.worker_task_log_format,
            datefmt=conf.worker_log_datefmt,
            task_datefmt=conf.worker_task_log_datefmt,
            colour={"always": True, "never": False}.get(colour or "", conf.worker_log_color),
            hijack_root=conf.worker_hijack_root_logger,
            redirect_stdouts=conf.worker_redirect_stdouts,
            redirect_level=conf.worker_redirect_stdouts_level,
            json=self.given["log_format"] == "json",
            node=self.place.node,
        )

    # -- the broker

    def _reach_broker(self, worker: Worker) -> list[dict[str, Any]]:
        """Return what waits in the queues, once the broker answers; try again as settings say."""
        app, options = worker.app, worker.options
        for delay in self._delays(app):
            try:
                with app.connection() as connection:
                    return waiting_in(connection.broker.queues(), options)
            except BrokerConnectionError as exc:
                if delay is None:
                    raise unreachable(app, exc) from exc
                log.error("%s; trying again in %g s", unreachable(app, exc).message, delay)
                worker.vitals.pause(delay, "starting: the broker is away")
        raise AssertionError("the last delay is None")

    def _delays(self, app: App) -> list[float | None]:
        """Return how long to wait after each try; None ends them."""
        retry = app.conf.broker_connection_retry_on_startup
        if retry is None:
            retry = app.conf.broker_connection_retry
        if not retry or self.awaited or self.given["check"]:
            return [None]
        most = app.conf.broker_connection_max_retries
        pauses = [min(2.0 * n, _LONGEST_PAUSE) for n in range(1, (most or 1_000_000) + 1)]
        return [*pauses, None]

    # -- telling

    @property
    def _shows(self) -> bool:
        """Whether there is a person at a terminal to talk to."""
        return self.on_terminal and not self.context.quiet

    def _introduce(self, facts: Given) -> None:
        if self._shows:
            print("\n".join(banner(facts)), file=sys.__stderr__, flush=True)
        else:
            log.info("%s", log_line(facts))

    def _checked(self, app: App, facts: Given) -> int:
        """Ask the result backend too, and say what was found."""
        if facts["results"] is not None:
            app.backend.load(["a-task-that-never-was"])
        logs.restore_stdouts()
        console = self.context.console(piped="plain", formats=_CHECK_FORMATS)
        if console.format == "json":
            console.document("worker.check", ok=True, items=[facts])
        elif console.format == "jsonl":
            console.json(facts)
        elif not self.context.quiet:
            print("\n".join(banner(facts)), file=sys.stderr)
            kept = ", so does the result backend" if facts["results"] is not None else ""
            print(f"ok: everything loads, the broker answers{kept}", file=sys.stderr)
        return 0

    def _ready(self, worker: Worker) -> None:
        took = time.monotonic() - self.began
        if self.pidfile is not None:
            self.pidfile.mark_ready()
        if self._shows:
            stamp = datetime.now().isoformat(timespec="milliseconds").partition("T")[2]
            print(
                f"{stamp} INFO  ready in {took:.2f} s; Ctrl-C: finish running tasks, again: stop",
                file=sys.__stderr__,
                flush=True,
            )
        if not self._shows or self.place.logfile:
            Worker.on_ready(worker)
        queues = [queue.name for queue in worker.options.queues]
        place = {"node": self.place.node, "logfile": self.place.logfile}
        daemon.report_ready({"seconds": took, "queues": queues, **place})


def _tell_detached(report: Mapping[str, Any]) -> None:
    log_to = f"log {report['logfile']}" if report.get("logfile") else "no log (see --logfile)"
    print(
        f"{report['node']} ready in {report['seconds']:.2f} s, pid {report['pid']}, {log_to}",
        file=sys.stderr,
        flush=True,
    )


def start(context: Context, given: Given) -> int:
    """Run one worker from these options to its end; return the exit code."""
    return Start(context, given).run()
