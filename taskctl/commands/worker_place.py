"""Where a worker process lives: its Python, its user, its files.

The command line says it, and what that leaves open the settings (`worker_pidfile` and so on), which
are known only once the app is imported: so everything here happens in two rounds.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any, NoReturn

from taskctl.core import daemon
from taskctl.core.errors import TaskctlError
from taskctl.core.health import default_health_file
from taskctl.core.templates import expand_path, node_name, worker_letters
from taskctl.core.worker.reexec import Past, execute
from taskctl.failures import usage
from taskctl.staying import give_up_rights

#: Tells a Python that was asked for that it has arrived; a wrapper script may have another pid.
_EXECUTED = "TASKCTL_EXECUTED"


class Place:
    """The place of one worker; paths are absolute, None where there is no such file."""

    def __init__(self, given: Mapping[str, Any], past: Past) -> None:
        self.given = given
        self.past = past
        self.arrived = os.environ.pop(_EXECUTED, None) is not None
        try:
            self.node = node_name(given["hostname"] or "celery@%h")
        except TaskctlError as exc:
            raise usage(str(exc)) from exc
        self.log_template: str | None = given["logfile"]
        self.logfile = self.path("--logfile", given["logfile"])
        self.pidfile = self.path("--pidfile", given["pidfile"])
        self.statedb = self.path("--statedb", given["statedb"])
        self.schedule = self.path("--schedule", given["schedule_filename"])
        self.health_file = self._health_file(given["health_file"])

    def path(self, option: str, template: str | None, index: int = 0) -> str | None:
        """Return the path that a template stands for; `index` is a child's number from 1.

        Raises TemplateError.
        """
        if not template:
            return None
        letters = worker_letters(self.node, index)
        return os.path.abspath(expand_path(template, letters, option=option))

    def _health_file(self, template: str | None) -> str | None:
        """Return where to say how the node is; None for nowhere."""
        if not template:
            return default_health_file(self.node)
        return None if template == "none" else self.path("--health-file", template)

    def child_logs(self) -> bool:
        """Return whether each child has a log file of its own."""
        return any(letter in (self.log_template or "") for letter in ("%i", "%I"))

    def settle(self) -> None:
        """Go to the Python, and become the user, that the command line names."""
        given = self.given
        self._use_python("--executable", given["executable"])
        give_up_rights(given["uid"], given["gid"], given["umask"])

    def settle_by(self, conf: Any) -> None:
        """The same for what the settings name and the command line does not; and the files."""
        given = self.given
        if not given["executable"]:
            self._use_python("worker_executable", conf.worker_executable)
        give_up_rights(
            conf.worker_uid if given["uid"] is None else None,
            conf.worker_gid if given["gid"] is None else None,
            conf.worker_umask if given["umask"] is None else None,
        )
        if not given["logfile"] and conf.worker_logfile:
            self.log_template = conf.worker_logfile
            self.logfile = self.path("worker_logfile", conf.worker_logfile)
        self.pidfile = self.pidfile or self.path("worker_pidfile", conf.worker_pidfile)
        self.statedb = self.statedb or self.path("worker_state_db", conf.worker_state_db)

    def _use_python(self, option: str, wanted: str | None) -> None:
        here = os.path.abspath(sys.executable)
        if not wanted or os.path.abspath(wanted) == here or self.arrived:
            return
        self._go_on_in(option, wanted)

    def _go_on_in(self, option: str, wanted: str) -> NoReturn:
        os.environ[_EXECUTED] = wanted
        silent = daemon.keep_ready_pipe()
        past = Past(self.past.detached, silent or self.past.silent, self.past.restarted)
        try:
            execute([wanted, "-m", "taskctl", *sys.argv[1:]], past)
        except OSError as exc:
            raise usage(f"{option} {wanted}: {(exc.strerror or str(exc)).lower()}") from exc
