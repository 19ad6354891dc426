"""Times, durations, and the logical clock."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.clock import (
    LamportClock,
    maybe_timedelta,
    parse_iso8601,
    seconds,
    to_unix,
    utcnow,
    utcoffset_hours_west,
    zone,
)


def test_the_logical_clock_passes_what_it_hears() -> None:
    clock = LamportClock()

    assert [clock.forward(), clock.adjust(10), clock.adjust(3), clock.value] == [1, 11, 12, 12]
    assert str(clock) == "12"


def test_no_tick_of_the_logical_clock_is_lost_among_threads() -> None:
    clock = LamportClock()

    with ThreadPoolExecutor(4) as threads:
        ticks = list(threads.map(lambda _: clock.forward(), range(2000)))

    assert sorted(ticks) == list(range(1, 2001))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-02-03T04:05:06Z", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("2026-02-03T04:05:06.5+02:00",
         datetime(2026, 2, 3, 4, 5, 6, 500000, timezone(timedelta(hours=2)))),
        ("2026-02-03T04:05:06", datetime(2026, 2, 3, 4, 5, 6)),
        ("20260203T040506", datetime(2026, 2, 3, 4, 5, 6)),
        ("2026-02-03", datetime(2026, 2, 3)),
        ("2026-02", datetime(2026, 2, 1)),
        ("2026", datetime(2026, 1, 1)),
        ("2026-W06-2T04:05", datetime(2026, 2, 3, 4, 5)),
        ("2026-034T04:05:06Z", datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)),
        ("2024-366", datetime(2024, 12, 31)),
    ],
)  # fmt: skip
def test_iso_8601_is_read_in_all_its_forms(text: str, expected: datetime) -> None:
    assert parse_iso8601(text) == expected


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-366", "2026-13-01", "2026-02-03T25:00"])
def test_other_text_is_refused_and_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="not an ISO 8601 time") as info:
        parse_iso8601(text)

    assert repr(text) in str(info.value)


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3)), None])))
def test_what_isoformat_writes_is_read_back(when: datetime) -> None:
    assert parse_iso8601(when.isoformat()) == when


def test_a_time_without_offset_is_read_in_the_default_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")

    assert to_unix("2026-07-01T02:00:00", berlin) == to_unix("2026-07-01T00:00:00Z")
    assert to_unix("2026-07-01T00:00:00") == to_unix(datetime(2026, 7, 1, tzinfo=UTC))
    assert to_unix(12) == 12.0


def test_the_offset_of_events_counts_to_the_west(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        for name, hours in (("UTC-2", -2.0), ("EST5", 5.0), ("IST-5:30", -5.5)):
            monkeypatch.setenv("TZ", name)
            time.tzset()
            assert utcoffset_hours_west() == hours
    finally:
        monkeypatch.undo()
        time.tzset()


def test_durations_are_numbers_or_timedeltas() -> None:
    assert seconds(timedelta(minutes=1)) == seconds(60) == 60.0
    assert maybe_timedelta(60) == maybe_timedelta(timedelta(minutes=1)) == timedelta(minutes=1)
    assert maybe_timedelta(None) is None


def test_now_is_aware() -> None:
    assert utcnow().tzinfo is UTC


def test_an_unknown_zone_is_named() -> None:
    with pytest.raises(ValueError, match="unknown time zone 'Europe/Berln'"):
        zone("Europe/Berln")

    assert zone("utc") is zone(None) is UTC
