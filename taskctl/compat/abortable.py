"""`celery.contrib.abortable`: tasks that look, as they run, whether they are still wanted."""

from __future__ import annotations

from typing import Any

from taskctl.core.tasks.asyncresult import AsyncResult
from taskctl.core.tasks.context import Context
from taskctl.core.tasks.metas import MetaWriter
from taskctl.core.tasks.task import Task

#: State of a task that somebody wants to end; it ends itself.
ABORTED = "ABORTED"


class AbortableAsyncResult(AsyncResult):
    """A result through which its task can be asked to end."""

    def is_aborted(self) -> bool:
        """Return whether it was asked to."""
        return bool(self.state == ABORTED)

    def abort(self) -> None:
        """Ask the task to end; it does when it next looks."""
        request = Context({"id": self.id, "task": self._task_name})
        self.backend.store([MetaWriter(self.app).write(request, ABORTED, None)])


class AbortableTask(Task[Any, Any]):
    """A task whose results can abort it, and which asks `is_aborted` from time to time."""

    abstract = True

    def AsyncResult(self, task_id: str, **options: Any) -> AsyncResult:
        return AbortableAsyncResult(task_id, app=self.app, task_name=self.name, **options)

    def is_aborted(self, **kwargs: Any) -> bool:
        """Return whether this run was asked to end; asks the result backend."""
        result = self.AsyncResult(kwargs.get("task_id", self.request.id))
        return isinstance(result, AbortableAsyncResult) and result.is_aborted()
