"""Every error taskctl raises on purpose, as one tree.

    TaskctlError (alias CeleryError)
    ├── ImproperlyConfigured          a setting is wrong
    │   ├── SettingError              this one: its key, its value, where it was set
    │   └── ConfigSourceNotFound      the module of settings is not there (also ImportError)
    ├── AppNotFound                   no app under this name
    ├── UnsupportedFeature            what Celery has and taskctl has not (also ImportError)
    ├── LogFileError                  the log cannot be written
    ├── HealthFileError               the health file cannot be written or read
    ├── StateFileError                revoked tasks cannot be remembered
    ├── ListenError                   an address to listen on is taken, or cannot be used
    ├── SchedulingError               a periodic task cannot be sent
    ├── ScheduleFileError             beat's memory cannot be written or read
    │   └── ScheduleFileHeld          by a live process
    ├── SecurityError                 refused: content type, missing signature
    │   └── ContentDisallowed
    ├── BrokerError                   the broker cannot do it
    │   └── BrokerConnectionError     it is gone; try again (alias OperationalError)
    │       └── PublishTimeout
    ├── BackendError                  the result backend cannot do it
    ├── DecodeError, EncodeError      bytes that cannot be read, values that cannot be written
    ├── NotRegistered, AlreadyRegistered, QueueNotFound, InvalidTaskError
    ├── TimeoutError                  also the builtin one
    ├── MaxRetriesExceededError, ChordError, TaskRevokedError, IncompleteStream
    ├── SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError, Terminated
    ├── PidfileError                  cannot be made, read or locked
    │   └── PidfileHeld               by a live process
    ├── TemplateError                 an unknown %letter
    └── TaskPredicate                 raised by a task to steer its own fate
        ├── Retry, Ignore, Reject

Names that users of Celery catch keep their names.
"""

from __future__ import annotations

import builtins
from typing import Any


class TaskctlError(Exception):
    """Raised when taskctl refuses or fails; the root of the tree."""


class ImproperlyConfigured(TaskctlError):
    """Raised when a setting is unknown, has the wrong type, or contradicts another."""


class SettingError(ImproperlyConfigured):
    """Raised when one setting is wrong: `key`, `where` it was set ("" if unknown), `message`."""

    def __init__(self, key: str, message: str, where: str = "") -> None:
        self.key = key
        self.message = message
        self.where = where
        super().__init__(f"{where}: {message}" if where else message)


class ConfigSourceNotFound(ImproperlyConfigured, ImportError):
    """Raised when the module, or the object in it, that holds the settings does not exist."""


class AppNotFound(TaskctlError):
    """Raised when no app is found: `message` says what and where, `hint` the cure.

    `path` and `line` point into the user's code, if that is where it broke.
    """

    def __init__(
        self, message: str, hint: str = "", path: str | None = None, line: int | None = None
    ) -> None:
        self.message = message
        self.hint = hint
        self.path = path
        self.line = line
        super().__init__(message)


class UnsupportedFeature(TaskctlError, ImportError):
    """Raised when a program written for Celery uses what taskctl does not have.

    `feature` is what it used, `reason` why it is not there, `instead` what to use ("" if nothing).
    """

    def __init__(self, feature: str, reason: str, instead: str = "") -> None:
        self.feature = feature
        self.reason = reason
        self.instead = instead
        hint = f"; {instead}" if instead else ""
        super().__init__(f"{feature} is not in taskctl: {reason}{hint}")


class LogFileError(TaskctlError):
    """Raised when a log file cannot be opened; names the file, the reason and the cure."""


class HealthFileError(TaskctlError):
    """Raised for a health file that cannot be written or read; says which and why."""


class ListenError(TaskctlError):
    """Raised when a worker cannot listen on the address of --health-listen, --metrics-listen."""


class StateFileError(TaskctlError):
    """Raised for a file of revoked tasks that cannot be written or read; says which and why."""


class SchedulingError(TaskctlError):
    """Raised when a due entry of the schedule cannot be sent; its cause says why."""


class ScheduleFileError(TaskctlError):
    """Raised for a file of beat's that cannot be written or read; says which and why."""


class ScheduleFileHeld(ScheduleFileError):
    """Raised when another beat uses the file; `pid` is 0 if it cannot be seen."""

    def __init__(self, path: str, pid: int) -> None:
        self.path = path
        self.pid = pid
        holder = f"pid {pid}" if pid else "on another host or in another container"
        super().__init__(
            f"another beat ({holder}) uses {path}: stop it, or name another file with --schedule"
        )


class SecurityError(TaskctlError):
    """Raised when something is refused for safety's sake."""


class ContentDisallowed(SecurityError):
    """Raised when a message has a content type that `accept_content` does not list."""


class BrokerError(TaskctlError):
    """Raised when a broker answers, and says no."""


class BrokerConnectionError(BrokerError):
    """Raised when a broker cannot be reached; nothing was lost, try again."""


OperationalError = BrokerConnectionError


class PublishTimeout(BrokerConnectionError):
    """Raised when a message could not be handed to the broker before the deadline."""


class BackendError(TaskctlError):
    """Raised when the result backend cannot be reached or answers nonsense."""


class LimiterError(TaskctlError):
    """Raised when the store of shared limits is gone or refuses; see `task_limits_url`."""


class DecodeError(TaskctlError):
    """Raised when received bytes cannot be understood."""


class EncodeError(TaskctlError):
    """Raised when a value cannot be written by the chosen serializer."""


class NotRegistered(KeyError, TaskctlError):
    """Raised when a task name is not known to this app; `hint` says what to do, if we know."""

    def __init__(self, *args: Any, hint: str = "") -> None:
        super().__init__(*args)
        self.hint = hint

    def __str__(self) -> str:
        name = repr(self.args[0]) if self.args else ""
        return f"{name}: {self.hint}" if self.hint else name


class AlreadyRegistered(TaskctlError):
    """Raised when a task name is registered twice."""


class QueueNotFound(KeyError, TaskctlError):
    """Raised when a queue is not defined and `task_create_missing_queues` is off."""


class InvalidTaskError(TaskctlError):
    """Raised when a task message lacks what it needs or holds what it must not."""


class TimeoutError(builtins.TimeoutError, TaskctlError):
    """Raised when a wait for a result ran out."""


class MaxRetriesExceededError(TaskctlError):
    """Raised by `Task.retry` when `max_retries` is used up and no cause was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_args = kwargs.pop("task_args", ())
        self.task_kwargs = kwargs.pop("task_kwargs", {})
        super().__init__(*args)


class ChordError(TaskctlError):
    """Raised in place of a chord body when a header task did not succeed."""


class TaskRevokedError(TaskctlError):
    """Raised by `get()` for a revoked task; says revoked, expired or terminated."""


class IncompleteStream(TaskctlError):
    """Raised by `collect` at a result that is not ready: its children are not known yet."""


class SoftTimeLimitExceeded(TaskctlError):
    """Raised inside a task that ran longer than its soft time limit."""

    def __str__(self) -> str:
        return f"SoftTimeLimitExceeded{self.args}"


class TimeLimitExceeded(TaskctlError):
    """Raised by `get()` for a task that was killed at its hard time limit (seconds)."""

    def __str__(self) -> str:
        return f"TimeLimitExceeded{self.args}"


class WorkerLostError(TaskctlError):
    """Raised by `get()` for a task whose child process died under it."""


class Terminated(TaskctlError):
    """Raised for a task that was ended by `revoke(terminate=True)`."""


class PidfileError(TaskctlError):
    """Raised when a pidfile cannot be made, read or locked."""


class PidfileHeld(PidfileError):
    """Raised when a pidfile belongs to a live process; `pid` is 0 if it cannot be seen."""

    def __init__(self, path: str, pid: int) -> None:
        self.path = path
        self.pid = pid
        holder = f"live process {pid}" if pid else "a process of another host or container"
        super().__init__(f"pidfile {path} is held by {holder}")


class TemplateError(TaskctlError):
    """Raised when a template has a %letter that does not exist there."""


class TaskPredicate(TaskctlError):
    """Raised inside a task to decide its fate; root of Retry, Ignore and Reject."""


class Retry(TaskPredicate):
    """Raised by `Task.retry`: this run is over, another one is on its way.

    `when` is seconds from now (float) or a datetime; `exc` the cause or None.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | str | None = None,
        when: Any = None,
        is_eager: bool = False,
        sig: Any = None,
    ) -> None:
        self.message = message
        self.exc = exc if isinstance(exc, BaseException) else None
        self.excs = exc if isinstance(exc, str) else repr(exc) if exc is not None else None
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(message, exc, when)

    def humanize(self) -> str:
        """Return when the next run is due, in words."""
        if isinstance(self.when, int | float):
            return f"in {self.when:g}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.excs:
            return f"Retry {self.humanize()}: {self.excs}"
        return f"Retry {self.humanize()}"

    def __reduce__(self) -> Any:
        return self.__class__, (self.message, self.exc, self.when)


RetryTaskError = Retry


class Ignore(TaskPredicate):
    """Raised by a task: acknowledge me, store nothing, say nothing."""


class Reject(TaskPredicate):
    """Raised by a task: give my message back; `requeue` puts it on the queue again."""

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class FixupWarning(UserWarning):
    """Warned when an app cannot be fitted to the framework that its environment names."""


class DuplicateNodenameWarning(UserWarning):
    """Warned when two live nodes answer under one name."""


CeleryError = TaskctlError
