"""Beat as it runs: in this process, and as a child of a worker."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taskctl import signals
from taskctl.beat import EmbeddedBeat, PersistentScheduler, Scheduler, Service
from taskctl.core import process
from taskctl.core.beat.service import find_scheduler
from taskctl.core.errors import ImproperlyConfigured

from ..support.waiting import eventually
from .conftest import Clock, MakeApp, sent

OFTEN = {"mail": {"task": "proj.mail", "schedule": 0.02}}


class RealTime(Clock):
    """The clock of everybody else."""

    @property
    def now(self) -> Any:
        return datetime.now(UTC)

    @now.setter
    def now(self, value: Any) -> None:
        """It cannot be set."""


@pytest.fixture
def clock() -> Clock:
    return RealTime()


@pytest.fixture
def running() -> Iterator[Any]:
    """Runs services in threads; they are stopped when the test ends."""
    services: list[tuple[Service, threading.Thread]] = []

    def run(service: Service) -> threading.Thread:
        thread = threading.Thread(target=service.start)
        services.append((service, thread))
        thread.start()
        return thread

    yield run
    for service, thread in services:
        service.stop()
        thread.join(10)


def test_a_service_sends_until_it_is_stopped(make_app: MakeApp, running: Any) -> None:
    service = Service(make_app(beat_schedule=OFTEN))
    begun: list[Any] = []
    signals.beat_init.connect(lambda sender, **_: begun.append(sender), weak=False, sender=service)

    thread = running(service)
    eventually(lambda: service.scheduler.schedule["mail"].total_run_count >= 3)
    service.stop()
    thread.join(5)

    assert not thread.is_alive()
    assert begun == [service]
    assert len(sent(service.app)) >= 3


def test_a_clock_that_is_set_is_noticed(
    make_app: MakeApp, caplog: pytest.LogCaptureFixture
) -> None:
    service = Service(make_app(beat_schedule={}))
    scheduler = service.scheduler
    scheduler.next_due()

    service._clock -= 3600  # as if the wall clock had gone ahead
    service._look_at_clock(scheduler)
    service._clock += 3600
    service._look_at_clock(scheduler)
    scheduler.close()

    assert "the clock went ahead by 1:00:00; what is due is sent once" in caplog.text
    assert "the clock was set back by 1:00:00" in caplog.text
    assert scheduler._heap is None


@pytest.mark.parametrize("broker", ["sqlite", "redis"])
def test_beat_answers_ping_if_it_is_told_to(
    make_app: MakeApp, running: Any, broker: str, request: pytest.FixtureRequest
) -> None:
    url = {} if broker == "sqlite" else {"broker_url": request.getfixturevalue("redis_url")}
    app = make_app(beat_schedule={}, **url)
    running(Service(app, remote_control=True, hostname="celerybeat@here"))

    replies = eventually(
        lambda: app.control.ping(destination=["celerybeat@here"], timeout=0.3), within=10
    )

    assert replies == [{"celerybeat@here": {"ok": "pong"}}]


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("celery.beat:PersistentScheduler", PersistentScheduler),
        ("celery.beat.Scheduler", Scheduler),
        ("taskctl.beat:Scheduler", Scheduler),
        ("taskctl.core.beat.PersistentScheduler", PersistentScheduler),
        (Scheduler, Scheduler),
    ],
)
def test_schedulers_are_known_by_their_paths(spec: Any, found: type) -> None:
    assert find_scheduler(spec) is found


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ("nowhere.Scheduler", "beat_scheduler 'nowhere.Scheduler': No module named 'nowhere'"),
        ("os.path:join", "is no scheduler: derive it from taskctl.beat.Scheduler"),
        (dict, "is no scheduler: derive it from taskctl.beat.Scheduler"),
    ],
)
def test_what_is_no_scheduler_is_refused(spec: Any, error: str) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        find_scheduler(spec)

    assert error in str(raised.value)


# -- as a child


PARENT = """\
import sys, time
from taskctl import App
from taskctl.beat import EmbeddedBeat
app = App("k", broker="sqlite:///queue.db", set_as_current=False,
          beat_schedule={"mail": {"task": "proj.mail", "schedule": 0.02}})
beat = EmbeddedBeat(app)
beat._delay = 0.05
beat.start()
print(beat.pid, flush=True)
said = beat.pid
while True:
    beat.tend(time.monotonic())
    if beat.pid not in (None, said):
        said = beat.pid
        print(said, flush=True)
    time.sleep(0.005)
"""


@pytest.fixture
def parent(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process with a beat as its child, whose pid it prints."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    yield parent
    parent.kill()
    parent.wait()
    assert parent.stdout is not None
    parent.stdout.close()


def _next_pid(parent: subprocess.Popen[str]) -> tuple[int, str]:
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    born = process.birth(pid)
    assert born is not None
    return pid, born


def test_an_embedded_beat_that_dies_is_started_again(parent: subprocess.Popen[str]) -> None:
    pid, born = _next_pid(parent)

    os.kill(pid, signal.SIGKILL)
    again, _ = _next_pid(parent)

    assert again != pid
    assert not process.is_alive(pid, born)


def test_an_embedded_beat_dies_with_its_worker(parent: subprocess.Popen[str]) -> None:
    pid, born = _next_pid(parent)

    parent.send_signal(signal.SIGKILL)

    eventually(lambda: not process.is_alive(pid, born), within=3)


def test_an_embedded_beat_ends_when_it_is_told_to(make_app: MakeApp) -> None:
    app = make_app(beat_schedule=OFTEN)
    beat = EmbeddedBeat(app, schedule=app.conf.beat_schedule_filename + "2")
    beat.start()
    assert beat.is_alive()
    eventually(lambda: app.count_waiting(["celery"])["celery"] > 2)

    began = time.monotonic()
    beat.stop()

    assert not beat.is_alive()
    assert time.monotonic() - began < 2
    assert Path(app.conf.beat_schedule_filename + "2.sqlite").exists()


def test_an_embedded_beat_that_cannot_be_is_refused_in_the_worker(make_app: MakeApp) -> None:
    with pytest.raises(ImproperlyConfigured):
        EmbeddedBeat(make_app(), scheduler="no.such.thing")
    with pytest.raises(ImproperlyConfigured, match="'schedule' is missing"):
        EmbeddedBeat(make_app(beat_schedule={"x": {"task": "a"}}))
