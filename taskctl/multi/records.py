"""What was started, remembered: one JSON file per node in the state folder.

A record may hold secrets (a broker URL in the environment), so only its owner can read it.
Reading makes no folder; the folder is made when the first record is written.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import quote, unquote

from taskctl.core.places import make_folder, state_folder

from .nodes import Node, Spec

_VERSION = 1
#: Variables that decide what a worker does; they are given again at a restart from elsewhere.
_KEPT_PREFIXES = ("TASKCTL_", "CELERY_")
_KEPT = frozenset(
    "C_FORCE_ROOT DJANGO_SETTINGS_MODULE LANG LC_ALL PATH PYTHONPATH REMAP_SIGTERM TZ "
    "VIRTUAL_ENV".split()
)


class RecordError(Exception):
    """Raised when a record cannot be read or written; says which file and why."""


@dataclass(frozen=True)
class Record:
    """How a node was started last, and who it became."""

    name: str
    spec: Spec
    argv: tuple[str, ...]
    pidfile: str
    logfile: str
    env: Mapping[str, str] = field(default_factory=dict)
    pid: int | None = None
    born: str | None = None
    started_at: float | None = None
    queues: tuple[str, ...] = ()
    healthfile: str = ""

    @property
    def identity(self) -> tuple[int, str] | None:
        """The process it became, as `read_pid` wants it."""
        return None if self.pid is None or self.born is None else (self.pid, self.born)


def record_of(node: Node, environ: Mapping[str, str]) -> Record:
    """Return the record of a node that is about to start."""
    env = {
        name: value
        for name, value in environ.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES)
    }
    return Record(
        node.name,
        node.spec,
        node.argv,
        node.pidfile,
        node.logfile,
        env,
        healthfile=node.healthfile,
    )


class Records:
    """The records of one state folder."""

    def __init__(self, folder: str | None = None) -> None:
        self.folder = folder or os.path.join(state_folder(), "multi")

    def load(self, name: str) -> Record | None:
        """Return the record of a node, None if there is none.

        Raises RecordError for one that cannot be read.
        """
        path = self._path(name)
        try:
            with open(path, encoding="utf-8") as file:
                return _from_json(json.load(file))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise RecordError(
                f"cannot read the record {path}: {exc}; remove it, and start the node "
                f"again with all its options"
            ) from exc

    def all(self) -> list[Record]:
        """Return every record, by name of the node.

        Raises RecordError for one that cannot be read.
        """
        found = [self.load(name) for name in self.names()]
        return [record for record in found if record is not None]

    def names(self) -> list[str]:
        """Return the names of all nodes on record, also of those whose record is broken.

        Raises RecordError if the folder cannot be read.
        """
        try:
            files = os.listdir(self.folder)
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as exc:
            raise RecordError(f"cannot read the records in {self.folder}: {exc.strerror}") from exc
        return sorted(
            _unquoted(file) for file in files if file.endswith(".json") and not file.startswith(".")
        )

    def save(self, record: Record) -> None:
        """Write a record, whole or not at all."""
        text = json.dumps({"version": _VERSION, **asdict(record)}, indent=1)
        try:
            make_folder(self.folder)
            # mkstemp makes it 0600.
            fd, aside = tempfile.mkstemp(prefix=".", dir=self.folder)
            try:
                with open(fd, "w", encoding="ascii") as file:
                    file.write(text + "\n")
                os.rename(aside, self._path(record.name))
            except OSError:
                os.unlink(aside)
                raise
        except OSError as exc:
            raise RecordError(
                f"cannot write the record of {record.name} in {self.folder}: {exc.strerror}; "
                f"choose another folder with TASKCTL_STATE_DIR"
            ) from exc

    def forget(self, name: str) -> bool:
        """Drop the record of a node; False if there was none."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path(name, ".lock"))
        try:
            os.unlink(self._path(name))
        except FileNotFoundError:
            return False
        return True

    @contextlib.contextmanager
    def restarting(self, names: list[str]) -> Iterator[str | None]:
        """Hold these nodes for a restart; gives the name of one that another restart holds."""
        with contextlib.ExitStack() as stack:
            try:
                make_folder(self.folder)
                for name in sorted(names):
                    file = stack.enter_context(open(self._path(name, ".lock"), "a"))
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield name
                return
            except OSError:
                # No state folder, no lock: the pidfile of each node still lets only one live.
                pass
            yield None

    def _path(self, name: str, suffix: str = ".json") -> str:
        return os.path.join(self.folder, quote(name, safe="@ ") + suffix)


def _unquoted(file: str) -> str:
    return unquote(file.removesuffix(".json"))


def _from_json(document: Mapping[str, Any]) -> Record:
    if document["version"] != _VERSION:
        raise ValueError(f"version {document['version']} is not known here")
    spec = document["spec"]
    return Record(
        name=document["name"],
        spec=Spec(
            settings=tuple((spelling, value) for spelling, value in spec["settings"]),
            rest=tuple(spec["rest"]),
            command=tuple(spec["command"]),
            append=spec["append"],
            cwd=spec["cwd"],
        ),
        argv=tuple(document["argv"]),
        pidfile=document["pidfile"],
        logfile=document["logfile"],
        env=dict(document["env"]),
        pid=document["pid"],
        born=document["born"],
        started_at=document["started_at"],
        queues=tuple(document["queues"]),
        # Older records have none.
        healthfile=document.get("healthfile", ""),
    )
