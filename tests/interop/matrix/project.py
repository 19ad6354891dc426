"""The app of the matrix, made by Celery or by taskctl: the same tasks, the same settings.

A worker loads it with MATRIX_KIND and MATRIX_SETTINGS (JSON) in its environment; a client calls
`make`.  Tasks leave marks, lines of JSON in the file MATRIX_MARKS.
"""

from __future__ import annotations

import functools
import json
import os
import time
from types import SimpleNamespace
from typing import Any

SERIALIZERS = ["json", "pickle", "yaml", "msgpack"]


class CustomError(Exception):
    """An exception of the project's own."""


def library(kind: str) -> SimpleNamespace:
    """Return the names of one library, under the same words."""
    if kind == "celery":
        import celery
        import celery.exceptions
        import kombu

        return SimpleNamespace(
            App=celery.Celery,
            Exchange=kombu.Exchange,
            Queue=kombu.Queue,
            chain=celery.chain,
            chord=celery.chord,
            chunks=celery.canvas.chunks,
            exceptions=celery.exceptions,
            group=celery.group,
            result=celery.result,
            signature=celery.signature,
        )
    import taskctl
    import taskctl.core.tasks.result as result
    from taskctl import exceptions

    return SimpleNamespace(
        App=taskctl.App,
        Exchange=taskctl.Exchange,
        Queue=taskctl.Queue,
        chain=taskctl.chain,
        chord=taskctl.chord,
        chunks=taskctl.chunks,
        exceptions=exceptions,
        group=taskctl.group,
        result=result,
        signature=taskctl.signature,
    )


def queues(lib: SimpleNamespace) -> list[Any]:
    """Return the queues beside the default one: one bound by topic, one with priorities."""

    def queue(name: str, exchange: str, key: str, type: str, **arguments: Any) -> Any:
        return lib.Queue(
            name=name,
            exchange=lib.Exchange(name=exchange, type=type),
            routing_key=key,
            queue_arguments=arguments or None,
        )

    return [
        queue("celery", "celery", "celery", "direct"),
        queue("video", "matrix.media", "media.video.#", "topic"),
        queue("ranks", "ranks", "ranks", "direct", **{"x-max-priority": 10}),
    ]


def make(kind: str, **settings: Any) -> Any:
    """Return an app with all tasks of the matrix."""
    lib = library(kind)
    app = lib.App("matrix", set_as_current=False)
    app.conf.update(
        accept_content=SERIALIZERS,
        result_accept_content=SERIALIZERS,
        task_track_started=True,
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        task_queues=queues(lib),
        task_default_queue="celery",
        broker_connection_retry_on_startup=True,
        worker_send_task_events=True,
        **settings,
    )
    # Tasks of this app alone: one process makes many such apps, of the same names.
    app.task = functools.partial(app.task, shared=False)
    if kind != "celery":
        app.conf.task_priority_order = "celery"  # what both sides send must mean the same
    _plain_tasks(app)
    _failing_tasks(app, lib)
    _slow_tasks(app)
    _replacing_tasks(app, lib)
    return app


def mark(key: str, value: Any = None) -> None:
    """Append one line to the file of marks."""
    line = json.dumps([key, value, time.time()]) + "\n"
    fd = os.open(os.environ["MATRIX_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, line.encode())
    os.close(fd)


def _plain_tasks(app: Any) -> None:
    @app.task(name="mx.add")
    def add(x: Any, y: Any = 0) -> Any:
        return x + y

    @app.task(name="mx.total")
    def total(numbers: list[Any]) -> Any:
        return sum(numbers)

    @app.task(name="mx.echo")
    def echo(*args: Any, **kwargs: Any) -> Any:
        return [list(args), kwargs]

    @app.task(name="mx.describe")
    def describe(value: Any) -> str:
        return f"{type(value).__name__} {value!r}"

    @app.task(name="mx.note")
    def note(value: Any, key: str) -> Any:
        mark(key, value)
        return value

    @app.task(name="mx.note_total")
    def note_total(numbers: list[Any], key: str) -> Any:
        mark(key)
        return sum(numbers)

    @app.task(name="mx.request", bind=True)
    def request(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        seen = self.request
        return {
            "id": seen.id,
            "root_id": seen.root_id,
            "parent_id": seen.parent_id,
            "group": seen.group,
            "retries": seen.retries,
            "correlation_id": seen.correlation_id,
            "routing_key": seen.delivery_info["routing_key"],
            "exchange": seen.delivery_info["exchange"],
            "headers": dict(seen.headers or {}),
            "stamped_headers": sorted(seen.stamped_headers or []),
            "stamps": dict(seen.stamps or {}),
            "argsrepr": seen.argsrepr,
            "shadow": seen.shadow,
            "origin": bool(seen.origin),
            "timelimit": list(seen.timelimit or []),
        }

    @app.task(name="mx.spawn", bind=True)
    def spawn(self: Any, number: int) -> int:
        for each in range(number):
            app.tasks["mx.add"].delay(each, each)
        return number

    @app.task(name="mx.quiet", ignore_result=True)
    def quiet(key: str) -> str:
        mark(key)
        return key


def _failing_tasks(app: Any, lib: SimpleNamespace) -> None:
    @app.task(name="mx.boom")
    def boom(*args: Any) -> None:
        raise ValueError("boom", 42)

    @app.task(name="mx.custom")
    def custom() -> None:
        raise CustomError("own", 1)

    @app.task(name="mx.note_error")
    def note_error(task_id: str, key: str) -> None:
        mark(key, task_id)

    @app.task(name="mx.note_error_new")
    def note_error_new(request: Any, exc: Any, traceback: Any, key: str = "") -> None:
        mark(key, [request.id, repr(exc)])

    @app.task(name="mx.retry", bind=True, max_retries=3)
    def retry(self: Any, times: int) -> int:
        if self.request.retries < times:
            raise self.retry(countdown=0.05, exc=CustomError("not yet"))
        return int(self.request.retries)

    # At once, Celery may store the RETRY of one run after the FAILURE of the next.
    @app.task(
        name="mx.auto", bind=True, autoretry_for=(CustomError,), max_retries=2,
        retry_kwargs={"countdown": 0.3},
    )  # fmt: skip
    def auto(self: Any) -> None:
        self.retry_backoff = False
        raise CustomError("again", self.request.retries)

    auto.default_retry_delay = 0

    @app.task(name="mx.ignore", bind=True)
    def ignore(self: Any, key: str) -> None:
        mark(key)
        raise lib.exceptions.Ignore()

    @app.task(name="mx.reject", acks_late=True)
    def reject(key: str) -> None:
        mark(key)
        raise lib.exceptions.Reject("no", requeue=False)


def _slow_tasks(app: Any) -> None:
    @app.task(name="mx.hold")
    def hold(path: str) -> str:
        while not os.path.exists(path):
            time.sleep(0.02)
        return "let go"

    @app.task(name="mx.sleep")
    def sleep(seconds: float) -> float:
        time.sleep(seconds)
        return seconds

    @app.task(name="mx.limited")
    def limited(key: str) -> None:
        mark(key)

    @app.task(name="mx.progress", bind=True)
    def progress(self: Any, path: str) -> str:
        self.update_state(state="PROGRESS", meta={"done": 3})
        while not os.path.exists(path):
            time.sleep(0.02)
        return "done"


def _replacing_tasks(app: Any, lib: SimpleNamespace) -> None:
    @app.task(name="mx.replace", bind=True)
    def replace(self: Any, x: int, y: int) -> Any:
        raise self.replace(app.tasks["mx.add"].s(x, y))

    @app.task(name="mx.replace_chain", bind=True)
    def replace_chain(self: Any, x: int) -> Any:
        add = app.tasks["mx.add"]
        raise self.replace(lib.chain(add.s(x, 1), add.s(10)))

    @app.task(name="mx.replace_group", bind=True)
    def replace_group(self: Any, count: int) -> Any:
        add = app.tasks["mx.add"]
        raise self.replace(lib.group(add.s(each, each) for each in range(count)))

    @app.task(name="mx.expand", bind=True)
    def expand(self: Any, count: int) -> Any:
        add = app.tasks["mx.add"]
        self.add_to_chord(add.s(100, count))
        return count


if os.environ.get("MATRIX_KIND"):
    app = make(os.environ["MATRIX_KIND"], **json.loads(os.environ["MATRIX_SETTINGS"]))
