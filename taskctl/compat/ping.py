"""The task `celery.ping`, which test workers run to show that they do."""

from __future__ import annotations

from taskctl.core.tasks.shared import shared_task


@shared_task(name="celery.ping")
def ping() -> str:
    """Return "pong"."""
    return "pong"
