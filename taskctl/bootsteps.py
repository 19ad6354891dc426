"""`from taskctl.bootsteps import StartStopStep`: parts that a user adds to the worker."""

from __future__ import annotations

from .core.bootsteps import *  # noqa: F403
