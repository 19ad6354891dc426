"""Celery's nodes that answered lately, remembered on this host, by broker.

They keep no record in the registry, so nobody would miss one that has fallen silent.  The broker
does know the mailboxes of those that run, but also of those that were killed long ago; and it
counts who listens, but not by name.  What answered here within `FOR` seconds and still has its
mailbox is expected to answer; a node that ends in peace takes its mailbox with it.

A cache: it may be deleted at any time, and what cannot be read or written is let be.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import time
import zlib
from collections.abc import Iterable
from pathlib import Path

from ..places import cache_folder

#: Seconds for which a node that answered is expected to answer again.
FOR = 3600.0
#: Seconds by which a note may be old before it is written again.
_REFRESH = 60.0


class Remembered:
    """The foreign nodes of one broker that answered from this host."""

    def __init__(self, url: str, folder: Path | None = None) -> None:
        # Two URLs of one sum do no harm: a node counts only while it has a mailbox here.
        self.path = (
            folder or Path(cache_folder())
        ) / f"foreign-{zlib.crc32(url.encode()):08x}.json"

    def ages(self) -> dict[str, float]:
        """Return seconds since each node answered, of those that did within `FOR`."""
        now = time.time()
        try:
            known = json.loads(self.path.read_text())
            ages = {str(name): now - float(at) for name, at in known.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}
        return {name: age for name, age in ages.items() if 0 <= age < FOR}

    def note(self, answered: Iterable[str], gone: Iterable[str] = ()) -> None:
        """Remember those that answered just now, forget those that are `gone`."""
        old = self.ages()
        forgotten = set(gone)
        new = {name: age for name, age in old.items() if name not in forgotten}
        fresh = [name for name in answered if new.get(name, FOR) > _REFRESH]
        if not fresh and len(new) == len(old):
            return
        now = time.time()
        told = {name: now - age for name, age in new.items()} | dict.fromkeys(fresh, now)
        with contextlib.suppress(OSError):
            self._write(json.dumps(told))

    def _write(self, text: str) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=".nodes-", dir=self.path.parent)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        os.replace(aside, self.path)
