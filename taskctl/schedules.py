"""`from taskctl.schedules import crontab`: when periodic tasks are due."""

from __future__ import annotations

from .core.schedules import *  # noqa: F403
