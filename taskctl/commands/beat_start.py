"""Beat from its options to its end, step by step.

The app is loaded first, since its settings may say what the options did not; then rights are
given up, the process detaches, and only then are files opened.
"""

from __future__ import annotations

import logging
import os
import platform
import signal
import sys
import time
from collections.abc import Mapping
from typing import Any

from taskctl.apps import shown_url, user_app
from taskctl.context import Context
from taskctl.core import daemon
from taskctl.core.app import App
from taskctl.core.beat.service import Service, find_scheduler
from taskctl.core.errors import ImproperlyConfigured, TemplateError
from taskctl.core.pidfile import Pidfile
from taskctl.core.version import __version__
from taskctl.core.worker.notify import Notifier
from taskctl.core.worker.notify import Service as ServiceManager
from taskctl.failures import usage
from taskctl.staying import detach, give_up_rights, set_up_log, use_executable, watched
from taskctl.views.beat import banner, log_line

from .worker_values import apply_overrides

log = logging.getLogger("taskctl.beat")

Given = Mapping[str, Any]

#: Settings that stand in for options that are not given.
_SETTINGS = {
    "logfile": "beat_logfile",
    "pidfile": "beat_pidfile",
    "uid": "beat_uid",
    "gid": "beat_gid",
    "umask": "beat_umask",
    "executable": "beat_executable",
}


class Program(Service):
    """Beat that tells the outside how it is."""

    def __init__(self, start: Start, app: App) -> None:
        given = start.given
        super().__init__(
            app,
            max_interval=given["max_interval"],
            schedule_filename=given["schedule"],
            scheduler_cls=start.scheduler(),
            remote_control=given["remote_control"],
            hostname=given["hostname"],
        )
        self._start = start
        self._manager = ServiceManager(Notifier())

    def on_ready(self) -> None:
        self._start.ready(self)
        self.look(time.monotonic())

    def look(self, now: float) -> None:
        stage = "stopping" if self._stopped else None
        self._manager.look(now, self._status, ready=True, stage=stage)

    def longest(self, now: float) -> float:
        due = self._manager.next_due(now)
        return min(super().longest(now), 3600.0 if due is None else due)

    def _status(self) -> str:
        if self.election is not None and self.election.stands_by():
            return "standing by"
        event = self.scheduler.next_due()
        return "no entries" if event is None else f"next: {event.entry.name}"


class Start:
    """One start of beat; `run` returns the exit code."""

    def __init__(self, context: Context, given: Given) -> None:
        self.context = context
        self.given = dict(given)
        self.began = time.monotonic()
        self.pidfile: Pidfile | None = None

    def run(self) -> int:
        """Start, send what is due, and stop; return the exit code."""
        given = self.given
        use_executable(given["executable"])
        give_up_rights(given["uid"], given["gid"], given["umask"])
        app = self._load_app()
        self._take_settings(app)
        if given["detach"]:
            detach(given["logfile"], "beat")
        with watched(self._release):
            return self._run(app)

    def _release(self) -> None:
        if self.pidfile is not None:
            self.pidfile.release()

    def _load_app(self) -> App:
        app = user_app(self.context)
        apply_overrides(app, self.given["overrides"])
        app.set_default()
        app.set_current()
        app.import_default_modules()
        app.finalize()
        return app

    def _take_settings(self, app: App) -> None:
        """Let settings stand in for the options that are not given."""
        given = self.given
        found = {option: app.conf[setting] for option, setting in _SETTINGS.items()}
        left = {name: found[name] for name in ("uid", "gid", "umask") if given[name] is None}
        for option, value in found.items():
            if given[option] is None:
                given[option] = value
        use_executable(given["executable"])
        give_up_rights(left.get("uid"), left.get("gid"), left.get("umask"))
        for option in ("logfile", "pidfile"):
            if given[option]:
                given[option] = os.path.abspath(os.path.expanduser(given[option]))

    def scheduler(self) -> Any:
        """Return the class of the scheduler, if an option names one."""
        try:
            return self.given["scheduler"] and find_scheduler(self.given["scheduler"])
        except ImproperlyConfigured as exc:
            raise usage(str(exc).replace("beat_scheduler", "--scheduler", 1)) from exc

    def _run(self, app: App) -> int:
        if self.given["pidfile"]:
            self.pidfile = Pidfile(self.given["pidfile"])
            self.pidfile.acquire()
        try:
            program = Program(self, app)
        except TemplateError as exc:
            raise usage(str(exc)) from exc
        set_up_log(self.context, app, self.given["loglevel"], self.given["logfile"])
        program.scheduler  # noqa: B018  # opens its file: what is wrong with it is said first
        self._introduce(app, program)
        program.obey_signals(signal.SIGTERM, signal.SIGINT)
        program.start()
        program.look(time.monotonic())
        log.info("stopped")
        return 0

    # -- telling

    def _facts(self, app: App, program: Service) -> dict[str, Any]:
        scheduler = program.scheduler
        event = scheduler.next_due()
        origin = app.conf.origin("broker_url")
        default = origin.kind == "default"
        return {
            "version": __version__,
            "node": None if program.voice is None else program.voice.node,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "app": self.context.app_spec or app.main or "default",
            "entries": sorted(scheduler.schedule),
            "broker": shown_url(app.broker_url()),
            "broker_from": "default; local disk" if default else origin.where,
            "schedule": scheduler.info or None,
            "scheduler": type(scheduler).__name__,
            "max_interval": scheduler.max_interval,
            "next": None if event is None else event.entry.name,
            "next_in": None if event is None else max(0.0, event.time - time.time()),
        }

    def _introduce(self, app: App, program: Service) -> None:
        facts = self._facts(app, program)
        if self._on_terminal():
            print("\n".join(banner(facts)), file=sys.__stderr__, flush=True)
        else:
            log.info("%s", log_line(facts))

    def _on_terminal(self) -> bool:
        stream = sys.__stderr__
        return stream is not None and stream.isatty() and not self.context.quiet

    def ready(self, program: Service) -> None:
        """Say that what is due is sent from now on."""
        if self.pidfile is not None:
            self.pidfile.mark_ready()
        took = time.monotonic() - self.began
        log.info("beat ready in %.2f s", took)
        if self._on_terminal():
            print(f"ready in {took:.2f} s; Ctrl-C: stop", file=sys.__stderr__, flush=True)
        daemon.report_ready({"seconds": took, "entries": len(program.scheduler.schedule)})


def start(context: Context, given: Given) -> int:
    """Run beat from these options to its end; return the exit code."""
    return Start(context, given).run()
