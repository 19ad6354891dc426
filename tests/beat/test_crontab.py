"""Crontabs, against a reckoner that walks minute by minute through every time there is."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from taskctl import App
from taskctl.schedules import ParseException, crontab, crontab_parser

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata",
    "America/St_Johns", "Pacific/Apia",
)  # fmt: skip
#: Near these, clocks are set in the zones above; Apia left out the whole 30 December 2011.
CHANGES = (
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
    datetime(2011, 12, 30, 10, tzinfo=UTC),
)
#: How far the reckoner looks.
WINDOW = 3 * DAY


def reckon(cron: crontab, zone: ZoneInfo, last: datetime) -> datetime | None:
    """Return the first run after `last`, walking; None if there is none within the window."""
    moment = last.replace(second=0, microsecond=0) - DAY
    runs = []
    while moment <= last + WINDOW:
        runs += [run for run in _runs_at(cron, zone, moment) if run > last]
        moment += MINUTE
    return min((run for run in runs if run <= last + WINDOW), default=None)


def _runs_at(cron: crontab, zone: ZoneInfo, moment: datetime) -> Iterator[datetime]:
    local, before = moment.astimezone(zone), (moment - MINUTE).astimezone(zone)
    if fits(cron, local) and (local.fold == 0 or cron.hour == set(range(24))):
        yield moment
    # What the clock leaves out when it is set ahead happens as if it had not been.
    left_out = before.replace(tzinfo=None) + MINUTE
    later = moment
    while left_out < local.replace(tzinfo=None):
        if fits(cron, left_out):
            yield later
        left_out, later = left_out + MINUTE, later + MINUTE


def fits(cron: crontab, wall: datetime) -> bool:
    return (
        wall.minute in cron.minute
        and wall.hour in cron.hour
        and wall.day in cron.day_of_month
        and wall.month in cron.month_of_year
        and wall.isoweekday() % 7 in cron.day_of_week
    )


def next_run(cron: crontab, zone: str, last: datetime) -> datetime:
    cron.app = App("cron", timezone=zone, set_as_current=False)
    cron.nowfun = lambda: last
    return last + cron.remaining_estimate(last)


def numbers(low: int, high: int) -> st.SearchStrategy[object]:
    """Return fields that are often everything, and often few numbers."""
    few = st.sets(st.integers(low, high), min_size=1, max_size=4).map(sorted)
    return st.one_of(st.just("*"), few, st.sampled_from(["*/2", "*/7", f"{high}-{low}", str(low)]))


def possible(*fields: object) -> crontab:
    """Return the crontab of these fields; a date that never comes is no example."""
    try:
        return crontab(*fields)  # type: ignore[arg-type]
    except ValueError:
        reject()


crons = st.builds(
    possible, numbers(0, 59), numbers(0, 23), numbers(0, 6), st.just("*") | numbers(1, 31),
    numbers(1, 12),
)  # fmt: skip
moments = st.one_of(
    st.datetimes(datetime(2011, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.builds(
        lambda change, seconds: change + timedelta(seconds=seconds),
        st.sampled_from(CHANGES),
        st.integers(-100_000, 100_000),
    ),
)


@settings(max_examples=120, deadline=None)
@given(crons, st.sampled_from(ZONES), moments)
def test_the_next_run_is_the_one_a_walk_through_all_minutes_finds(
    cron: crontab, zone: str, last: datetime
) -> None:
    found = next_run(cron, zone, last)

    expected = reckon(cron, ZoneInfo(zone), last)
    if expected is None:
        assert found > last + WINDOW
    else:
        assert found == expected


@settings(max_examples=200, deadline=None)
@given(crons, moments)
def test_far_ahead_it_is_a_minute_that_fits_and_no_day_before_it_does(
    cron: crontab, last: datetime
) -> None:
    found = next_run(cron, "UTC", last)

    assert fits(cron, found) and found > last and (found.second, found.microsecond) == (0, 0)
    day = last.date() + DAY
    while day < found.date():
        noon = datetime(day.year, day.month, day.day, min(cron.hour), min(cron.minute))
        assert not fits(cron, noon)
        day += DAY


@pytest.mark.parametrize(
    ("cron", "last", "runs"),
    [
        ((30, 2), "2026-03-28T12:00+01:00", ["2026-03-29T03:30+02:00", "2026-03-30T02:30+02:00"]),
        ((30, 2), "2026-10-24T12:00+02:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30+01:00"]),
        (
            ("*/30",),
            "2026-10-25T02:10+02:00",
            ["2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00", "2026-10-25T02:30+01:00"],
        ),
        (("*/30",), "2026-03-29T01:10+01:00", ["2026-03-29T01:30+01:00", "2026-03-29T03:00+02:00"]),
        ((0, 0, "mon", "1-7"), "2026-06-02T00:00+02:00", ["2026-07-06T00:00+02:00"]),
        ((0, 0, "mon", 29, "feb"), "2073-01-01T00:00+01:00", ["2112-02-29T00:00+01:00"]),
    ],
)
def test_clocks_that_are_set_neither_lose_nor_double_a_run(
    cron: tuple[object, ...], last: str, runs: list[str]
) -> None:
    moment, found = datetime.fromisoformat(last), []

    for _ in runs:
        moment = next_run(crontab(*cron), "Europe/Berlin", moment)  # type: ignore[arg-type]
        found.append(moment)

    assert found == [datetime.fromisoformat(run) for run in runs]


def spans(low: int, high: int) -> st.SearchStrategy[tuple[str, set[int]]]:
    """Return parts of a field as text, and what they stand for, counted in a circle."""

    def span(begin: int, end: int, step: int | None) -> tuple[str, set[int]]:
        walked, number = [begin], begin
        while number != end:
            number = number + 1 if number < high else low
            walked.append(number)
        text = f"{begin}-{end}" + (f"/{step}" if step else "")
        return text, {n for at, n in enumerate(walked) if at % (step or 1) == 0}

    bounds, steps = st.integers(low, high), st.integers(1, 40)
    return st.one_of(
        st.builds(span, bounds, bounds, st.none() | steps),
        bounds.map(lambda number: (str(number), {number})),
        steps.map(lambda step: (f"*/{step}", set(range(low, high + 1, step)))),
    )


@given(st.data(), st.sampled_from([(60, 0), (24, 0), (7, 0), (31, 1), (12, 1)]))
def test_a_field_stands_for_what_its_parts_stand_for(
    data: st.DataObject, size: tuple[int, int]
) -> None:
    count, low = size
    parts = data.draw(st.lists(spans(low, low + count - 1), min_size=1, max_size=4))

    read = crontab_parser(count, low).parse(",".join(text for text, _ in parts))

    assert read == set().union(*(stands_for for _, stands_for in parts))


def test_names_and_lists_are_read() -> None:
    cron = crontab(
        minute=[0, "30-32"],
        hour=(8, 9),
        day_of_week="Sunday, tue-THU,sat",
        month_of_year="nov-february",
    )

    assert cron.minute == {0, 30, 31, 32}
    assert cron.hour == {8, 9}
    assert cron.day_of_week == {0, 2, 3, 4, 6}
    assert cron.month_of_year == {11, 12, 1, 2}


def test_a_line_as_cron_has_it_is_read_in_crons_order() -> None:
    cron = crontab.from_string("15 4 1-7  * mon")

    assert cron == crontab(15, 4, "mon", "1-7", "*")
    assert str(cron) == "crontab 15 4 1-7 * mon"
    assert repr(cron) == "<crontab: 15 4 1-7 * mon (m/h/dM/MY/d)>"


def test_a_crontab_survives_pickling() -> None:
    cron = crontab([1, 2], "*/3", "mon", app=None)

    assert pickle.loads(pickle.dumps(cron)) == cron


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"minute": 60}, ParseException, "crontab minute must be 0 to 59, got 60"),
        ({"hour": "7-24"}, ParseException, "crontab hour must be 0 to 23, got 24"),
        ({"day_of_week": 7}, ParseException, "0 to 6, got 7 (Sunday is 0)"),
        ({"minute": "5/10"}, ParseException, "crontab minute '5/10': write 5-59/10"),
        ({"minute": "*/0"}, ParseException, "a step is a number from 1 on"),
        ({"minute": "*/x"}, ParseException, "a step is a number from 1 on"),
        ({"minute": "1,,2"}, ParseException, "crontab minute '': a number is missing"),
        ({"minute": "-5"}, ParseException, "crontab minute '-5': a number is missing"),
        ({"minute": []}, ParseException, "crontab minute is empty: '*' stands for every one"),
        ({"hour": "noon"}, ParseException, "crontab hour: 'noon' is no number"),
        ({"day_of_week": "funday"}, ParseException, "none of sun, mon, tue"),
        ({"minute": 1.5}, TypeError, "crontab minute must be a number, text or a list"),
        ({"minute": True}, TypeError, "crontab minute must be a number, text or a list"),
        ({"minute": [1.5]}, TypeError, "crontab minute must hold numbers or text, got 1.5"),
        (
            {"day_of_month": "30-31", "month_of_year": "feb"},
            ValueError,
            "crontab day_of_month 30 does not exist in February",
        ),
    ],
)
def test_a_field_that_makes_no_sense_is_named(
    fields: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as raised:
        crontab(**fields)  # type: ignore[arg-type]

    assert message in str(raised.value)


def test_a_line_with_too_few_fields_is_refused() -> None:
    with pytest.raises(ParseException, match="has 4 fields: 5 are expected"):
        crontab.from_string("0 4 * *")
