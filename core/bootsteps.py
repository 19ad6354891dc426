"""Steps: parts that a user's code adds to a worker, started and stopped with it.

    from taskctl import bootsteps

    class Watcher(bootsteps.StartStopStep):
        def __init__(self, parent, watch=False, **options):
            self.enabled = watch

        def start(self, worker):
            ...

    app.steps["worker"].add(Watcher)

A step is made with the worker and the values of `app.user_options["worker"]`; names and calls are
Celery's. Steps run in the parent's only thread: one that waits makes the worker wait.
"""

from __future__ import annotations

from typing import Any


class Step:
    """A part that is made when the worker starts, if `include_if` says so.

    `requires` holds the classes (or their paths) of steps that come before it; what is not among
    the added steps is there already.
    """

    name: str | None = None
    label: str | None = None
    requires: Any = ()
    enabled = True

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        """Take what is wanted of the options; others go by."""

    @property
    def alias(self) -> str:
        """What logs call it."""
        return self.label or self.name or type(self).__name__

    def include_if(self, parent: Any) -> bool:
        """Return whether this step is wanted."""
        return bool(self.enabled)

    def include(self, parent: Any) -> bool:
        """Create it if it is wanted; return whether it is to be started."""
        if self.include_if(parent):
            self.create(parent)
        return False

    def create(self, parent: Any) -> Any:
        """Make what the step is about."""

    def info(self, obj: Any) -> Any:
        """Return facts for `inspect stats`."""


class StartStopStep(Step):
    """A step that is started and stopped; what `create` returns is started and stopped for it."""

    obj: Any = None

    def include(self, parent: Any) -> bool:
        """Create it if it is wanted; return whether it is."""
        if not self.include_if(parent):
            return False
        self.obj = self.create(parent)
        return True

    def start(self, parent: Any) -> None:
        """Called when the worker takes tasks."""
        if self.obj is not None:
            self.obj.start()

    def stop(self, parent: Any) -> None:
        """Called when the worker ends, last step first."""
        if self.obj is not None:
            self.obj.stop()

    def close(self, parent: Any) -> None:
        """Called before any step is stopped."""

    def terminate(self, parent: Any) -> None:
        """Called in place of `stop` when the end is a cold one."""
        if self.obj is not None and hasattr(self.obj, "terminate"):
            self.obj.terminate()
        else:
            self.stop(parent)
