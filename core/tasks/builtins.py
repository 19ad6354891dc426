"""The built-in tasks every app has, under Celery's names.

`celery.chord` and `celery.chord_unlock` are missing on purpose: this version joins no chords, and
a message for them is answered like one for any unknown task.
"""

from __future__ import annotations

from typing import Any

from .canvas import chain
from .canvas import chunks as chunks_of
from .result import result_from_tuple
from .signature import maybe_signature


def register(app: Any) -> None:
    """Add the built-in tasks to an app; called when it is finalized."""
    _add_upkeep(app)
    _add_maps(app)
    _add_compositions(app)


def _add_upkeep(app: Any) -> None:
    @app.task(name="celery.backend_cleanup", shared=False, lazy=False, ignore_result=True)
    def backend_cleanup() -> int:
        """Drop results that have outlived `result_expires`."""
        return int(app.backend.expire())

    @app.task(name="celery.accumulate", shared=False, lazy=False)
    def accumulate(*args: Any, index: int | None = None) -> Any:
        """Return the arguments, or one of them: the end of a task replaced by a group."""
        return args if index is None else args[index]


def _add_maps(app: Any) -> None:
    @app.task(name="celery.map", shared=False, lazy=False)
    def xmap(task: Any, it: list[Any]) -> list[Any]:
        """Return what the task returns for each item, one after the other."""
        called = maybe_signature(task, app=app).type
        return [called(item) for item in it]

    @app.task(name="celery.starmap", shared=False, lazy=False)
    def xstarmap(task: Any, it: list[Any]) -> list[Any]:
        """Return what the task returns for each list of arguments."""
        called = maybe_signature(task, app=app).type
        return [called(*item) for item in it]

    @app.task(name="celery.chunks", shared=False, lazy=False)
    def chunks(task: Any, it: list[Any], n: int) -> Any:
        """Send one `celery.starmap` for each `n` items; return their group's result."""
        return chunks_of(task, it, n, app=app).apply_async()


def _add_compositions(app: Any) -> None:
    # Celery keeps both for messages of old: its workers expand groups and chains themselves.

    @app.task(name="celery.group", shared=False, lazy=False)
    def run_group(
        tasks: list[Any],
        result: Any = None,
        group_id: str | None = None,
        partial_args: Any = (),
        add_to_parent: bool = True,
    ) -> Any:
        """Send the tasks of a group that was frozen by its sender."""
        options = {"add_to_parent": add_to_parent}
        if group_id is not None:
            options["group_id"] = group_id  # type: ignore[assignment]
        for task in tasks:
            maybe_signature(task, app=app).apply_async(tuple(partial_args), **options)
        return None if result is None else result_from_tuple(result, app)

    @app.task(name="celery.chain", shared=False, lazy=False)
    def run_chain(*args: Any, tasks: list[Any]) -> Any:
        """Send a chain; its first task gets the arguments."""
        return chain(*(maybe_signature(task, app=app) for task in tasks), app=app).apply_async(args)
