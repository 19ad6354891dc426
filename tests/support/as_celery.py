"""taskctl in the place of Celery, for the length of a test."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import ModuleType

from taskctl import compat
from taskctl.compat import finder


@contextlib.contextmanager
def as_celery() -> Iterator[None]:
    """Install taskctl.compat; afterwards Celery's own modules are there as before."""
    theirs = _take_out()
    compat.install()
    try:
        yield
    finally:
        compat.uninstall()
        _take_out()
        sys.modules.update(theirs)


def _take_out() -> dict[str, ModuleType]:
    """Take the modules of Celery, kombu and billiard out of those that are imported."""
    found = [name for name in sys.modules if name.partition(".")[0] in finder.ROOTS]
    return {name: sys.modules.pop(name) for name in found}
