"""Times and dates.  Behaviour: Celery 5.7 utils/time.py."""

from __future__ import annotations

import calendar
import random
import time as time_
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from taskctl.core.clock import local_zone, parse_iso8601
from taskctl.core.clock import zone as zone_of

ZERO = timedelta(0)
WEEKDAYS = {name.lower(): (n + 1) % 7 for n, name in enumerate(calendar.day_abbr)}
YEARMONTHS = {name.lower(): n for n, name in enumerate(calendar.month_abbr) if name}

_RATES = {"s": 1, "m": 60, "h": 3600}
_UNITS: tuple[tuple[str, float, Callable[[float], str]], ...] = (
    ("day", 86400.0, lambda n: f"{n:.2f}"),
    ("hour", 3600.0, lambda n: f"{n:.2f}"),
    ("minute", 60.0, lambda n: f"{n:.2f}"),
    ("second", 1.0, lambda n: f"{n:.2f}"),
)


class Zones:
    """The zones that programs ask for, as `celery.utils.time.timezone`."""

    utc = UTC

    @property
    def local(self) -> tzinfo:
        """The zone of this host."""
        return local_zone()

    def tz_or_local(self, tzinfo: Any = None) -> tzinfo:
        """Return the zone, that of this host for None."""
        return self.local if tzinfo is None else self.get_timezone(tzinfo)

    def get_timezone(self, zone: Any) -> tzinfo:
        """Return the zone of a name."""
        return zone_of(zone)

    def to_local(self, dt: datetime, local: Any = None, orig: Any = None) -> datetime:
        """Return a time in the local zone; one without a zone is in `orig`, or UTC."""
        return localize(
            make_aware(dt, orig or UTC) if is_naive(dt) else dt, self.tz_or_local(local)
        )

    def to_system(self, dt: datetime) -> datetime:
        """Return a time in the zone of this host."""
        return dt.astimezone()

    def to_local_fallback(self, dt: datetime) -> datetime:
        """Return a time in the zone of this host; one without a zone is in it."""
        return make_aware(dt, self.local) if is_naive(dt) else localize(dt, self.local)


timezone = Zones()


def is_naive(dt: datetime) -> bool:
    """Return whether a time has no zone."""
    return dt.utcoffset() is None


def make_aware(dt: datetime, tz: tzinfo) -> datetime:
    """Return the time of the clock in this zone."""
    return dt.replace(tzinfo=tz)


def localize(dt: datetime, tz: tzinfo) -> datetime:
    """Return the same moment in another zone."""
    return make_aware(dt, tz) if is_naive(dt) else dt.astimezone(tz)


def to_utc(dt: datetime) -> datetime:
    """Return a time in UTC; one without a zone is in UTC."""
    return make_aware(dt, UTC) if is_naive(dt) else dt.astimezone(UTC)


def maybe_make_aware(dt: datetime, tz: tzinfo | None = None, naive_as_utc: bool = True) -> datetime:
    """Return a time with a zone: in `tz`, or UTC if it had none."""
    if is_naive(dt):
        dt = to_utc(dt) if naive_as_utc else make_aware(dt, tz or UTC)
    return localize(dt, UTC if tz is None else zone_of(tz))


def maybe_iso8601(dt: datetime | str | None) -> datetime | None:
    """Return a time given as ISO text; a time as it is."""
    if not dt:
        return None
    return dt if isinstance(dt, datetime) else parse_iso8601(dt)


def add_seconds_to_datetime(dt: datetime, seconds: float) -> datetime:
    """Return the moment so many seconds later, whatever the clocks do."""
    delta = timedelta(seconds=seconds)
    return dt + delta if is_naive(dt) else (dt.astimezone(UTC) + delta).astimezone(dt.tzinfo)


def subtract_datetimes(end: datetime, start: datetime) -> timedelta:
    """Return the time between two moments; without a zone they are in UTC."""
    return to_utc(end) - to_utc(start)


def delta_resolution(dt: datetime, delta: timedelta) -> datetime:
    """Return a time rounded down to the largest unit that `delta` has: day, hour, minute."""
    span = delta.total_seconds()
    kept = 3 if span >= 86400 else 4 if span >= 3600 else 5 if span >= 60 else None
    if kept is None:
        return dt
    return datetime(*dt.timetuple()[:kept], tzinfo=dt.tzinfo, fold=dt.fold)  # type: ignore[misc, arg-type]


def remaining(
    start: datetime, ends_in: timedelta, now: datetime | None = None, relative: bool = False
) -> timedelta:
    """Return the time left until `ends_in` after `start`; `relative` rounds the end down."""
    now = now or datetime.now(UTC)
    end = add_seconds_to_datetime(start, ends_in.total_seconds())
    if relative:
        end = delta_resolution(end, ends_in).replace(microsecond=0)
    if is_naive(end) != is_naive(now):
        end, now = to_utc(end), to_utc(now)
    return end - now


def rate(r: str | float | None) -> float:
    """Return the runs per second of `10/s`, `10/m`, `10/h` or a number; 0 for none."""
    if not isinstance(r, str):
        return r or 0
    if not r:
        return 0
    number, _, unit = r.partition("/")
    return float(number) / _RATES[unit or "s"]


def weekday(name: str) -> int:
    """Return the number of a day of the week, Sunday is 0.

    Raises KeyError.
    """
    return _position(WEEKDAYS, name)


def yearmonth(name: str) -> int:
    """Return the number of a month, January is 1.

    Raises KeyError.
    """
    return _position(YEARMONTHS, name)


def _position(names: dict[str, int], name: str) -> int:
    found = names.get(name[:3].lower())
    if found is None:
        raise KeyError(name)
    return found


def humanize_seconds(
    secs: float, prefix: str = "", sep: str = "", now: str = "now", microseconds: bool = False
) -> str:
    """Return a length of time in its largest unit, in words."""
    secs = round(float(secs), 2)
    for unit, size, write in _UNITS:
        if secs >= size:
            count = secs / size
            return f"{prefix}{sep}{write(count)} {unit}{'' if count == 1 else 's'}"
    if microseconds and secs > 0:
        return f"{prefix}{sep}{secs:.2f} seconds"
    return now


def utcoffset(time: Any = time_, localtime: Callable[..., Any] = time_.localtime) -> int:
    """Return how many hours this host is west of UTC now."""
    zone = time.altzone if localtime().tm_isdst else time.timezone
    return int(zone // 3600)


def adjust_timestamp(ts: float, offset: int, here: Callable[[], int] = utcoffset) -> float:
    """Return a time stamp of a host so many hours west as one of this host."""
    return ts - (offset - here()) * 3600


def get_exponential_backoff_interval(
    factor: int, retries: int, maximum: int, full_jitter: bool = False
) -> int:
    """Return the seconds to wait before the next try; with jitter, any number up to that."""
    wait = int(min(maximum, factor * 2**retries))
    if full_jitter:
        wait = random.randrange(wait + 1)
    return max(0, wait)
