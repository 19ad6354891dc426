"""The built-in tasks every app has, under Celery's names."""

from __future__ import annotations

from typing import Any

from ..errors import BackendError, ChordError, Retry
from .canvas import chain, chord
from .maps import chunks as chunks_of
from .result import result_from_tuple
from .signature import maybe_signature
from .unlocking import Unlocking


def register(app: Any) -> None:
    """Add the built-in tasks to an app; called when it is finalized."""
    builtins = {
        "celery.backend_cleanup": _cleanup_of(app),
        "celery.accumulate": accumulate,
        "celery.map": _map_of(app),
        "celery.starmap": _starmap_of(app),
        "celery.chunks": _chunks_of(app),
        # Celery keeps these for messages of old: its workers expand what is compound.
        "celery.group": _group_of(app),
        "celery.chain": _chain_of(app),
        "celery.chord": _chord_of(app),
    }
    for name, function in builtins.items():
        app.task(name=name, shared=False, lazy=False)(function)
    app.task(
        name="celery.chord_unlock",
        bind=True,
        max_retries=None,
        default_retry_delay=app.conf.result_chord_retry_interval,
        ignore_result=True,
        shared=False,
        lazy=False,
    )(_unlock_of(app))


def accumulate(*args: Any, index: int | None = None) -> Any:
    """Return the arguments, or one of them: the end of a task replaced by a group."""
    return args if index is None else args[index]


def _cleanup_of(app: Any) -> Any:
    def backend_cleanup() -> int:
        """Drop results that have outlived `result_expires`; return how many."""
        return int(app.backend.expire())

    return backend_cleanup


def _map_of(app: Any) -> Any:
    def xmap(task: Any, it: list[Any]) -> list[Any]:
        """Return what the task returns for each item, one after the other."""
        called = maybe_signature(task, app=app).type
        return [called(item) for item in it]

    return xmap


def _starmap_of(app: Any) -> Any:
    def xstarmap(task: Any, it: list[Any]) -> list[Any]:
        """Return what the task returns for each list of arguments."""
        called = maybe_signature(task, app=app).type
        return [called(*item) for item in it]

    return xstarmap


def _chunks_of(app: Any) -> Any:
    def chunks(task: Any, it: list[Any], n: int) -> Any:
        """Send one `celery.starmap` for each `n` items; return their group's result."""
        return chunks_of(task, it, n, app=app).apply_async()

    return chunks


def _group_of(app: Any) -> Any:
    def group(
        tasks: list[Any],
        result: Any = None,
        group_id: str | None = None,
        partial_args: Any = (),
        add_to_parent: bool = True,
    ) -> Any:
        """Send the tasks of a group whose ids its sender has fixed."""
        options: dict[str, Any] = {"add_to_parent": add_to_parent}
        if group_id is not None:
            options["group_id"] = group_id
        for task in tasks:
            maybe_signature(task, app=app).apply_async(tuple(partial_args), **options)
        return None if result is None else result_from_tuple(result, app)

    return group


def _chain_of(app: Any) -> Any:
    def run_chain(*args: Any, tasks: list[Any]) -> Any:
        """Send a chain; its first task gets the arguments."""
        return chain(*(maybe_signature(task, app=app) for task in tasks), app=app).apply_async(args)

    return run_chain


def _chord_of(app: Any) -> Any:
    def run_chord(
        header: Any,
        body: Any,
        partial_args: Any = (),
        interval: Any = None,
        countdown: Any = None,
        max_retries: Any = None,
        eager: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Send a chord; its header tasks get the arguments."""
        sent = chord(header, maybe_signature(body, app=app), app=app)
        return sent.apply_async(tuple(partial_args), **kwargs)

    return run_chord


def _unlock_of(app: Any) -> Any:
    def chord_unlock(
        self: Any,
        group_id: str,
        callback: Any,
        interval: float | None = None,
        max_retries: int | None = None,
        result: Any = (),
        **_: Any,
    ) -> None:
        """Call the body of a chord as soon as all results of its header are there.

        For backends that count no parts (protocol.md 8.5): looks again every `interval` seconds
        (default `result_chord_retry_interval`).
        """
        awaited = app.GroupResult(group_id, [result_from_tuple(one, app) for one in result])
        body = maybe_signature(callback, app=app)
        retry = {"countdown": interval, "max_retries": max_retries}
        unlocking = Unlocking(app, self.request)
        try:
            if not awaited.ready():
                raise self.retry(**retry)
        except BackendError as exc:
            raise self.retry(exc=exc, **retry) from exc
        except Retry:
            raise
        except Exception as exc:
            unlocking.fail(body, ChordError(f"chord_unlock could not be retried: {exc!r}"))
            return
        unlocking.finish(awaited, body)

    return chord_unlock
