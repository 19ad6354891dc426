"""Crontabs beside two libraries that know nothing of ours, over decades of random moments."""

from __future__ import annotations

import functools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter
from cronsim import CronSim
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from taskctl import App
from taskctl.schedules import crontab

from .test_crontab import ZONES

DAY = timedelta(days=1)
#: CronSim 2.8 never ends where a clock is set back over midnight, as in St. John's until 2011.
SHARED_ZONES = [zone for zone in ZONES if zone != "America/St_Johns"]


def field(low: int, high: int) -> st.SearchStrategy[str]:
    """Return one field as both write it."""
    number = st.integers(low, high)
    ends = st.lists(number, min_size=2, max_size=2, unique=True).map(sorted)
    span = ends.map(lambda ends: f"{ends[0]}-{ends[1]}")
    parts = st.one_of(
        number.map(str),
        span,
        st.tuples(span, st.integers(1, 9)).map(lambda part: f"{part[0]}/{part[1]}"),
        st.integers(2, 30).map(lambda step: f"*/{step}"),
    )
    return st.one_of(st.just("*"), st.lists(parts, min_size=1, max_size=3).map(",".join))


@st.composite
def lines(draw: st.DrawFn) -> str:
    """Return a line of cron; where both days are given cron takes either, and we take both."""
    minute, hour = draw(field(0, 59)), draw(field(0, 23))
    month = draw(field(1, 12))
    if draw(st.booleans()):
        return f"{minute} {hour} * {month} {draw(field(0, 6))}"
    return f"{minute} {hour} {draw(field(1, 28))} {month} *"


@functools.cache
def app_of(zone: str) -> App:
    return App("cron", timezone=zone, set_as_current=False)


def after(line: str, zone: str, last: datetime) -> datetime:
    """Return the first run after `last` as we see it."""
    cron = crontab.from_string(line)
    cron.app = app_of(zone)
    found = cron.due_after(last)
    assert found is not None
    return found


moments = st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1), timezones=st.just(UTC))


@settings(max_examples=150, deadline=None)
@given(lines(), moments)
def test_in_utc_every_run_is_the_one_both_libraries_find(line: str, last: datetime) -> None:
    ours, theirs = last, CronSim(line, last)
    others = croniter(line, last)

    for _ in range(3):
        ours = after(line, "UTC", ours)
        assert ours == next(theirs) == others.get_next(datetime)


@settings(max_examples=150, deadline=None)
@given(lines(), st.sampled_from(SHARED_ZONES), moments)
def test_in_every_zone_runs_are_the_same_where_no_clock_is_set(
    line: str, name: str, last: datetime
) -> None:
    """Days on which a clock is set have tests of their own, since libraries differ there."""
    zone = ZoneInfo(name)

    ours = after(line, name, last)

    theirs = next(CronSim(line, last.astimezone(zone)))
    near = (last - DAY, last, last + DAY, ours - DAY, ours, ours + DAY, theirs - DAY, theirs + DAY)
    offsets = {moment.astimezone(zone).utcoffset() for moment in near}
    assume(len(offsets) == 1 or ours - last > 10 * DAY)
    if len({(ours + n * DAY).astimezone(zone).utcoffset() for n in (-1, 0, 1)}) == 1:
        assert ours == theirs


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Sydney"]))
def test_across_the_days_on_which_clocks_are_set_each_hour_has_its_runs(
    data: st.DataObject, name: str
) -> None:
    """Where every hour runs, both count hours that pass: none is left out, and none is doubled."""
    zone = ZoneInfo(name)
    line = f"{data.draw(field(0, 59))} * * * *"
    year = data.draw(st.integers(2000, 2037))
    month = data.draw(st.sampled_from([3, 4, 10, 11]))
    last = datetime(year, month, data.draw(st.integers(1, 28)), tzinfo=zone).astimezone(UTC)
    theirs = CronSim(line, last.astimezone(zone))

    moment = last
    for _ in range(40):
        moment = after(line, name, moment)
        assert moment == next(theirs)
