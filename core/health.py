"""The health file: what a node last said of itself, for whoever stands beside it on this host.

A worker's main loop writes the file every few seconds and whenever its state changes, aside and
renamed, so a reader finds the old one or the new one. Reading asks no broker and imports no app.
A file whose writer is over, or that has grown old, is a node that does not live.

`taskctl probe` reads these files every few seconds on many hosts, so nothing is imported here
that it would have to wait for (dataclasses, tempfile and pathlib take longer than all else).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any, NamedTuple

from .errors import HealthFileError
from .places import make_folder, run_folder
from .process import is_alive

#: Seconds between two writings, unless the writer says otherwise.
EVERY = 5.0
#: A loop that has not written for this many intervals stands still. One turn may have to wait
#: for a result backend (10 s) and a broker (5 s) that hang, and lives all the same.
PATIENCE = 4.0

SUFFIX = ".health"


class Health(NamedTuple):
    """What one node said.

    `born` tells the process from others of its pid (see process.birth); `at` is the unix time of
    writing; `every` the seconds between two writings. `ready`: it takes new tasks; if not,
    `reasons` say why. `facts` are those of the node's record in the registry (state, slots, busy,
    queues ...). `tick` is time.monotonic() of writing, which no one can set back.
    """

    node: str
    pid: int
    born: str
    at: float
    every: float
    ready: bool
    reasons: tuple[str, ...] = ()
    facts: dict[str, Any] = {}
    tick: float | None = None

    @property
    def age(self) -> float:
        """Seconds since it was written."""
        if self.tick is not None:  # the clock is the same in every process of one boot
            return max(0.0, time.monotonic() - self.tick)
        return max(0.0, time.time() - self.at)


class Verdict(NamedTuple):
    """What a look at a health file says; `age` is in seconds, None where there is no file."""

    live: bool
    ready: bool
    reasons: tuple[str, ...]
    age: float | None
    health: Health | None = None


def default_health_file(node: str) -> str:
    """Return where a node keeps its health file unless it is told another place."""
    return os.path.join(run_folder(), node + SUFFIX)


def health_files(folder: str | None = None) -> dict[str, str]:
    """Return the health files of a folder, by name of their node; default is the run folder.

    A folder that does not exist holds none. Raises PermissionError.
    """
    folder = folder or run_folder()
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {
        name.removesuffix(SUFFIX): os.path.join(folder, name)
        for name in sorted(names)
        if name.endswith(SUFFIX) and not name.startswith(".")
    }


def write_health(path: str, health: Health) -> None:
    """Write the file in one step; its folder is made for this user alone.

    Raises HealthFileError.
    """
    text = json.dumps(health._asdict(), ensure_ascii=False, default=str) + "\n"
    folder, name = os.path.split(path)
    aside = os.path.join(folder, f".{name}.{os.getpid()}")
    try:
        make_folder(folder or ".")
        try:
            _write(aside, text)
            os.replace(aside, path)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(aside)
            raise
    except OSError as exc:
        raise HealthFileError(f"cannot write health file {path}: {_reason(exc)}") from exc


def _write(path: str, text: str) -> None:
    # Where others may write too, one of them could have put a link there.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(path, flags, 0o644)
    except FileExistsError:  # from a process of this pid that was killed while it wrote
        os.unlink(path)
        fd = os.open(path, flags, 0o644)
    with open(fd, "w", encoding="utf-8") as file:
        file.write(text)


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
        health = Health(**{key: found[key] for key in Health._fields if key in found})
        return health._replace(reasons=tuple(health.reasons))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise HealthFileError(f"cannot read health file {path}: {_reason(exc)}") from exc
    except (ValueError, TypeError) as exc:
        raise HealthFileError(f"{path} is no health file: {exc}") from exc


def judge(path: str) -> Verdict:
    """Return whether the node that writes this file lives and takes tasks.

    Raises HealthFileError for a file that cannot be read.
    """
    health = read_health(path)
    if health is None:
        return Verdict(False, False, (f"no health file {path}",), None)
    age = health.age
    if not is_alive(health.pid, health.born):
        return Verdict(False, False, (f"process {health.pid} is over",), age, health)
    if age > health.every * PATIENCE:
        return Verdict(False, False, (stalled(age),), age, health)
    return Verdict(True, health.ready, health.reasons, age, health)


def stalled(age: float) -> str:
    """Return the reason why a node whose loop has not turned for so long does not live."""
    return f"its main loop has said nothing for {age:.1f} s"


def _reason(exc: OSError) -> str:
    return (exc.strerror or str(exc)).lower()
