"""Whose ways hold in this process where two are possible: ours, or Celery's.

Celery's hold for programs that were written for it and run unchanged (`taskctl.compat`).  Imports
nothing of the house, so that every floor can ask.
"""

from __future__ import annotations

import os

#: Environment variable that asks for Celery's ways, here and in every process started from here.
VARIABLE = "TASKCTL_CELERY_COMPAT"
#: Where Celery looks for a broker that nobody named.
CELERY_BROKER = "amqp://guest:guest@localhost:5672//"

_celerys = False


def celerys() -> bool:
    """Return whether Celery's defaults hold where ours differ."""
    return _celerys


def follow_celery(wanted: bool) -> None:
    """Let Celery's defaults hold, or ours again, for apps made from now on."""
    global _celerys
    _celerys = wanted


def asked_for() -> bool:
    """Return whether the environment asks for Celery's ways."""
    return os.environ.get(VARIABLE, "").strip().lower() not in ("", "0", "false", "no", "off")
