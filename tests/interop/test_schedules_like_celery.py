"""Schedules answer as Celery 5.7's do, on clocks that nobody sets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import celery.schedules
from celery import Celery
from hypothesis import given, settings
from hypothesis import strategies as st

from taskctl import App, schedules

THEIRS = Celery("theirs", set_as_current=False)
OURS = App("ours", set_as_current=False)


def fields(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[Any]:
    number = st.integers(low, high)
    part = st.one_of(
        number.map(str),
        st.builds("{}-{}".format, number, number),
        st.builds("{}-{}/{}".format, number, number, st.integers(1, 9)),
        st.integers(1, 9).map("*/{}".format),
        st.sampled_from(names) if names else st.just("*"),
    )
    text = st.lists(part, min_size=1, max_size=3).map(",".join)
    return st.one_of(st.just("*"), number, st.lists(number, min_size=1, max_size=3), text)


crons = st.tuples(
    fields(0, 59),
    fields(0, 23),
    fields(0, 6, ("mon", "Sunday", "tue-fri", "sat-mon/2")),
    fields(1, 28),
    fields(1, 12, ("jan", "October", "nov-feb")),
)
moments = st.datetimes(datetime(2023, 1, 1), datetime(2032, 1, 1), timezones=st.just(UTC))
#: Never due at the very moment: there Celery's arithmetic depends on what it did before.
spans = st.timedeltas(timedelta(seconds=1), timedelta(days=40))


@settings(max_examples=300, deadline=None)
@given(crons, moments, spans, st.none() | st.integers(1, 100_000))
def test_crontabs_answer_as_celerys(
    cron: Any, last: datetime, since: timedelta, deadline: int | None
) -> None:
    now = last + since
    THEIRS.conf.beat_cron_starting_deadline = deadline
    OURS.conf.beat_cron_starting_deadline = deadline
    theirs = celery.schedules.crontab(*cron, nowfun=lambda: now, app=THEIRS)
    ours = schedules.crontab(*cron, nowfun=lambda: now, app=OURS)

    assert ours.remaining_estimate(last) == theirs.remaining_estimate(last)
    assert tuple(ours.is_due(last)) == tuple(theirs.is_due(last))
    assert repr(ours) == repr(theirs)


@settings(max_examples=200, deadline=None)
@given(st.timedeltas(timedelta(seconds=1), timedelta(days=9)), moments, spans, st.booleans())
def test_intervals_wait_as_long_as_celerys(
    interval: timedelta, last: datetime, since: timedelta, relative: bool
) -> None:
    now = last + since
    theirs = celery.schedules.schedule(interval, relative, lambda: now, THEIRS)
    ours = schedules.schedule(interval, relative, lambda: now, OURS)

    assert ours.remaining_estimate(last) == theirs.remaining_estimate(last)
    assert ours.is_due(last).is_due == theirs.is_due(last).is_due
