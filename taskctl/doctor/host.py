"""Checks of this host: Python, folders, disk, and what `multi` remembers of nodes."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from taskctl.core.errors import PidfileError
from taskctl.core.pidfile import Stale, read_pid
from taskctl.core.places import log_folder, run_folder, state_folder
from taskctl.core.report import software
from taskctl.core.version import __version__
from taskctl.multi.records import Record, RecordError, Records

from .findings import Said, fail, ok, warn
from .patient import Patient

#: The oldest releases that do; see pyproject.toml and core/sqlitefile.py.
_PYTHON, _SQLITE = (3, 11), (3, 35, 0)
#: Free bytes of a disk below which it is nearly full, and below which nothing works.
_SCARCE, _FULL = 500 * 1024**2, 20 * 1024**2


def check_python(patient: Patient) -> Iterator[Said]:
    """Python, and the libraries that matter."""
    versions = software(__version__)
    if sys.version_info < _PYTHON:
        yield fail(f"Python {platform.python_version()} is too old", "install Python 3.11 or newer")
    if tuple(map(int, versions["sqlite"].split("."))) < _SQLITE:
        yield fail(f"SQLite {versions['sqlite']} is too old", "install SQLite 3.35 or newer")
    names = " ".join(f"{name} {number}" for name, number in versions.items())
    yield ok(names)


def check_places(patient: Patient) -> Iterator[Said]:
    """The folders for pidfiles, logs and records: can they be written, and is there room?"""
    seen: set[int] = set()
    folders = {"run": run_folder(), "log": log_folder(), "state": state_folder()}
    for kind, folder in folders.items():
        place = _existing(Path(folder))
        if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
            variable = f"TASKCTL_{kind.upper()}_DIR"
            cure = f"export {variable}=$HOME/.taskctl/{kind}"
            yield fail(f"{kind} folder {folder} cannot be made or written by this user", cure)
            continue
        mode = place.stat().st_mode
        if str(place) == folder and kind != "log" and mode & stat.S_IWOTH:
            yield warn(f"everybody may write to {folder}", f"chmod o-w {shlex.quote(folder)}")
        if (device := place.stat().st_dev) not in seen:
            seen.add(device)
            yield from room_on(place, f"{kind} folder {folder}")
    yield ok(", ".join(f"{kind} {folder}" for kind, folder in folders.items()))


def room_on(place: Path, what: str) -> Iterator[Said]:
    """Say if the disk that holds a place is nearly full."""
    disk = shutil.disk_usage(place)
    free = disk.free
    if free >= _SCARCE or not disk.total:  # a file system of the kernel's has no size
        return
    say = fail if free < _FULL else warn
    yield say(
        f"{free // 1024**2} MiB are free on the disk of the {what}",
        f"du -xh --max-depth=2 {shlex.quote(str(place))} | sort -h | tail",
    )


def _existing(folder: Path) -> Path:
    """Return the folder, or the nearest one above that is there: it would be made in that."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


def check_multi(patient: Patient) -> Iterator[Said]:
    """Nodes that were started here and are gone, and pidfiles that nobody holds."""
    try:
        records = Records().all()
    except RecordError as exc:
        yield fail(str(exc))
        return
    known = {os.path.abspath(record.pidfile) for record in records}
    live = 0
    for record in records:
        problem = _of_record(record)
        if problem is None:
            live += 1
        else:
            yield problem
    for path in sorted(Path(run_folder()).glob("*.pid")):
        if str(path) not in known:
            yield from _of_pidfile(path)
    yield ok(f"{live} of {len(records)} nodes on record run here" if records else "none on record")


def _of_record(record: Record) -> Said | None:
    short = record.name.partition("@")[0]
    try:
        found = read_pid(record.pidfile, record.identity)
    except PidfileError as exc:
        return fail(str(exc))
    if isinstance(found, Stale):
        return warn(
            f"{record.name} is on record and dead: {found.why}",
            f"taskctl multi restart {shlex.quote(short)}",
        )
    if found is None:
        return warn(
            f"{record.name} is on record and not running",
            f"taskctl multi forget {shlex.quote(short)}",
        )
    return None


def _of_pidfile(path: Path) -> Iterator[Said]:
    try:
        found = read_pid(path)
    except PidfileError as exc:
        yield warn(str(exc))
        return
    if isinstance(found, Stale):
        yield warn(f"stale pidfile {path}: {found.why}", f"rm {shlex.quote(str(path))}")
