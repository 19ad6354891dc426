"""A worker from its options to its end, step by step.

The order matters: rights are given up before anything is opened, the process detaches before
threads and connections exist, the pidfile is held before the log is, and the broker answers
before children are forked.
"""

from __future__ import annotations

import logging
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from taskctl.apps import shown_url, unreachable, user_app
from taskctl.context import Context
from taskctl.core import daemon
from taskctl.core import log as logs
from taskctl.core.app import App
from taskctl.core.clock import maybe_seconds
from taskctl.core.errors import (
    BrokerConnectionError,
    ImproperlyConfigured,
    QueueNotFound,
    TaskctlError,
)
from taskctl.core.health import default_health_file
from taskctl.core.loader import import_modules
from taskctl.core.pidfile import Pidfile
from taskctl.core.privileges import become, parse_umask
from taskctl.core.templates import expand_path, node_name, worker_letters
from taskctl.core.version import __version__
from taskctl.core.worker.options import WorkerOptions, resolve
from taskctl.core.worker.worker import Worker
from taskctl.failures import NOT_ALLOWED, CommandError, describe, usage
from taskctl.views.banner import banner, log_line

from .worker_values import apply_overrides

log = logging.getLogger("taskctl.worker")

Given = Mapping[str, Any]

#: Longest pause between two tries to reach a broker at start, in seconds; Celery's steps too.
_LONGEST_PAUSE = 32.0


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
        #: Whether somebody waits for us to get ready, and wants to know soon if we do not.
        self.awaited = bool(given["detach"] or os.environ.get(daemon.READY_VARIABLE))
        try:
            self.node = node_name(given["hostname"] or "celery@%h")
        except TaskctlError as exc:
            raise usage(str(exc)) from exc
        if given["check"] and given["detach"]:
            raise usage("--check and --detach do not go together")
        self.logfile = self._path("--logfile", given["logfile"])
        self.pidfile = self._path("--pidfile", given["pidfile"])
        self.health_file = self._health_file(given["health_file"])

    def _path(self, option: str, template: str | None, index: int = 0) -> str | None:
        if not template:
            return None
        return os.path.abspath(
            expand_path(template, worker_letters(self.node, index), option=option)
        )

    def _health_file(self, template: str | None) -> str | None:
        """Return where to say how the node is; None for nowhere."""
        if not template:
            return default_health_file(self.node)
        return None if template == "none" else self._path("--health-file", template)

    def run(self) -> int:
        """Start, work, and stop; return the exit code."""
        self._use_executable()
        self._give_up_rights()
        if self.given["detach"]:
            self._detach()
        daemon.claim_ready_pipe()
        pidfile = Pidfile(self.pidfile) if self.pidfile else None
        try:
            return self._run(pidfile)
        except BaseException as exc:
            logs.restore_stdouts()
            self._report(exc)
            raise
        finally:
            logs.restore_stdouts()
            if pidfile is not None:
                pidfile.release()

    def _run(self, pidfile: Pidfile | None) -> int:
        if pidfile is not None and not self.given["check"]:
            pidfile.acquire()
        app = self._load_app()
        options = self._options(app)
        self._set_up_log(app, options)
        worker = Node(app, options)
        if not self.given["check"]:
            worker.vitals.open()
        try:
            waiting = self._reach_broker(worker)
            facts = self._facts(app, options, worker, waiting)
            if self.given["check"]:
                return self._checked(facts)
            self._introduce(facts)
            worker.announce = lambda: self._ready(worker, pidfile)
            return worker.run()
        finally:
            worker.vitals.close()

    # -- before anything is opened

    def _use_executable(self) -> None:
        """Go on in the Python that was asked for."""
        wanted = self.given["executable"]
        here = os.path.abspath(sys.executable)
        arrived = os.environ.pop("TASKCTL_EXECUTED", None)
        if not wanted or os.path.abspath(wanted) == here or arrived:
            return
        os.environ["TASKCTL_EXECUTED"] = wanted
        try:
            os.execv(wanted, [wanted, "-m", "taskctl", *sys.argv[1:]])
        except OSError as exc:
            raise usage(f"--executable {wanted}: {(exc.strerror or str(exc)).lower()}") from exc

    def _give_up_rights(self) -> None:
        user, group, mask = (self.given[name] for name in ("uid", "gid", "umask"))
        try:
            if mask:
                os.umask(parse_umask(mask))
            become(user, group)
        except ImproperlyConfigured as exc:
            raise usage(str(exc)) from exc
        except PermissionError as exc:
            raise CommandError(
                f"cannot become user {user or '(same)'}, group {group or '(its own)'}: "
                f"{(exc.strerror or str(exc)).lower()}",
                "only root may; or start it as that user, without --uid and --gid",
                exit_code=NOT_ALLOWED,
                code="permission",
            ) from exc

    def _detach(self) -> None:
        if self.logfile:
            logs.open_handler(self.logfile).close()  # makes the folder, or says why not
        daemon.daemonize(self.logfile)

    # -- the app and its settings

    def _load_app(self) -> App:
        app = user_app(self.context)
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
            "task_events", "without_heartbeat", "heartbeat_interval", "autoscale", "purge",
            "shutdown_timeout",
        )  # fmt: skip
        try:
            options = resolve(app, hostname=self.node, **{n: self.given[n] for n in names})
        except QueueNotFound as exc:
            raise usage(f"-Q: {exc.args[0]}") from exc
        if not options.queues:
            raise usage("no queue is left to take tasks from", "see -Q and -X")
        options.health_file = self.health_file
        options.health_required = bool(self.given["health_file"])
        options.health_listen = self.given["health_listen"]
        options.metrics_listen = self.given["metrics_listen"]
        options.extras["child_log"] = self._child_log(app)
        return options

    # -- the log

    def _set_up_log(self, app: App, options: WorkerOptions) -> None:
        self.on_terminal = sys.__stderr__ is not None and sys.__stderr__.isatty()
        self._log_to(app, self.logfile)

    def _child_log(self, app: App) -> Callable[[int], None] | None:
        """Return what gives each child a log of its own, if the template has a place for it."""
        template = self.given["logfile"]
        if not template or not any(letter in template for letter in ("%i", "%I")):
            return None
        # Children count from 0, their letters from 1.
        return lambda index: self._log_to(app, self._path("--logfile", template, index + 1))

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
        )

    # -- the broker

    def _reach_broker(self, worker: Worker) -> list[dict[str, Any]]:
        """Return what waits in the queues, once the broker answers; try again as settings say."""
        app, options = worker.app, worker.options
        for delay in self._delays(app):
            try:
                with app.connection() as connection:
                    return _waiting(connection.broker.queues(), options)
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

    def _facts(
        self, app: App, options: WorkerOptions, worker: Worker, waiting: list[dict[str, Any]]
    ) -> dict[str, Any]:
        conf, backend = app.conf, app.backend_url()
        origin = conf.origin("broker_url")
        default = origin.kind == "default"
        return {
            "version": __version__,
            "node": options.hostname,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "app": self.context.app_spec or app.main or "default",
            "tasks": sorted(name for name in app.tasks if not name.startswith("celery.")),
            "broker": shown_url(app.broker_url()),
            "broker_from": "default; local disk" if default else origin.where,
            "results": None if backend is None else shown_url(backend),
            "results_kept": maybe_seconds(conf.result_expires),
            "pool": "prefork" if options.pool == "processes" else options.pool,
            "children": options.concurrency,
            "autoscale": options.autoscale,
            "prefetch": worker.prefetch.room(options.concurrency, 0),
            "soft": options.soft,
            "hard": options.hard,
            "queues": waiting,
        }

    def _introduce(self, facts: Given) -> None:
        if self.on_terminal and not self.context.quiet and sys.__stderr__ is not None:
            print("\n".join(banner(facts)), file=sys.__stderr__, flush=True)
        else:
            log.info("%s", log_line(facts))

    def _checked(self, facts: Given) -> int:
        logs.restore_stdouts()
        if not self.context.quiet:
            print("\n".join(banner(facts)), file=sys.stderr)
            print("ok: everything loads, and the broker answers", file=sys.stderr)
        return 0

    def _ready(self, worker: Worker, pidfile: Pidfile | None) -> None:
        took = time.monotonic() - self.began
        if pidfile is not None:
            pidfile.mark_ready()
        if self.on_terminal and not self.context.quiet and sys.__stderr__ is not None:
            print(
                f"ready in {took:.2f} s; Ctrl-C: finish running tasks, again: stop",
                file=sys.__stderr__,
                flush=True,
            )
        queues = [queue.name for queue in worker.options.queues]
        daemon.report_ready({"seconds": took, "queues": queues})

    def _report(self, exc: BaseException) -> None:
        """Tell who waits for us why we end."""
        error = describe(exc) if isinstance(exc, Exception) else None
        if error is not None:
            daemon.report_failed(error.exit_code, "; ".join([error.message, *error.hints]))


def _waiting(stats: Iterable[Any], options: WorkerOptions) -> list[dict[str, Any]]:
    """Return how much waits in each queue of this worker, and for how long."""
    known = {stat.name: stat for stat in stats}
    found = []
    for queue in options.queues:
        stat = known.get(queue.name)
        found.append(
            {
                "name": queue.name,
                "waiting": stat.ready if stat else 0,
                "oldest": stat.oldest if stat else None,
            }
        )
    return found


def start(context: Context, given: Given) -> int:
    """Run one worker from these options to its end; return the exit code."""
    return Start(context, given).run()
