"""Runs that were missed: none, the last, or all of them are sent late."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskctl import App
from taskctl.beat import PersistentScheduler, Scheduler
from taskctl.core.beat.catchup import runs_due
from taskctl.core.errors import ImproperlyConfigured
from taskctl.schedules import BaseSchedule, clocked, crontab, schedstate, schedule

from .conftest import Clock, MakeApp, sent

START = datetime(2026, 6, 1, 12, 0, 30, tzinfo=UTC)


def run_all(scheduler: Scheduler) -> float:
    while (wait := scheduler.tick()) <= 0:
        continue
    return wait


def due(app: App) -> list[datetime]:
    return [datetime.fromisoformat(one["headers"]["beat_due"]) for one in sent(app)]


def entry(when: Any, **fields: Any) -> dict[str, Any]:
    return {"mail": {"task": "proj.mail", "schedule": when, **fields}}


def at(minute: int, hour: int = 12) -> datetime:
    return datetime(2026, 6, 1, hour, minute, tzinfo=UTC)


def test_by_default_the_last_of_many_missed_runs_is_sent(make_app: MakeApp, clock: Clock) -> None:
    scheduler = Scheduler(make_app(beat_schedule=entry(crontab("*/10"))))
    clock.pass_by(3600)

    run_all(scheduler)

    assert due(scheduler.app) == [at(0, 13)]


def test_all_missed_runs_are_sent_with_the_times_they_stand_for(
    make_app: MakeApp, clock: Clock
) -> None:
    scheduler = Scheduler(make_app(beat_schedule=entry(crontab("*/10"), catchup="all")))
    clock.pass_by(3600)

    wait = run_all(scheduler)

    assert due(scheduler.app) == [at(m) for m in (10, 20, 30, 40, 50)] + [at(0, 13)]
    assert wait == 300, "as long as it ever sleeps"
    assert scheduler.schedule["mail"].total_run_count == 6


def test_all_runs_of_an_interval_keep_its_rhythm(make_app: MakeApp, clock: Clock) -> None:
    scheduler = Scheduler(make_app(beat_schedule=entry(10.0), beat_catchup="all"))
    clock.pass_by(35)

    wait = run_all(scheduler)

    assert due(scheduler.app) == [START + timedelta(seconds=s) for s in (10, 20, 30)]
    assert wait == pytest.approx(5)


@pytest.mark.parametrize("when", [60.0, crontab()])
def test_of_all_only_the_newest_are_sent_up_to_the_limit(
    make_app: MakeApp, clock: Clock, when: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(beat_schedule=entry(when), beat_catchup="all", beat_catchup_limit=5)
    scheduler = Scheduler(app)
    clock.pass_by(30 * 24 * 3600)

    run_all(scheduler)

    runs = due(app)
    assert len(runs) == 5
    assert clock.now - runs[-1] < timedelta(minutes=1)
    assert {b - a for a, b in itertools.pairwise(runs)} == {timedelta(minutes=1)}
    assert caplog.text.count("mail missed more than 5 runs: the newest are sent") == 1


def test_with_none_a_missed_run_is_left_out_and_the_next_one_comes(
    make_app: MakeApp, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    scheduler = Scheduler(make_app(beat_schedule=entry(crontab(0), catchup="none")))
    clock.pass_by(2 * 3600 + 60)

    run_all(scheduler)

    assert sent(scheduler.app) == []
    assert scheduler.schedule["mail"].total_run_count == 0
    assert "mail was missed, and is left out: 2026-06-01 14:00:00+00:00" in caplog.text
    clock.pass_by(3600 - 60)
    run_all(scheduler)
    assert due(scheduler.app) == [at(0, 15)]


def test_a_run_that_is_a_little_late_is_not_missed(make_app: MakeApp, clock: Clock) -> None:
    scheduler = Scheduler(make_app(beat_schedule=entry(crontab(0), catchup="none")))
    clock.pass_by(3600 - 30 + 20)

    run_all(scheduler)

    assert due(scheduler.app) == [at(0, 13)]


def test_what_is_too_old_for_the_starting_deadline_is_not_caught_up(
    make_app: MakeApp, clock: Clock
) -> None:
    scheduler = Scheduler(
        make_app(
            beat_schedule=entry(crontab("*/10")),
            beat_catchup="all",
            beat_cron_starting_deadline=1500,
        )
    )
    clock.pass_by(3600)

    run_all(scheduler)

    assert due(scheduler.app) == [at(40), at(50), at(0, 13)]


def test_the_policy_is_an_option_of_add_periodic_task(make_app: MakeApp, clock: Clock) -> None:
    app = make_app()

    @app.task(name="proj.mail", shared=False)
    def mail() -> None: ...

    app.add_periodic_task(10, mail.s(), name="mail", catchup="all", expires=60)
    scheduler = Scheduler(app)
    clock.pass_by(30)
    run_all(scheduler)

    assert scheduler.schedule["mail"].options == {"expires": 60}
    assert len(sent(app)) == 3


def test_a_policy_that_does_not_exist_is_named(make_app: MakeApp) -> None:
    with pytest.raises(ImproperlyConfigured, match="'catchup' must be one of none, last, all"):
        Scheduler(make_app(beat_schedule=entry(10, catchup="some")))


def test_a_schedule_of_ones_own_that_tells_no_times_runs_once(
    make_app: MakeApp, clock: Clock
) -> None:
    class Mine(BaseSchedule):
        def is_due(self, last_run_at: datetime) -> schedstate:
            late = (self.now() - last_run_at).total_seconds()
            return schedstate(late >= 10, 10.0)

    scheduler = Scheduler(make_app(beat_schedule=entry(Mine()), beat_catchup="all"))
    clock.pass_by(100)

    run_all(scheduler)

    assert len(sent(scheduler.app)) == 1


# -- clocked


def test_a_moment_runs_once_and_never_again(make_app: MakeApp, clock: Clock) -> None:
    app = make_app(beat_schedule=entry(clocked(at(1))))
    first = PersistentScheduler(app)
    run_all(first)
    clock.pass_by(31)
    run_all(first)
    clock.pass_by(3600)
    run_all(first)
    first.close()
    second = PersistentScheduler(app)
    run_all(second)
    second.close()

    assert due(app) == [at(1)]


def test_a_moment_that_is_past_when_it_is_new_never_runs_and_a_missed_one_does(
    make_app: MakeApp, clock: Clock
) -> None:
    app = make_app(beat_schedule=entry(clocked(at(1))))
    PersistentScheduler(app).close()
    clock.pass_by(3600)
    late = PersistentScheduler(app)
    run_all(late)
    late.close()
    new = Scheduler(make_app(beat_schedule=entry(clocked(at(1)))))
    run_all(new)

    assert due(app) == [at(1)]


def test_a_moment_without_a_zone_is_the_apps(make_app: MakeApp, clock: Clock) -> None:
    when = clocked(datetime(2026, 6, 1, 14, 1))
    scheduler = Scheduler(make_app(beat_schedule=entry(when), timezone="Europe/Berlin"))

    assert scheduler.next_due().time == at(1).timestamp()  # type: ignore[union-attr]
    assert str(when) == "once at 2026-06-01 14:01:00"
    with pytest.raises(TypeError, match=r"clocked\(\) takes a datetime, got 'soon'"):
        clocked("soon")  # type: ignore[arg-type]


# -- which they are


@settings(deadline=None, max_examples=60)
@given(
    st.one_of(
        st.floats(300, 5000).map(schedule),
        st.sampled_from([crontab("*/7"), crontab(3, "*/5"), crontab(0, 0, "mon"), crontab(0, 0)]),
    ),
    st.integers(0, 40 * 24 * 3600),
    st.integers(1, 9),
)
def test_the_newest_runs_are_the_end_of_all_runs(when: Any, passed: int, limit: int) -> None:
    when.app = App("cron", set_as_current=False)
    now = START + timedelta(seconds=passed)
    walk: list[datetime] = []
    after: Callable[[datetime], datetime] = when.due_after
    last = max(START, now - timedelta(days=20)) if isinstance(when, crontab) else START
    following = after(last)
    while following <= now and len(walk) < 40_000:
        walk.append(following)
        following = after(following)

    found = runs_due(when, last, now, limit)

    if not walk:
        assert found is None
        return
    assert found is not None
    assert abs(found.oldest - walk[-limit:][0]) < timedelta(seconds=0.1)
    assert abs(found.newest - walk[-1]) < timedelta(seconds=0.1)
    assert found.cut == (len(walk) > limit)
