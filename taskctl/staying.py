"""What programs that stay have in common: their Python, their rights, their log, the background.

Used in this order, before anything is opened.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from taskctl.context import Context
from taskctl.core import daemon
from taskctl.core import log as logs
from taskctl.core.app import App
from taskctl.core.errors import ImproperlyConfigured
from taskctl.core.privileges import become, parse_umask
from taskctl.failures import NOT_ALLOWED, CommandError, describe, usage

_ARRIVED = "TASKCTL_EXECUTED"


def use_executable(wanted: str | None) -> None:
    """Go on in the Python that was asked for, with the same words."""
    arrived = os.environ.pop(_ARRIVED, None)
    if not wanted or arrived or os.path.abspath(wanted) == os.path.abspath(sys.executable):
        return
    os.environ[_ARRIVED] = wanted
    try:
        os.execv(wanted, [wanted, "-m", "taskctl", *sys.argv[1:]])
    except OSError as exc:
        raise usage(f"--executable {wanted}: {(exc.strerror or str(exc)).lower()}") from exc


def give_up_rights(user: object, group: object, mask: str | int | None) -> None:
    """Become this user and group, and make files with this umask; None leaves it as it is.

    Raises CommandError for unknown names (exit 2), and where it is not allowed (77).
    """
    names = (None if user is None else str(user), None if group is None else str(group))
    try:
        if mask is not None:
            os.umask(parse_umask(mask))
        become(*names)
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


def detach(logfile: str | None, what: str) -> None:
    """Return in the background; whoever called returns once `report_ready` is called there."""
    if logfile:
        logs.open_handler(logfile).close()  # makes the folder, or says why not
    daemon.daemonize(logfile, what=what)


def set_up_log(context: Context, app: App, level: str | None, path: str | None) -> None:
    """Log to a file or stderr, in the format of the worker's log."""
    conf = app.conf
    logs.setup(
        level or ("DEBUG" if context.verbose > 1 else "WARNING"),
        path,
        format=conf.worker_log_format,
        task_format=conf.worker_task_log_format,
        datefmt=conf.worker_log_datefmt,
        task_datefmt=conf.worker_task_log_datefmt,
        colour={"always": True, "never": False}.get(context.color or "", conf.worker_log_color),
        hijack_root=conf.worker_hijack_root_logger,
        redirect_stdouts=conf.worker_redirect_stdouts,
        redirect_level=conf.worker_redirect_stdouts_level,
    )


@contextlib.contextmanager
def watched(release: Callable[[], None]) -> Iterator[None]:
    """Run a program that stays: a failure is told to whoever waits, and stdout is given back.

    `release` is called at the end, however it came.
    """
    daemon.claim_ready_pipe()
    try:
        yield
    except BaseException as exc:
        logs.restore_stdouts()
        report_failure(exc)
        raise
    finally:
        logs.restore_stdouts()
        release()


def report_failure(exc: BaseException) -> None:
    """Tell whoever waits for this program to get ready why it ends."""
    error = describe(exc) if isinstance(exc, Exception) else None
    if error is not None:
        daemon.report_failed(error.exit_code, "; ".join([error.message, *error.hints]))
