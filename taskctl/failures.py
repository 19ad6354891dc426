"""What went wrong, in the words and the exit code of the command line.

`describe` is the one place where errors of the library become exit codes.
"""

from __future__ import annotations

from taskctl.core import errors
from taskctl.core.loader import broken_settings

OK, FAILED, USAGE, PARTIAL = 0, 1, 2, 3
UNAVAILABLE, DEFECT, CANT_CREATE, TRY_LATER = 69, 70, 73, 75
NOT_ALLOWED, CONFIG, TIMED_OUT, INTERRUPTED = 77, 78, 124, 130


class CommandError(Exception):
    """Raised by a command that ends with one line on stderr.

    `hints` are the cures, a line each; `code` is the word under which scripts know the error.
    """

    def __init__(
        self, message: str, *hints: str, exit_code: int = FAILED, code: str = "failed"
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hint for hint in hints if hint)
        self.exit_code = exit_code
        self.code = code


def usage(message: str, *hints: str) -> CommandError:
    """Return the error of a command line that makes no sense; nothing was done."""
    return CommandError(message, *hints, exit_code=USAGE, code="usage")


#: What each error of the library means here; the first class that fits counts.
_TABLE: tuple[tuple[type[BaseException], int, str], ...] = (
    (errors.AppNotFound, USAGE, "app"),
    (errors.TemplateError, USAGE, "usage"),
    (errors.ImproperlyConfigured, CONFIG, "settings"),
    (errors.PidfileHeld, CANT_CREATE, "held"),
    (errors.PidfileError, CANT_CREATE, "file"),
    (errors.LogFileError, CANT_CREATE, "file"),
    (errors.HealthFileError, CANT_CREATE, "file"),
    (errors.ListenError, CANT_CREATE, "address"),
    (errors.ScheduleFileHeld, CANT_CREATE, "held"),
    (errors.ScheduleFileError, CANT_CREATE, "file"),
    (errors.StateFileError, CANT_CREATE, "file"),
    (errors.BrokerError, UNAVAILABLE, "broker"),
    (errors.BackendError, UNAVAILABLE, "backend"),
    (errors.TimeoutError, TIMED_OUT, "timeout"),
    (errors.SecurityError, NOT_ALLOWED, "security"),
    (errors.TaskctlError, FAILED, "failed"),
    (PermissionError, NOT_ALLOWED, "permission"),
    (OSError, FAILED, "system"),
)


def describe(exc: BaseException) -> CommandError | None:
    """Return what to tell of an error; None if it is a defect of ours."""
    if isinstance(exc, CommandError):
        return exc
    for kind, exit_code, code in _TABLE:
        if isinstance(exc, kind):
            message, hint = _sentence(exc)
            return CommandError(message, hint, exit_code=exit_code, code=code)
    if (broken := broken_settings(exc)) is not None:
        return CommandError(broken.message, broken.hint, exit_code=USAGE, code="app")
    return None


def _sentence(exc: BaseException) -> tuple[str, str]:
    """Return what happened and the cure, which some errors keep apart."""
    if isinstance(exc, errors.AppNotFound):
        return exc.message, exc.hint
    if isinstance(exc, OSError) and exc.strerror and not isinstance(exc, errors.TaskctlError):
        reason = exc.strerror.lower()
        return (f"{exc.filename}: {reason}" if exc.filename else reason), ""
    return str(exc) or type(exc).__name__, ""
