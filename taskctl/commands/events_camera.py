"""`taskctl events --camera`: pictures of the fleet by a class of the user's, until it is ended."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from typing import Any

from taskctl.apps import client_app, unreachable, user_app
from taskctl.context import Context
from taskctl.core import daemon
from taskctl.core import log as logs
from taskctl.core.app import App
from taskctl.core.errors import BrokerConnectionError, BrokerError, ImproperlyConfigured
from taskctl.core.loader import import_object
from taskctl.core.pidfile import Pidfile
from taskctl.core.remote.snapshot import parse_rate
from taskctl.failures import OK, usage
from taskctl.staying import detach, give_up_rights, set_up_log, use_executable, watched

log = logging.getLogger("taskctl.events")

#: Options for which settings called `events_...` stand in.
_SETTINGS = ("logfile", "pidfile", "uid", "gid", "umask", "executable")
#: Seconds between two tries to reach a broker that is gone, at most.
_LONGEST_PAUSE = 8.0


class Shooting:
    """One camera at work, from its options to its end."""

    def __init__(self, context: Context, camera: str, options: dict[str, Any]) -> None:
        self.context = context
        self.camera = camera
        self.given = dict(options)
        self.pidfile: Pidfile | None = None

    def run(self) -> int:
        """Take pictures until a signal ends it; return the exit code."""
        given = self.given
        self._check()
        app = user_app(self.context) if self.context.app_spec else client_app(self.context)
        for name in _SETTINGS:
            if given[name] is None:
                given[name] = app.conf[f"events_{name}"]
        use_executable(given["executable"])
        give_up_rights(given["uid"], given["gid"], given["umask"])
        made = self._find_class()
        for name in ("logfile", "pidfile"):
            if given[name]:
                given[name] = os.path.abspath(os.path.expanduser(given[name]))
        if given["detach"]:
            detach(given["logfile"], "the camera")
        with watched(self._release):
            return self._run(app, made)

    def _release(self) -> None:
        if self.pidfile is not None:
            self.pidfile.release()

    def _check(self) -> None:
        for name in ("dump", "limit", "where", "read_only"):
            if self.given[name]:
                option = f"--{name.replace('_', '-')}"
                raise usage(f"--camera and {option} do not go together")
        if self.given["maxrate"]:
            try:
                parse_rate(self.given["maxrate"])
            except ImproperlyConfigured as exc:
                raise usage(f"-r: {exc}") from exc

    def _find_class(self) -> Any:
        try:
            found = import_object(self.camera)
        except (ImportError, AttributeError) as exc:
            raise usage(
                f"-c {self.camera}: {exc}", "name a class: module:Class or module.Class"
            ) from exc
        if not callable(getattr(found, "install", None)):
            raise usage(
                f"-c {self.camera}: {type(found).__name__} is no camera",
                "derive it from taskctl.events.snapshot.Polaroid",
            )
        return found

    def _run(self, app: App, made: Any) -> int:
        given = self.given
        if given["pidfile"]:
            self.pidfile = Pidfile(given["pidfile"])
            self.pidfile.acquire()
        set_up_log(self.context, app, given["loglevel"], given["logfile"])
        # What a camera prints is its own, not the log's.
        logs.restore_stdouts()
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        signal.signal(signal.SIGTERM, _end)
        if not self.context.quiet:
            text = f"-> evcam: Taking snapshots with {self.camera} (every {given['frequency']:g} s)"
            print(text, file=sys.stderr, flush=True)
        state = app.events.State()
        camera = made(state, app=app, freq=given["frequency"], maxrate=given["maxrate"])
        self._capture(app, state, camera)
        return OK

    def _capture(self, app: App, state: Any, camera: Any) -> None:
        """Hear events for the camera; a broker that was there once is waited for."""
        connection = app.connection()
        try:
            connection.open()
        except BrokerConnectionError as exc:
            raise unreachable(app, exc) from exc
        if self.given["enable"]:
            app.control.enable_events()
        camera.install()
        if self.pidfile is not None:
            self.pidfile.mark_ready()
        daemon.report_ready({})
        pause = 0.5
        try:
            while True:
                try:
                    app.events.Receiver(connection, {"*": state.event}).capture()
                except BrokerError as exc:
                    log.error("%s; trying again in %g s", exc, pause)
                    connection.drop()
                    time.sleep(pause)
                    pause = min(2 * pause, _LONGEST_PAUSE)
        except _Ended:
            log.warning("ended by SIGTERM")
        finally:
            camera.cancel()
            connection.close()


class _Ended(BaseException):
    """Raised by SIGTERM, wherever the program is."""


def _end(number: int, at: Any) -> None:
    raise _Ended


def start(context: Context, camera: str, options: dict[str, Any]) -> int:
    """Run one camera to its end; return the exit code."""
    return Shooting(context, camera, options).run()
