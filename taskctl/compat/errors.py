"""Exceptions and warnings of Celery that ours has no other use for."""

from __future__ import annotations

from typing import Any

import click

UNREGISTERED_FMT = "Task of kind {0} never registered, please make sure it's imported."


class CeleryWarning(UserWarning):
    """Root of Celery's warnings."""


class NotConfigured(CeleryWarning):
    """Warned when an app has no settings."""


class SecurityWarning(CeleryWarning):
    """Warned when something is not safe."""


class CDeprecationWarning(DeprecationWarning):
    """Warned when something will go."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """Warned when something will go later."""


class WorkerTerminate(SystemExit):
    """Raised in a worker to end it at once."""


SystemTerminate = WorkerTerminate


class WorkerShutdown(SystemExit):
    """Raised in a worker to end it warmly."""


class CeleryCommandException(click.ClickException):
    """An error of a command line, with its exit code."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.__dict__["exit_code"] = exit_code


def reraise(tp: Any, value: BaseException, tb: Any = None) -> None:
    """Raise an exception with this traceback."""
    raise value.with_traceback(tb) if tb is not None else value
