"""Where log lines go and what they look like, for workers and other long-running programs.

Formats, logger roles and signals are Celery's: a receiver of `setup_logging` takes it all over,
`after_setup_logger` and `after_setup_task_logger` may add handlers.  Lines go to the real stderr
or to a file that may be rotated under us.  Nothing here runs in a client.
"""

from __future__ import annotations

import difflib
import io
import json as json_
import logging
import os
import re
import sys
import threading
import weakref
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from typing import Any, TextIO

from . import current, signals
from .errors import ImproperlyConfigured, LogFileError
from .redact import mask_text
from .settings_table import PROCESS_FORMAT, TASK_FORMAT

base_logger = logging.getLogger("taskctl")
worker_logger = logging.getLogger("taskctl.worker")
task_logger = logging.getLogger("taskctl.task")
redirected_logger = logging.getLogger("taskctl.redirected")

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")

#: Escape codes by level; as Celery 5.7 utils/log.py: blue, yellow, red, magenta.
COLOURS = {"DEBUG": "34", "WARNING": "33", "ERROR": "31", "CRITICAL": "35"}

#: Priorities of syslog(3), which the journal reads at the head of a line.
PRIORITIES = {"DEBUG": 7, "INFO": 6, "WARNING": 4, "ERROR": 3, "CRITICAL": 2}

#: A time stamp in a format, and what parts it from the rest.
_STAMP = re.compile(r"%\(asctime\)s:?\s*")

#: What every record has; anything else was given as `extra`.
_STANDARD = frozenset(
    (*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", "task_id", "task_name")
)

_task_loggers: weakref.WeakSet[logging.Logger] = weakref.WeakSet()
_installed: list[tuple[logging.Logger, logging.Handler]] = []


def parse_level(level: str | int) -> int:
    """Return the number of a log level given by name, in any case, or by number.

    Raises ImproperlyConfigured, with the names there are, for anything else.
    """
    if isinstance(level, int):
        return level
    name = level.strip().upper()
    if name in LEVELS:
        return logging.getLevelNamesMapping()[name]
    near = difflib.get_close_matches(name, LEVELS, 1)
    hint = f"{near[0]}?" if near else "choose " + ", ".join(LEVELS)
    raise ImproperlyConfigured(f"unknown log level {level!r}: {hint}")


def get_task_logger(name: str) -> logging.Logger:
    """Return a logger for a module of tasks: its records carry `task_id` and `task_name`."""
    if name in ("taskctl", "taskctl.task", "celery", "celery.task"):
        raise RuntimeError(f"logger name {name!r} is taken: use __name__")
    logger = logging.getLogger(name)
    if logger not in _task_loggers:
        _task_loggers.add(logger)
        logger.addFilter(add_task)
    _adopt(logger)
    return logger


def _adopt(logger: logging.Logger) -> None:
    """Put a task logger below `taskctl.task`, whatever its name.

    Done again at set-up: logging moves it back when a logger named like its package is made.
    """
    ancestor: logging.Logger | None = logger
    while ancestor is not None and ancestor is not task_logger:
        ancestor = ancestor.parent
    if ancestor is None:
        logger.parent = task_logger


def add_task(record: logging.LogRecord) -> bool:
    """Note on a record which task runs here; a filter that lets everything pass."""
    request = current.current_request()
    if request is not None:
        record.task_id = getattr(request, "id", None)
        record.task_name = getattr(current.current_task(), "name", None)
    else:
        record.__dict__.setdefault("task_id", "???")
        record.__dict__.setdefault("task_name", "???")
    return True


# -- formats


class TextFormatter(logging.Formatter):
    """Celery's lines; secrets in URLs are masked, whoever wrote them."""

    def __init__(self, format: str, datefmt: str | None = None, colour: bool = False) -> None:
        super().__init__(format, datefmt)
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if "://" in text or ("=" in text and (record.levelno or 0) >= logging.WARNING):
            text = mask_text(text)
        code = COLOURS.get(record.levelname) if self.colour else None
        return f"\x1b[1;{code}m{text}\x1b[0m" if code else text


class JournalFormatter(TextFormatter):
    """For systemd: each line bears its priority, and no time, which the journal keeps itself."""

    def __init__(self, format: str, datefmt: str | None = None) -> None:
        super().__init__(_STAMP.sub("", format), datefmt)

    def format(self, record: logging.LogRecord) -> str:
        head = f"<{PRIORITIES.get(record.levelname, 5)}>"
        return "\n".join(head + line for line in super().format(record).splitlines() or [""])


class JsonFormatter(logging.Formatter):
    """One object a line: time, level, logger, message, node, process, task, and the extras."""

    def __init__(self, node: str | None = None) -> None:
        super().__init__()
        self.node = node

    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": mask_text(text) if "://" in text else text,
            **({"node": self.node} if self.node else {}),
            "process": record.processName,
            "pid": record.process,
        }
        for key in ("task_id", "task_name"):
            if getattr(record, key, "???") != "???":
                fields[key] = getattr(record, key)
        if record.exc_info:
            fields["exception"] = mask_text(self.formatException(record.exc_info))
        extras = {k: v for k, v in record.__dict__.items() if k not in _STANDARD}
        return json_.dumps({**extras, **fields}, default=repr, ensure_ascii=False)


# -- set-up


def setup(
    level: str | int = "WARNING",
    logfile: str | os.PathLike[str] | TextIO | None = None,
    *,
    format: str = PROCESS_FORMAT,
    task_format: str = TASK_FORMAT,
    datefmt: str | None = None,
    task_datefmt: str | None = None,
    colour: bool | None = None,
    hijack_root: bool = True,
    redirect_stdouts: bool = False,
    redirect_level: str | int = "WARNING",
    json: bool = False,
    node: str | None = None,
) -> bool:
    """Send log lines to `logfile` or stderr; return False if a receiver of `setup_logging` did.

    Called again it replaces what it set up before (a child may have a file of its own).
    `hijack_root=False` leaves a root logger that has handlers as it is: our lines go there.
    `colour` None asks the terminal; a file never gets any.  `json` makes each line an object,
    which names the `node`.

    Raises LogFileError if the file cannot be written, ImproperlyConfigured for a wrong level.
    """
    number, redirected = parse_level(level), parse_level(redirect_level)
    coloured = _wants_colour(colour, logfile)
    told = {"loglevel": number, "logfile": logfile, "colorize": coloured}
    restore_stdouts()
    if signals.setup_logging.send(None, **told, format=format):
        return False
    output = _Output(logfile, coloured, json, node)
    handler = output.handler(format, datefmt)
    task_handler = output.handler(task_format, task_datefmt)
    _uninstall()
    root = logging.getLogger()
    if hijack_root:
        for logger in (root, base_logger, task_logger, redirected_logger):
            logger.handlers.clear()
    own = not root.handlers
    if own:
        _install(root, handler)
        _install(task_logger, task_handler)
        root.setLevel(number)
    task_logger.propagate = not own
    base_logger.setLevel(number)
    task_logger.setLevel(number)
    for logger in list(_task_loggers):
        _adopt(logger)
    logging.captureWarnings(True)
    signals.after_setup_logger.send(None, logger=root, **told, format=format)
    signals.after_setup_task_logger.send(None, logger=task_logger, **told, format=task_format)
    if redirect_stdouts:
        redirect(redirected)
    return True


class _Output:
    """Makes the handlers of one set-up: same place, each with its own format."""

    def __init__(
        self,
        logfile: str | os.PathLike[str] | TextIO | None,
        colour: bool,
        json: bool,
        node: str | None,
    ) -> None:
        self.logfile = logfile
        self.colour = colour
        self.json = json
        self.node = node
        self.journal = logfile is None and under_journal()

    def handler(self, format: str, datefmt: str | None) -> logging.Handler:
        formatter = self._formatter(format, datefmt)
        handler = open_handler(self.logfile)
        handler.addFilter(add_task)
        handler.setFormatter(formatter)
        return handler

    def _formatter(self, format: str, datefmt: str | None) -> logging.Formatter:
        try:
            if self.json:
                return JsonFormatter(self.node)
            if self.journal:
                return JournalFormatter(format, datefmt)
            return TextFormatter(format, datefmt, self.colour)
        except ValueError as exc:
            raise ImproperlyConfigured(f"wrong log format {format!r}: {exc}") from exc


def open_handler(logfile: str | os.PathLike[str] | TextIO | None) -> logging.Handler:
    """Return a handler that writes to a file, an open stream, or the real stderr (None).

    The file's folder is made; rotation by renaming is noticed.
    Raises LogFileError, in one line, if it cannot be written.
    """
    if logfile is None:
        stream = sys.__stderr__
        return logging.NullHandler() if stream is None else logging.StreamHandler(stream)
    if not isinstance(logfile, str | os.PathLike):
        return logging.StreamHandler(logfile)
    path = os.path.abspath(os.path.expanduser(logfile))
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return WatchedFileHandler(path, encoding="utf-8")
    except OSError as exc:
        reason = (exc.strerror or str(exc)).lower()
        raise LogFileError(
            f"cannot write log file {path}: {reason}; "
            "let this user write there, or name another file with --logfile"
        ) from exc


def _install(logger: logging.Logger, handler: logging.Handler) -> None:
    logger.addHandler(handler)
    _installed.append((logger, handler))


def _uninstall() -> None:
    while _installed:
        logger, handler = _installed.pop()
        logger.removeHandler(handler)
        handler.close()


def reset() -> None:
    """Take back what `setup` did: handlers, redirection, captured warnings."""
    restore_stdouts()
    _uninstall()
    task_logger.propagate = True
    logging.captureWarnings(False)


def under_journal() -> bool:
    """Return whether stderr goes to systemd's journal."""
    wanted = os.environ.get("JOURNAL_STREAM")
    if not wanted or sys.__stderr__ is None:
        return False
    try:
        status = os.fstat(sys.__stderr__.fileno())
    except (OSError, ValueError):
        return False
    return wanted == f"{status.st_dev}:{status.st_ino}"


def _wants_colour(colour: bool | None, logfile: Any) -> bool:
    if logfile is not None or colour is False:
        return False
    if colour:
        return True
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return sys.__stderr__ is not None and sys.__stderr__.isatty()


# -- what tasks print


class LogStream(io.TextIOBase):
    """A file whose lines become log records; stands in for stdout and stderr."""

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self.logger = logger
        self.level = level
        self._local = threading.local()

    def write(self, text: str) -> int:
        """Log each whole line; keep the rest of it, per thread, until it ends or is flushed."""
        if getattr(self._local, "logging", False):
            return self._write_past_the_log(text)
        *lines, rest = (getattr(self._local, "rest", "") + text).split("\n")
        self._local.rest = rest
        for line in lines:
            self._log(line)
        return len(text)

    def flush(self) -> None:
        rest, self._local.rest = getattr(self._local, "rest", ""), ""
        if rest:
            self._log(rest)

    def _log(self, line: str) -> None:
        if not line.strip():
            return
        self._local.logging = True
        try:
            self.logger.log(self.level, "%s", line.rstrip("\r"))
        finally:
            self._local.logging = False

    def _write_past_the_log(self, text: str) -> int:
        """Write what a handler says while it logs to the real stderr: else it would never end."""
        if sys.__stderr__ is not None:
            sys.__stderr__.write(text)
        return len(text)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def fileno(self) -> int:
        """Return that of the real stderr, for programs that are started with it."""
        if sys.__stderr__ is None:
            raise io.UnsupportedOperation("fileno")
        return sys.__stderr__.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"


_replaced: list[tuple[str, Any]] = []


def redirect(level: str | int = "WARNING", logger: logging.Logger = redirected_logger) -> LogStream:
    """Let what is printed to stdout and stderr become log records at this level."""
    restore_stdouts()
    stream = LogStream(logger, parse_level(level))
    for name in ("stdout", "stderr"):
        _replaced.append((name, getattr(sys, name)))
        setattr(sys, name, stream)
    return stream


def restore_stdouts() -> None:
    """Give stdout and stderr back, if they were redirected."""
    while _replaced:
        name, stream = _replaced.pop()
        if isinstance(getattr(sys, name), LogStream):
            getattr(sys, name).flush()
            setattr(sys, name, stream)
