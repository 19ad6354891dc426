"""The scheduler sends what is due, once, in the order in which it is due."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from taskctl import signals
from taskctl.beat import BeatLazyFunc, ScheduleEntry, Scheduler
from taskctl.core.errors import ImproperlyConfigured
from taskctl.schedules import BaseSchedule, crontab, schedstate

from .conftest import Clock, MakeApp, sent

EVERY_10 = {"task": "proj.mail", "schedule": 10.0}


def beaten(make_app: MakeApp, entries: dict[str, Any], **settings: Any) -> Scheduler:
    return Scheduler(make_app(beat_schedule=entries, **settings))


def run_all(scheduler: Scheduler) -> float:
    """Tick until nothing is due; return how long nothing will be."""
    while (wait := scheduler.tick()) <= 0:
        continue
    return wait


def test_an_entry_is_sent_when_it_is_due_and_not_before(make_app: MakeApp, clock: Clock) -> None:
    scheduler = beaten(make_app, {"mail": EVERY_10})

    assert run_all(scheduler) == pytest.approx(10.0)
    assert sent(scheduler.app) == []

    clock.pass_by(10)

    assert run_all(scheduler) == pytest.approx(10.0)
    (message,) = sent(scheduler.app)
    assert message["task"] == "proj.mail"
    assert message["headers"]["celery_beat_task"] is True


def test_all_fields_of_an_entry_reach_the_message(make_app: MakeApp, clock: Clock) -> None:
    entry = {
        "task": "proj.mail",
        "schedule": timedelta(seconds=10),
        "args": ("a@b.c",),
        "kwargs": {"size": 3, "now": BeatLazyFunc(lambda: 42)},
        "options": {"queue": "celery", "expires": 60, "headers": {"own": 1}},
    }
    scheduler = beaten(make_app, {"mail": entry})
    clock.pass_by(10)

    run_all(scheduler)

    (message,) = sent(scheduler.app)
    assert (message["args"], message["kwargs"]) == (["a@b.c"], {"size": 3, "now": 42})
    assert message["headers"]["expires"] is not None
    assert message["headers"]["own"] == 1
    assert entry["options"] == {"queue": "celery", "expires": 60, "headers": {"own": 1}}


def test_a_known_task_is_sent_with_its_own_options(make_app: MakeApp, clock: Clock) -> None:
    app = make_app()

    @app.task(name="proj.known", priority=3, time_limit=9)
    def known(x: int) -> int:
        return x

    app.conf.beat_schedule = {"known": {"task": known, "schedule": 10, "args": [1]}}
    scheduler = Scheduler(app)
    clock.pass_by(10)

    run_all(scheduler)

    assert sent(app)[0]["headers"]["timelimit"] == [9, None]


def test_what_is_due_first_goes_first_and_late_runs_go_once(
    make_app: MakeApp, clock: Clock
) -> None:
    entries = {name: {"task": name, "schedule": wait} for name, wait in (("b", 20), ("a", 10))}
    scheduler = beaten(make_app, entries)
    run_all(scheduler)
    clock.pass_by(65)

    run_all(scheduler)

    assert [message["task"] for message in sent(scheduler.app)] == ["a", "b"]


def test_no_sleep_is_longer_than_the_longest_that_is_wanted(make_app: MakeApp) -> None:
    hourly = {"mail": {"task": "proj.mail", "schedule": 3600}}

    assert run_all(beaten(make_app, hourly)) == 300
    assert run_all(beaten(make_app, hourly, beat_max_loop_interval=7)) == 7
    assert run_all(beaten(make_app, {})) == 300


class Moody(BaseSchedule):
    """Cannot tell when it is due."""

    def is_due(self, last_run_at: Any) -> schedstate:
        raise ValueError("not today")


def test_an_entry_that_cannot_tell_when_it_is_due_stops_no_other(
    make_app: MakeApp, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    entries = {"moody": {"task": "proj.moody", "schedule": Moody()}, "mail": EVERY_10}
    scheduler = beaten(make_app, entries)
    clock.pass_by(10)

    run_all(scheduler)

    assert [message["task"] for message in sent(scheduler.app)] == ["proj.mail"]
    assert "cannot tell when 'moody' is due; asking again in 300 s" in caplog.text


def test_arguments_that_cannot_be_written_cost_that_run_alone(
    make_app: MakeApp, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = beaten(make_app, {"odd": {**EVERY_10, "args": (object(),)}, "mail": EVERY_10})
    clock.pass_by(10)

    assert run_all(scheduler) == pytest.approx(10.0)

    assert len(sent(scheduler.app)) == 1
    assert "cannot send odd (proj.mail): " in caplog.text


def test_while_the_broker_is_away_what_is_due_is_kept_and_sent_once(
    make_app: MakeApp, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = beaten(make_app, {"mail": EVERY_10}, broker_url="redis://127.0.0.1:1/0")
    clock.pass_by(10)

    first = run_all(scheduler)
    at_once = run_all(scheduler)
    clock.pass_by(100)
    scheduler._away_until = 0.0
    second = run_all(scheduler)

    assert (first, second) == (1.0, 2.0)
    assert 0 < at_once <= 1.0
    assert "trying again in 1 s, what is due then is sent once" in caplog.text

    scheduler._away_until = 0.0
    url = f"sqlite:///{tmp_path}/queue.db"
    scheduler.app.conf.update(broker_url=url, broker_write_url=url)
    run_all(scheduler)

    assert len(sent(scheduler.app)) == 1
    assert "the broker is back" in caplog.text


def test_a_send_in_doubt_is_repeated_under_the_same_id(
    make_app: MakeApp, clock: Clock, tmp_path: Path
) -> None:
    scheduler = beaten(make_app, {"mail": EVERY_10}, broker_url="redis://127.0.0.1:1/0")
    clock.pass_by(10)
    tried: list[str] = []

    def note(headers: dict[str, Any], **_: Any) -> None:
        tried.append(headers["id"])

    signals.before_task_publish.connect(note)
    run_all(scheduler)
    scheduler._away_until = 0.0
    run_all(scheduler)
    signals.before_task_publish.disconnect(note)

    assert len(tried) == 2 and len(set(tried)) == 1


def test_an_entry_added_while_it_runs_is_heeded(make_app: MakeApp, clock: Clock) -> None:
    scheduler = beaten(make_app, {"mail": EVERY_10})
    run_all(scheduler)

    scheduler.add(name="more", task="proj.more", schedule=5)
    clock.pass_by(5)
    run_all(scheduler)

    assert [message["task"] for message in sent(scheduler.app)] == ["proj.more"]


class Rota(Scheduler):
    """A scheduler of one's own, whose entries come from elsewhere and change."""

    max_interval = 5

    def setup_schedule(self) -> None:
        self.install_default_entries(self.data)
        self.rows = {"one": {"task": "proj.one", "schedule": 10}}

    @property
    def schedule(self) -> Any:
        wanted = {
            name: self.Entry(name=name, app=self.app, **row) for name, row in self.rows.items()
        }
        for name, entry in wanted.items():
            self.data.setdefault(name, entry)
        return self.data


def test_a_scheduler_of_ones_own_needs_little(make_app: MakeApp, clock: Clock) -> None:
    scheduler = Rota(make_app())
    assert run_all(scheduler) == 5

    scheduler.rows["two"] = {"task": "proj.two", "schedule": 3}
    run_all(scheduler)
    clock.pass_by(4)
    run_all(scheduler)

    assert [message["task"] for message in sent(scheduler.app)] == ["proj.two"]


@pytest.mark.parametrize(("back", "waits"), [(7200, 12600), (86400, 1800)])
def test_a_clock_set_back_far_does_not_silence_a_crontab(
    make_app: MakeApp, clock: Clock, back: int, waits: int
) -> None:
    clock.pass_by(-30)
    scheduler = beaten(
        make_app, {"hourly": {"task": "a", "schedule": crontab("30")}}, beat_max_loop_interval=1e6
    )
    clock.pass_by(1800)
    run_all(scheduler)
    assert len(sent(scheduler.app)) == 1

    clock.pass_by(-back - 1800)
    scheduler.clock_was_set()

    # As cron does: a small correction repeats nothing, after a large one all begins anew.
    assert run_all(scheduler) == pytest.approx(waits)


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        (EVERY_10 | {"task": None}, "beat_schedule['x']: 'task' must be the name of a task, got N"),
        ({"task": "a"}, "beat_schedule['x']: 'schedule' is missing: seconds, a timedelta or"),
        ({"task": "a", "schedule": "often"}, "a schedule must be seconds, a timedelta,"),
        ({"task": "a", "schedule": 0}, "beat_schedule['x']: an interval must be above 0 s"),
        (EVERY_10 | {"arg": (1,)}, "beat_schedule['x']: no field 'arg': args?"),
        (EVERY_10 | {"args": "abc"}, "'args' must be a list or tuple, got 'abc'"),
        (EVERY_10 | {"kwargs": [1]}, "'kwargs' must be a dict, got [1]"),
        (EVERY_10 | {"options": 5}, "'options' must be a dict, got 5"),
        ("proj.mail", "beat_schedule['x']: a dict is expected, got 'proj.mail'"),
    ],
)
def test_an_entry_that_makes_no_sense_is_named(make_app: MakeApp, entry: Any, error: str) -> None:
    with pytest.raises(ImproperlyConfigured) as raised:
        beaten(make_app, {"x": entry})

    assert error in str(raised.value)


def test_entries_may_be_made_beforehand(make_app: MakeApp) -> None:
    app = make_app()
    entry = ScheduleEntry("x", "proj.x", schedule=5, app=app)
    app.conf.beat_schedule = {"x": entry}

    assert Scheduler(app).schedule["x"] is entry
    assert repr(entry) == "<ScheduleEntry: x proj.x() <freq: 5 s>>"


# -- add_periodic_task


@pytest.fixture
def adding(make_app: MakeApp) -> Iterator[tuple[Any, Any]]:
    app = make_app(beat_schedule={"there": EVERY_10})

    @app.task(name="proj.add")
    def add(x: int, y: int) -> int:
        return x + y

    yield app, add


def test_periodic_tasks_are_added_before_and_after_the_settings_are_read(adding: Any) -> None:
    app, add = adding
    early = app.add_periodic_task(10, app.signature("proj.add", (1, 2)), expires=5)

    @app.on_after_configure.connect
    def set_up(sender: Any, **_: Any) -> None:
        sender.add_periodic_task(crontab(), add, (3,), {"y": 4}, name="late")

    assert early == "proj.add(1, 2)"
    assert app.conf.beat_schedule == {
        "there": EVERY_10,
        "proj.add(1, 2)": {
            "task": "proj.add",
            "schedule": 10,
            "args": (1, 2),
            "kwargs": {},
            "options": {"expires": 5},
        },
        "late": {
            "task": "proj.add",
            "schedule": crontab(),
            "args": (3,),
            "kwargs": {"y": 4},
            "options": {},
        },
    }


def test_periodic_tasks_are_added_when_all_tasks_are_known(adding: Any) -> None:
    app, _ = adding

    @app.on_after_finalize.connect
    def set_up(sender: Any, **_: Any) -> None:
        sender.add_periodic_task(10, sender.tasks["proj.add"].s(1, 1), name="named")

    app.finalize()

    assert "named" in Scheduler(app).schedule


def test_two_calls_that_are_alike_are_one_entry_and_it_says_so(
    adding: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app, add = adding
    app.finalize()

    app.add_periodic_task(10, add.s(1, 1))
    app.add_periodic_task(20, add.s(1, 1))

    assert app.conf.beat_schedule["proj.add(1, 1)"]["schedule"] == 20
    assert "periodic task proj.add(1, 1) is there already" in caplog.text


def test_the_default_level_says_which_task_was_sent(
    make_app: MakeApp, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = beaten(make_app, {"mail": EVERY_10})
    clock.pass_by(10)

    with caplog.at_level(logging.INFO, "taskctl.beat"):
        run_all(scheduler)

    (message,) = sent(scheduler.app)
    assert f"due task mail: proj.mail ({message['headers']['id']})" in caplog.messages
