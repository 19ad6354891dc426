"""Schedules answer `is_due` as Celery's users know it."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl import App
from taskctl.core.clock import local_zone
from taskctl.core.errors import ImproperlyConfigured
from taskctl.schedules import crontab, maybe_schedule, schedstate, schedule, solar

NOON = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


def app(**settings: Any) -> App:
    return App("when", set_as_current=False, **settings)


def at(moment: datetime, made: Any, **settings: Any) -> Any:
    """Return the schedule as it is at a moment."""
    made.app, made.nowfun = app(**settings), lambda: moment
    return made


def test_an_interval_is_due_when_it_is_over() -> None:
    every = at(NOON, schedule(10))

    assert every.is_due(NOON - timedelta(seconds=4)) == schedstate(False, 6.0)
    assert every.is_due(NOON - timedelta(seconds=10)) == (True, 10.0)
    assert every.is_due(NOON - timedelta(hours=1)) == (True, 10.0)


def test_a_run_that_is_a_little_late_does_not_delay_the_next() -> None:
    every = at(NOON, schedule(10))
    last = NOON - timedelta(seconds=10.5)

    assert every.is_due(last) == (True, 9.5)
    assert every.run_counts_for(last) == NOON - timedelta(seconds=0.5)


def test_a_run_that_is_very_late_begins_a_new_rhythm() -> None:
    every = at(NOON, schedule(10))

    assert every.run_counts_for(NOON - timedelta(seconds=15)) == NOON


def test_after_the_clock_was_set_back_an_interval_waits_once() -> None:
    every = at(NOON, schedule(10))

    assert every.is_due(NOON + timedelta(days=1)) == (False, 10.0)


@pytest.mark.parametrize(
    ("interval", "last", "expected"),
    [
        (timedelta(hours=1), "2026-06-01T10:23:10+02:00", "2026-06-01T11:00+02:00"),
        (timedelta(minutes=5), "2026-06-01T10:23:10+02:00", "2026-06-01T10:28+02:00"),
        (timedelta(seconds=5), "2026-06-01T10:23:10.700+02:00", "2026-06-01T10:23:15+02:00"),
        (timedelta(days=1), "2026-06-01T10:23:10+02:00", "2026-06-02T00:00+02:00"),
        # These days have 23 and 25 hours.
        (timedelta(days=1), "2026-03-28T23:30+01:00", "2026-03-29T00:00+01:00"),
        (timedelta(days=1), "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"),
        (timedelta(days=1), "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"),
    ],
)
def test_relative_intervals_lie_on_the_clock(interval: timedelta, last: str, expected: str) -> None:
    moment = datetime.fromisoformat(last)
    every = at(moment, schedule(interval, relative=True), timezone="Europe/Berlin")

    assert moment + every.remaining_estimate(moment) == datetime.fromisoformat(expected)


@given(
    st.timedeltas(timedelta(milliseconds=1), timedelta(days=40)),
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.booleans(),
    st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe"]),
)
def test_the_next_run_of_an_interval_is_always_ahead(
    interval: timedelta, moment: datetime, relative: bool, zone: str
) -> None:
    every = at(moment, schedule(interval, relative), timezone=zone)

    remaining = every.remaining_estimate(moment)

    assert timedelta(0) < remaining <= interval + timedelta(hours=1)


def test_a_crontab_is_due_once_for_all_runs_that_were_missed() -> None:
    cron = at(NOON, crontab(0))

    assert cron.is_due(NOON - timedelta(hours=5)) == (True, 3570.0)
    assert cron.is_due(NOON) == (False, 3570.0)


def test_a_run_missed_by_more_than_the_deadline_is_left_out() -> None:
    hourly, last = crontab(0), NOON - timedelta(hours=5)

    assert at(NOON, hourly, beat_cron_starting_deadline=29).is_due(last) == (False, 3570.0)
    assert at(NOON, hourly, beat_cron_starting_deadline=30).is_due(last) == (True, 3570.0)


def test_a_naive_time_is_utc() -> None:
    cron = at(NOON.replace(tzinfo=None), crontab(0, 14), timezone="Europe/Berlin")

    assert cron.is_due(NOON.replace(tzinfo=None)) == (False, 86370.0)


def test_without_utc_the_zone_of_the_machine_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    cron = at(NOON, crontab(0, 9), enable_utc=False)

    assert local_zone() == ZoneInfo("America/New_York")
    assert NOON + cron.remaining_estimate(NOON) == datetime(2026, 6, 1, 13, tzinfo=UTC)


@pytest.mark.parametrize("given", [30, 30.0, timedelta(seconds=30)])
def test_numbers_and_timedeltas_become_intervals(given: Any) -> None:
    made = maybe_schedule(given, relative=True, app=app())

    assert (made.run_every, made.relative) == (timedelta(seconds=30), True)


def test_a_schedule_is_taken_as_it_is_and_belongs_to_the_app() -> None:
    cron, owner = crontab(), app()

    assert maybe_schedule(cron, app=owner) is cron
    assert cron.app is owner
    assert maybe_schedule(None) is None


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("0 4 * * *", "got '0 4 * * *': crontab.from_string('0 4 * * *')?"),
        (
            "often",
            "a schedule must be seconds, a timedelta, schedule(), crontab(), solar() or clocked()",
        ),
        (True, "got True"),
    ],
)
def test_what_is_no_schedule_is_refused(given: Any, error: str) -> None:
    with pytest.raises(TypeError) as raised:
        maybe_schedule(given)

    assert error in str(raised.value)


@pytest.mark.parametrize("given", [0, -1, timedelta(0)])
def test_an_interval_of_nothing_would_flood_the_broker(given: Any) -> None:
    with pytest.raises(ValueError, match="an interval must be above 0 s"):
        schedule(given)


def test_the_sun_sets_in_the_evening() -> None:
    sunset = at(NOON, solar("sunset", 52.5, 13.4))

    when = NOON + sunset.remaining_estimate(NOON)

    assert (
        datetime(2026, 6, 1, 19, 10, tzinfo=UTC) < when < datetime(2026, 6, 1, 19, 30, tzinfo=UTC)
    )
    assert sunset.is_due(NOON - timedelta(days=2)).is_due


def test_where_the_sun_does_not_set_the_day_counts_on_which_it_does() -> None:
    tromso = at(NOON, solar("sunset", 69.6, 18.9))

    when = NOON + tromso.remaining_estimate(NOON)

    assert datetime(2026, 7, 15, tzinfo=UTC) < when < datetime(2026, 8, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("moonrise", 0, 0), "no solar event 'moonrise': choose dawn_astronomical"),
        (("sunset", 91, 0), "latitude must be -90 to 90, got 91"),
        (("sunset", 0, -181), "longitude must be -180 to 180, got -181"),
    ],
)
def test_an_event_or_place_that_is_not_there_is_refused(arguments: Any, error: str) -> None:
    with pytest.raises(ValueError) as raised:
        solar(*arguments)

    assert str(raised.value).startswith(error)


def test_without_ephem_the_sun_is_refused_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ephem", None)

    with pytest.raises(ImproperlyConfigured, match=r"pip install 'taskctl\[solar\]'"):
        solar("sunset", 0, 0)


def test_the_faces_are_modules_that_load_no_more_than_they_must() -> None:
    script = (
        "import sys\n"
        "from taskctl.schedules import crontab; from taskctl.signals import worker_ready\n"
        "from taskctl.exceptions import Retry; import taskctl, taskctl.core\n"
        "print(taskctl.schedules.crontab is crontab, taskctl.exceptions.Retry is Retry)\n"
        "print(taskctl.core.signals.worker_ready is worker_ready)\n"
        "heavy = ('click', 'rich', 'redis', 'ephem', 'taskctl.core.pool', 'taskctl.core.beat')\n"
        "print([name for name in heavy if name in sys.modules])"
    )

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)

    assert said.stdout.split("\n") == ["True True", "True", "[]", ""], said.stderr
