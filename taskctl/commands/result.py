"""`taskctl result`: what a task returned, or why it did not."""

from __future__ import annotations

import difflib
import sys
from typing import Any

import click

from taskctl.apps import client_app, user_app
from taskctl.command import Command, Option
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.failures import OK, CommandError, usage
from taskctl.views.result import FORMATS, draw_traceback

from .outcome import facts, need_backend, report_outcome, wait

#: Letters of an id that a person must type, and how many make a whole one.
SHORTEST, _WHOLE = 6, 36


@click.pass_obj
def _result(
    context: Context, task_id: str, timeout: float | None, traceback: bool, task: str | None
) -> int:
    console = context.console(piped="celery", formats=FORMATS)
    app = user_app(context) if context.app_spec else client_app(context)
    if task is None:
        need_backend(app)
    of = _task(app, task) if task else app
    result = of.AsyncResult(task_id)
    if sys.stdout.isatty():
        result = of.AsyncResult(_whole_id(task_id, result.backend))
    if not traceback:
        wait(result, timeout)
        return report_outcome(console, "result", result)
    if timeout is not None:
        wait(result, timeout)
    known = facts(result)
    if not result.ready():
        raise CommandError(
            f"task {task_id} is {known['state']}: there is no traceback yet",
            "wait for it with --timeout S",
            code="pending",
        )
    draw_traceback(console, known)
    return OK


def _whole_id(begun: str, backend: Any) -> str:
    """Return the one id that begins so, if it is the beginning of one."""
    if len(begun) < SHORTEST or len(begun) >= _WHOLE or backend.load([begun]):
        return begun
    found = backend.find(begun)
    if len(found) > 1:
        raise usage(
            f"{begun!r} could be {len(found)} tasks or more",
            f"such as {', '.join(sorted(found)[:3])}",
        )
    if not found:
        raise CommandError(f"no result of a task whose id begins with {begun!r}",
                           "in full it could be waited for", code="pending")  # fmt: skip
    return str(found[0])


def _task(app: App, name: str) -> App:
    """Return the task of that name, whose backend is asked."""
    app.import_default_modules()
    found = app.tasks.get(name)
    if found is None:
        near = difflib.get_close_matches(name, app.tasks, 1)
        raise usage(f"no task {name!r} in this app", f"did you mean: -t {near[0]}" if near else "")
    return found  # type: ignore[no-any-return]


command = Command(
    "result",
    callback=_result,
    params=[
        click.Argument(["task_id"], metavar="ID"),
        Option(
            ["--timeout"],
            type=click.FloatRange(min=0),
            metavar="SECONDS",
            help="wait no longer, then exit 124 (default: wait until it has ended)",
        ),
        Option(["--traceback"], is_flag=True, help="print the traceback of a failed task instead"),
        Option(["-t", "--task"], metavar="NAME", help="task whose own result backend to ask"),
    ],
    help="Print what a task returned; wait for it. A failed task exits 1.",
    examples=(
        "taskctl -A proj result 8f0c1a2b-3f6e-4b0e-9a53-0d4f2f7b7a10",
        "taskctl -A proj result 8f0c1a2b-3f6e-4b0e-9a53-0d4f2f7b7a10 --timeout 10",
    ),
)
