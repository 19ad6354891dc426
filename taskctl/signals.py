"""`from taskctl.signals import worker_ready`: the points at which a user's code may listen in."""

from __future__ import annotations

from .core.signals import *  # noqa: F403
