"""How a task ended, as data and as an exit code: for `result` and for `call --wait`."""

from __future__ import annotations

import math
from datetime import UTC
from typing import Any

from taskctl.complaints import tell
from taskctl.console import Console
from taskctl.core import states
from taskctl.core.app import App
from taskctl.core.redact import mask_text, mask_url
from taskctl.failures import CONFIG, FAILED, OK, CommandError
from taskctl.views.result import draw_outcome


def need_backend(app: App) -> None:
    """Refuse to wait for a result that nobody keeps."""
    if app.backend_url() is None:
        raise CommandError(
            f"no result backend: with broker {mask_url(app.broker_url())} results are kept only if"
            " result_backend is set",
            "set it in the app, or give --result-backend URL to workers and here",
            exit_code=CONFIG,
            code="settings",
        )


def wait(result: Any, seconds: float | None) -> None:
    """Wait until a task has ended; TimeoutError after `seconds`, None and infinity for ever."""
    endless = seconds is None or math.isinf(seconds)
    result.get(timeout=None if endless else seconds, propagate=False)


def report_outcome(console: Console, schema: str, result: Any) -> int:
    """Print what a task that has ended returned, or tell its error; return the exit code."""
    outcome = facts(result)
    ok = outcome["state"] == states.SUCCESS
    draw_outcome(console, schema, outcome, ok=ok)
    if ok:
        return OK
    error = outcome["error"] or {"type": outcome["state"], "message": ""}
    said = ": ".join(filter(None, (error["type"], error["message"])))
    name = f"{result.name}[{result.id}]" if result.name else f"task {result.id}"
    console.out.flush()
    tell(
        CommandError(
            f"{name} ended {outcome['state']}: {said}",
            f"where: taskctl result {result.id} --traceback" if outcome["traceback"] else "",
            exit_code=FAILED,
            code="task",
        )
    )
    return FAILED


def facts(result: Any) -> dict[str, Any]:
    """Return what is known of a task: one record of the native JSON."""
    state, value, done = result.state, result.result, result.date_done
    error = None
    if isinstance(value, BaseException):
        lines = str(value).strip().splitlines()
        error = {"type": type(value).__name__, "message": mask_text(" ".join(lines))}
    return {
        "id": result.id,
        "task": result.name,
        "state": state,
        "result": None if error else value,
        "error": error,
        "traceback": mask_text(result.traceback) if result.traceback else result.traceback,
        "done_at": None if done is None else _utc(done),
    }


def _utc(when: Any) -> str:
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return str(aware.astimezone(UTC).isoformat().replace("+00:00", "Z"))
