"""Run programs that were written for Celery, unchanged: `import celery` finds taskctl.

    taskctl --celery-compat -A proj worker        a project's worker
    python -m taskctl.compat script.py [ARGS]     a script
    python -m taskctl.compat -m pytest            a module
    TASKCTL_CELERY_COMPAT=1 taskctl ...           the same for all that is started from here
    import taskctl.compat; taskctl.compat.install()

Once installed, `celery`, and what Celery's users import of `kombu` and `billiard`, are made of
taskctl's own objects: `celery.Celery` is `taskctl.App`.  Celery's defaults hold where ours differ.
What is not supported raises UnsupportedFeature when it is first asked for.
"""

from __future__ import annotations

import logging
import os
import sys

from taskctl.core import ways
from taskctl.core.errors import ImproperlyConfigured

from .finder import ROOTS, CompatFinder, known_modules

_finder = CompatFinder()
#: Celery's loggers that programs configure by name, and ours that speak in their place.
_LOGGERS = {"taskctl": "celery", "taskctl.task": "celery.task"}
_parents: dict[str, logging.Logger | None] = {}

__all__ = ["install", "installed", "uninstall"]


def installed() -> bool:
    """Return whether `import celery` finds taskctl."""
    return _finder in sys.meta_path


def install() -> None:
    """Let `import celery` find taskctl, here and in every process started from here.

    Done twice it does nothing more.  Celery itself may be installed beside; it is not touched.

    Raises ImproperlyConfigured if Celery was imported before.
    """
    if installed():
        return
    foreign = [name for name in ROOTS if name in sys.modules]
    if foreign:
        place = getattr(sys.modules[foreign[0]], "__file__", None) or "unknown"
        raise ImproperlyConfigured(
            f"{foreign[0]} was imported already, from {place}: "
            "install taskctl.compat before anything imports it"
        )
    sys.meta_path.insert(0, _finder)
    ways.follow_celery(True)
    os.environ[ways.VARIABLE] = "1"
    for ours, theirs in _LOGGERS.items():
        logger = logging.getLogger(ours)
        _parents[ours] = logger.parent
        logger.parent = logging.getLogger(theirs)


def uninstall() -> None:
    """Take it back: `import celery` finds Celery again, if it is there; for tests.

    Objects that were imported stay what they are.
    """
    if not installed():
        return
    sys.meta_path.remove(_finder)
    ways.follow_celery(False)
    os.environ.pop(ways.VARIABLE, None)
    for name in [name for name in sys.modules if name.partition(".")[0] in ROOTS]:
        del sys.modules[name]
    for name, parent in _parents.items():
        logging.getLogger(name).parent = parent
    _parents.clear()
    if (absences := sys.modules.get(f"{__name__}.absences")) is not None:
        absences.detach()


def modules() -> tuple[str, ...]:
    """Return the names of the modules that can be imported while this is installed."""
    return known_modules()
