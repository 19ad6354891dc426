"""`from taskctl.exceptions import Retry`: the errors a user may raise and catch."""

from __future__ import annotations

from .core.errors import *  # noqa: F403
