"""What a subclass of Task may override to be told of its runs and calls."""

from __future__ import annotations

from typing import Any


class Hooks:
    """Called at set points; those here do nothing, and cost nothing."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Called before the task runs."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Called after the task has succeeded."""

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called when the task is to be tried again."""

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called after the task has failed."""

    def after_return(
        self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called when the task has ended, well or badly."""

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Called when the task has been bound to an app; for subclasses."""
