"""What time it is: wall clock, ISO 8601 text, durations, and the logical clock of the nodes.

Durations are float seconds.  Points in time are aware datetimes or Unix seconds.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

#: Unix time, and seconds that only run, of all that waits for a time: ETAs, countdowns, expires,
#: schedules, what memory brokers and backends keep.  Call them as `clock.now()` and never import
#: the names: while a test has a virtual clock, others stand here (taskctl/testing/timepiece.py).
#: Waits that somebody sits through, leases and run times are real: `time.monotonic()`.
now: Callable[[], float] = time.time
monotonic: Callable[[], float] = time.monotonic

#: A calendar date and what follows it, in forms `datetime.fromisoformat` of 3.11 refuses:
#: the day of the year (2026-032), and a year or a month alone (2026, 2026-02).
_ORDINAL = re.compile(r"(\d{4})-?(\d{3})(?=$|[T ])")
_MONTH = re.compile(r"(\d{4})(?:-(\d{2}))?$")


class LamportClock:
    """A logical clock shared by nodes: what was caused by an event bears a larger number.

    Thread-safe.  As kombu 5.7 clocks.py: adjust takes the larger value, and one more.
    """

    def __init__(self, value: int = 0) -> None:
        self._value = value
        self._lock = threading.Lock()

    @property
    def value(self) -> int:
        return self._value

    def forward(self) -> int:
        """Count one event of our own; return its number."""
        with self._lock:
            self._value += 1
            return self._value

    def adjust(self, other: int) -> int:
        """Take note of a number heard from another node; return ours, larger than both."""
        with self._lock:
            self._value = max(self._value, other) + 1
            return self._value

    def __str__(self) -> str:
        return str(self._value)

    def __repr__(self) -> str:
        return f"<LamportClock: {self._value}>"


def utcnow() -> datetime:
    """Return the current time, aware, in UTC."""
    return datetime.fromtimestamp(now(), UTC)


def local_zone() -> tzinfo:
    """Return the zone of this machine, with its summer time if its files tell of it."""
    name = os.environ.get("TZ", "").removeprefix(":")
    try:
        if name:
            return ZoneInfo(name)
        with open("/etc/localtime", "rb") as file:
            return ZoneInfo.from_file(file, key=_zone_name())
    except (OSError, ValueError, KeyError):
        # Rules of its own in TZ, or no such file: the offset of today.
        zone = datetime.now().astimezone().tzinfo
        assert zone is not None
        return zone


def _zone_name() -> str | None:
    """Return what this machine calls its zone, as far as the place of its file says so."""
    return os.path.realpath("/etc/localtime").partition("/zoneinfo/")[2] or None


def zone(name: str | tzinfo | None) -> tzinfo:
    """Return the time zone called `name`; None is UTC.

    Raises ValueError, naming it, if no such zone is known to this machine.
    """
    if name is None:
        return UTC
    if isinstance(name, tzinfo):
        return name
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as exc:
        raise ValueError(f"unknown time zone {name!r}: write it as Europe/Berlin or UTC") from exc


def parse_iso8601(text: str) -> datetime:
    """Return the time that `text` names; aware only if it bears an offset or Z.

    Takes calendar, week and ordinal dates, with or without microseconds.
    Raises ValueError, quoting the text, for anything else.
    """
    try:
        return datetime.fromisoformat(_calendar_date(text.strip()))
    except ValueError as exc:
        raise ValueError(f"not an ISO 8601 time: {text!r}") from exc


def _calendar_date(text: str) -> str:
    if found := _MONTH.match(text):
        return f"{found[1]}-{found[2] or '01'}-01"
    if found := _ORDINAL.match(text):
        day = date(int(found[1]), 1, 1) + timedelta(days=int(found[2]) - 1)
        if day.year != int(found[1]):
            raise ValueError(f"day {found[2]} is not in {found[1]}")
        return day.isoformat() + text[found.end() :]
    return text


def to_unix(when: str | datetime | float, default_tz: tzinfo = UTC) -> float:
    """Return Unix seconds of a time; one without an offset is read in `default_tz`."""
    if isinstance(when, int | float):
        return float(when)
    if isinstance(when, str):
        when = parse_iso8601(when)
    if when.tzinfo is None:
        when = when.replace(tzinfo=default_tz)
    return when.timestamp()


def utcoffset_hours_west() -> float:
    """Return how many hours this machine is west of UTC (UTC+2 gives -2.0).

    The field `utcoffset` of every event; not rounded, as Celery 5.7 utils/time.py.
    """
    west = time.altzone if time.localtime().tm_isdst > 0 else time.timezone
    return west / 3600


def seconds(value: float | timedelta) -> float:
    """Return a duration as float seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def maybe_seconds(value: float | timedelta | None) -> float | None:
    """Return a duration as float seconds, and None as None."""
    return None if value is None else seconds(value)


def maybe_timedelta(value: float | timedelta | None) -> timedelta | None:
    """Return seconds as a timedelta; a timedelta or None as it is."""
    return timedelta(seconds=value) if isinstance(value, int | float) else value
