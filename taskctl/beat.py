"""`from taskctl.beat import Scheduler`: what schedulers of one's own are made of."""

from __future__ import annotations

from .core.beat import *  # noqa: F403
