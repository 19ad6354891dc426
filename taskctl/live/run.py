"""The live view from its start to its end: draws, reads keys, does what they ask for."""

from __future__ import annotations

import contextlib
import queue
import time
from typing import Any

from taskctl.core.app import App
from taskctl.failures import OK
from taskctl.remote import error_of
from taskctl.views.top import frame

from .gather import Gatherer, Order
from .model import Action, View
from .screen import Screen

#: Seconds a message stays below the picture.
_SHOWN = 5.0


def run_live(gatherer: Gatherer, view: View, *, colour: bool) -> int:
    """Show the live view until it is left; the gatherer has been started."""
    with Screen(colour=colour, say=gatherer.messages.put) as screen:
        picture, due, told = gatherer.picture(), 0.0, 0.0
        while True:
            now = time.monotonic()
            if now >= due:
                due = now + gatherer.interval
                fresh = gatherer.picture()
                if not view.paused:
                    picture = fresh
                    view.refresh(picture)
            with contextlib.suppress(queue.Empty):
                view.message, told = gatherer.messages.get_nowait(), now
            if view.message and told and now - told > _SHOWN:
                view.message, told = "", 0.0
            size = screen.size()
            screen.draw(frame(picture, view, *size), size)
            for key in screen.wait(min(due - time.monotonic(), 0.25)):
                action = view.press(key, picture)
                told = time.monotonic()
                if action is not None and action.what == "quit":
                    return OK
                if action is not None:
                    gatherer.order(order_for(gatherer.app, action, gatherer.timeout))


def order_for(app: App, action: Action, timeout: float) -> Order:
    """Return what does it, and says how it went."""
    if action.what == "enable":
        return lambda: _enable(app, timeout)
    row = action.row or {}
    terminate = action.what == "terminate"
    return lambda: _revoke(app, row, terminate, timeout)


def _enable(app: App, timeout: float) -> str:
    answer = app.control.cluster.ask("enable_events", timeout=timeout)
    count = len(answer.replies)
    if not count:
        return "no node answered: task events are as they were"
    return f"task events are on at {count} node{'s' if count != 1 else ''}"


def _revoke(app: App, row: dict[str, Any], terminate: bool, timeout: float) -> str:
    arguments = {"task_id": [row["id"]], "terminate": terminate, "signal": "SIGTERM"}
    answer = app.control.cluster.ask("revoke", arguments, timeout=timeout)
    name = f"{row['name']}[{str(row['id'])[:8]}]"
    if not answer.replies:
        return (
            f"no node answered: {name} is {'not killed' if terminate else 'revoked all the same'}"
        )
    refused = [text for reply in answer.replies if (text := error_of(reply.value)) is not None]
    if refused:
        return f"{name}: {refused[0]}"
    silent = f"; silent: {', '.join(answer.missing)}" if answer.missing else ""
    return f"{name} {'killed' if terminate else 'revoked'}{silent}"
