"""Names for the completion of command lines: nodes, queues and tasks, as the registry knows them.

They come from a small file in the cache folder, at most 30 s old; else from the broker, which gets
100 ms, if its URL is known without importing the user's app. On any trouble there are no names.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from taskctl.core.places import cache_folder

from .context import Context

#: Seconds that a file of names is believed.
FRESH = 30.0
#: Seconds the broker may take to answer.
PATIENCE = 0.1


@dataclass(frozen=True)
class Names:
    """What is there to be named, each in order."""

    nodes: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()


def names_of(records: Mapping[str, Mapping[str, Any]]) -> Names:
    """Return the names in the records of nodes."""
    return Names(
        tuple(sorted(records)),
        _all(records.values(), "queues"),
        _all(records.values(), "tasks"),
    )


def known_names(context: Context) -> Names:
    """Return the names that a command line with these global options could mean."""
    kept = _read(_place(context))
    if kept is not None and 0 <= time.time() - kept["at"] <= FRESH:
        return Names(*(tuple(kept["names"][kind]) for kind in ("nodes", "queues", "tasks")))
    url = _url(context) or (None if kept is None else kept["url"])
    if url is None:
        return Names()
    found = _ask(url)
    if found is None:
        return Names()
    remember(context, found, url)
    return found


def remember(context: Context, names: Names, url: str) -> None:
    """Keep names for the next completion; a URL with a secret in it is not kept.

    Does nothing where the cache cannot be written.
    """
    from taskctl.core.redact import mask_url  # for those alone who keep something

    path = _place(context)
    kept = {"at": time.time(), "url": url if mask_url(url) == url else None, "names": asdict(names)}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=".names-", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(kept, file)
        os.replace(aside, path)
    except OSError:
        return


def _place(context: Context) -> Path:
    """Return the file for the fleet that these options lead to."""
    broker = context.get("broker", "TASKCTL_BROKER_URL", "CELERY_BROKER_URL")
    key = "\0".join([os.getcwd(), context.app_spec or "", broker or ""])
    return Path(cache_folder()) / f"names-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        kinds = all(isinstance(found["names"][kind], list) for kind in ("nodes", "queues", "tasks"))
        return found if kinds and isinstance(found["at"], float) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _url(context: Context) -> str | None:
    """Return the broker's URL, if it is known without the user's code."""
    given = context.get("broker", "TASKCTL_BROKER_URL", "CELERY_BROKER_URL")
    if given or (given := context.project().get("broker_url")):
        return str(given)
    from taskctl.core.loader import default_database_path

    database = default_database_path(_module_file(context.app_spec))
    return f"sqlite:///{database}" if database.exists() else None


def _module_file(spec: str | None) -> str | None:
    """Return the file of the app's top-level module, which is looked for and not imported."""
    if spec is None:
        return None
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    found = importlib.util.find_spec(spec.partition(":")[0].partition(".")[0])
    return None if found is None else found.origin


def _ask(url: str) -> Names | None:
    """Return what the registry knows; None on any trouble with the broker."""
    from taskctl.core.app import App
    from taskctl.core.config import Origin
    from taskctl.core.errors import TaskctlError

    app = App("completion", set_as_current=False)
    urls = {key: url for key in ("broker_url", "broker_read_url", "broker_write_url")}
    app.conf.override(urls, Origin("cli", "-b"))
    try:
        nodes = app.control.cluster.nodes(PATIENCE)
    except (TaskctlError, OSError):
        return None
    return names_of({node.name: node.record for node in nodes})


def _all(records: Iterable[Mapping[str, Any]], key: str) -> tuple[str, ...]:
    return tuple(sorted({name for record in records for name in record.get(key) or ()}))
