"""Where taskctl keeps its files on this host; looking makes nothing.

Order, for each kind: the variable of taskctl's own, the one systemd sets for a unit,
the system folders for root, the XDG folders for everybody else.
"""

from __future__ import annotations

import errno
import os


def run_folder() -> str:
    """Return the folder for pidfiles."""
    chosen = _chosen("TASKCTL_RUN_DIR", "RUNTIME_DIRECTORY")
    if chosen:
        return chosen
    if os.geteuid() == 0:
        return "/run/taskctl"
    runtime = _absolute("XDG_RUNTIME_DIR")
    # Without a login session (cron, su) there is no runtime folder.
    return os.path.join(runtime, "taskctl") if runtime else os.path.join(_xdg_state(), "run")


def log_folder() -> str:
    """Return the folder for log files."""
    chosen = _chosen("TASKCTL_LOG_DIR", "LOGS_DIRECTORY")
    if chosen:
        return chosen
    return "/var/log/taskctl" if os.geteuid() == 0 else os.path.join(_xdg_state(), "log")


def state_folder() -> str:
    """Return the folder for what must be remembered between two calls."""
    chosen = _chosen("TASKCTL_STATE_DIR", "STATE_DIRECTORY")
    if chosen:
        return chosen
    return "/var/lib/taskctl" if os.geteuid() == 0 else _xdg_state()


def cache_folder() -> str:
    """Return the folder for what may be deleted at any time."""
    base = _absolute("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return os.path.join(base, "taskctl")


def make_folder(path: str, *, owner: tuple[int, int] | None = None) -> None:
    """Make a folder and its parents for this user alone; an existing one stays as it is.

    A new one is given to `owner` (user and group id). Raises OSError.
    """
    if os.path.isdir(path):
        return
    try:
        os.makedirs(path, mode=0o700, exist_ok=True)
        if owner is not None:
            os.chown(path, *owner)
    except FileExistsError as exc:  # a file lies there
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path) from exc


def _chosen(own: str, systemd: str) -> str | None:
    if value := os.environ.get(own):
        return os.path.abspath(os.path.expanduser(value))
    # systemd joins several folders of one unit with colons; the first is the unit's main one.
    return os.environ.get(systemd, "").split(":")[0] or None


def _xdg_state() -> str:
    base = _absolute("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.join(base, "taskctl")


def _absolute(variable: str) -> str | None:
    """Return a folder of XDG's; one that is not absolute does not count, its standard says."""
    value = os.environ.get(variable, "")
    return value if os.path.isabs(value) else None
