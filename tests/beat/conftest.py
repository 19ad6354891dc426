"""A clock that is set by hand, and apps that live by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from taskctl import App
from taskctl.core.wire.message import decode_envelope


class Clock:
    """What time it is, for the apps of one test."""

    def __init__(self) -> None:
        self.now = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Timed(App):
    """An app that asks a Clock."""

    clock_of_test: Clock

    def now(self) -> datetime:
        return self.clock_of_test.now.astimezone(self.timezone)


MakeApp = Callable[..., App]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def make_app(clock: Clock, tmp_path: Path) -> Iterator[MakeApp]:
    """Makes apps on one SQLite broker; settings by keyword."""
    made: list[App] = []

    def make(**settings: Any) -> App:
        settings.setdefault("broker_url", f"sqlite:///{tmp_path}/queue.db")
        settings.setdefault("beat_schedule_filename", str(tmp_path / "celerybeat-schedule"))
        app = Timed("beaten", set_as_current=False, **settings)
        app.clock_of_test = clock
        made.append(app)
        return app

    yield make
    for app in made:
        app.close()


def sent(app: App) -> list[dict[str, Any]]:
    """Take what waits in the queue; return name, args, kwargs and headers of each message."""
    found = []
    for envelope in app.shared_connection().broker.take("celery"):
        message = decode_envelope(envelope)
        args, kwargs, _ = json.loads(message.body)
        headers = message.headers
        found.append({"task": headers["task"], "args": args, "kwargs": kwargs, "headers": headers})
    return found
