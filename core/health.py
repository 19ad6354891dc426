"""The health file: what a node last said of itself, for whoever stands beside it on this host.

A worker's main loop writes the file every few seconds and whenever its state changes, aside and
renamed, so a reader finds the old one or the new one. Reading asks no broker and imports no app.
A file whose writer is over, or that has grown old, is a node that does not live.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from .errors import HealthFileError
from .places import make_folder, run_folder
from .process import is_alive

#: A loop that has not written for this many intervals stands still.
_PATIENCE = 3.0


@dataclass(frozen=True)
class Health:
    """What one node said.

    `born` tells the process from others of its pid (see process.birth); `at` is the unix time of
    writing; `every` the seconds between two writings. `ready`: it takes new tasks; if not,
    `reasons` say why. `facts` are those of the node's record in the registry (state, slots, busy,
    queues ...).
    """

    node: str
    pid: int
    born: str
    at: float
    every: float
    ready: bool
    reasons: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """What a look at a health file says; `age` is in seconds, None where there is no file."""

    live: bool
    ready: bool
    reasons: tuple[str, ...]
    age: float | None
    health: Health | None = None


def default_health_file(node: str) -> str:
    """Return where a node keeps its health file unless it is told another place."""
    return os.path.join(run_folder(), f"{node}.health")


def write_health(path: str, health: Health) -> None:
    """Write the file in one step; its folder is made for this user alone.

    Raises HealthFileError.
    """
    folder = os.path.dirname(path) or "."
    aside = None
    try:
        make_folder(folder)
        handle, aside = tempfile.mkstemp(prefix=".health-", dir=folder)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(health), file, ensure_ascii=False, default=str)
            file.write("\n")
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except OSError as exc:
        if aside is not None:
            with contextlib.suppress(OSError):
                os.unlink(aside)
        raise HealthFileError(f"cannot write health file {path}: {exc.strerror}") from exc


def remove_health(path: str, pid: int) -> None:
    """Remove the file if this process wrote it; a missing one is no error."""
    with contextlib.suppress(HealthFileError, OSError):
        found = read_health(path)
        if found is not None and found.pid == pid:
            os.unlink(path)


def read_health(path: str) -> Health | None:
    """Return what the file says; None if there is none.

    Raises HealthFileError for one that cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        health = Health(**found)
        return replace(health, reasons=tuple(health.reasons))
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise HealthFileError(f"cannot read health file {path}: {exc.strerror}") from exc
    except (ValueError, TypeError) as exc:
        raise HealthFileError(f"{path} is no health file: {exc}") from exc


def judge(path: str) -> Verdict:
    """Return whether the node that writes this file lives and takes tasks.

    Raises HealthFileError for a file that cannot be read.
    """
    health = read_health(path)
    if health is None:
        return Verdict(False, False, (f"no health file {path}",), None)
    age = max(0.0, time.time() - health.at)
    if not is_alive(health.pid, health.born):
        return Verdict(False, False, (f"process {health.pid} is over",), age, health)
    if age > health.every * _PATIENCE:
        reason = f"its main loop has said nothing for {age:.1f} s"
        return Verdict(False, False, (reason,), age, health)
    return Verdict(True, health.ready, health.reasons, age, health)
