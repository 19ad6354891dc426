"""When something is due: intervals, crontabs, the sun, a fixed moment.

A schedule is asked `is_due(last_run_at)` and answers `(is_due, next)`: whether to run now, and
after how many seconds to ask again.  Points in time are aware; a naive one is read as UTC.
Names, arguments and answers are Celery 5.7's.

A crontab is read on the wall clock of the app's zone.  When clocks go forward, a run in the hour
that is left out happens an hour later; when they go back, one in the hour that comes twice
happens the first time only, unless the crontab runs in every hour of the day, which then means
every hour that passes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from . import current
from .clock import local_zone, seconds
from .cronfields import (
    DAY_OF_MONTH,
    DAY_OF_WEEK,
    HOUR,
    MINUTE,
    MONTH_OF_YEAR,
    Calendar,
    Cronspec,
    ParseException,
    crontab_parser,
)
from .sun import Sun

__all__ = (
    "BaseSchedule", "ParseException", "clocked", "crontab", "crontab_parser", "maybe_schedule",
    "schedstate", "schedule", "solar",
)  # fmt: skip

#: What stands for "never again", in the one place where a number must be given.
_NEVER = timedelta(days=36500)
_DAY, _HOUR, _MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
#: Share of an interval by which a run may be late and the next one keeps to the old rhythm.
_KEEPS_RHYTHM = 0.1

NowFunction = Callable[[], datetime]


class schedstate(NamedTuple):
    """Whether to run now, and after how many seconds to ask again (None: never)."""

    is_due: bool
    next: float | None


class BaseSchedule:
    """What every schedule is.

    `nowfun` says what time it is (default: the app's clock); `app`, whose zone and settings
    count, is the current one if not given.  A schedule of one's own has `is_due`.
    """

    def __init__(self, nowfun: NowFunction | None = None, app: Any = None) -> None:
        self.nowfun = nowfun
        self._app = app

    def now(self) -> datetime:
        """Return the current time, aware."""
        return self.maybe_make_aware((self.nowfun or self.app.now)())

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        """Return how long it is until the run after `last_run_at`; negative if it is late."""
        raise NotImplementedError

    def is_due(self, last_run_at: datetime) -> schedstate:
        """Return whether to run now, and after how many seconds to ask again."""
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        if remaining > 0:
            return schedstate(False, remaining)
        return schedstate(True, max(0.0, self.remaining_estimate(self.now()).total_seconds()))

    def due_after(self, last: datetime) -> datetime | None:
        """Return when the first run after `last` is due, in UTC; None if there is none.

        Unlike `is_due` it does not look at the clock: it tells each run that was missed.
        """
        return (self.now() + self.remaining_estimate(last)).astimezone(UTC)

    def maybe_make_aware(self, when: datetime, naive_as_utc: bool = True) -> datetime:
        """Return a time with a zone; one without is UTC, or of the app's zone."""
        if when.tzinfo is not None:
            return when
        return when.replace(tzinfo=UTC if naive_as_utc else self.tz).astimezone(self.tz)

    @property
    def app(self) -> Any:
        return self._app if self._app is not None else current.get_app()

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @functools.cached_property
    def tz(self) -> tzinfo:
        """The zone whose wall clock counts."""
        zone: tzinfo = self.app.timezone
        return zone

    @property
    def utc_enabled(self) -> bool:
        return bool(self.app.conf.enable_utc)

    def to_local(self, when: datetime) -> datetime:
        """Return a time in the zone of this machine, unless the app keeps to UTC."""
        return when if self.utc_enabled else when.astimezone(local_zone())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, BaseSchedule):
            return other.nowfun == self.nowfun
        return NotImplemented


class schedule(BaseSchedule):
    """Every so often: `run_every` is seconds or a timedelta.

    With `relative` runs lie on whole days, hours, minutes or seconds of the wall clock, whichever
    is the largest that the interval holds.
    """

    def __init__(
        self,
        run_every: float | timedelta | None = None,
        relative: bool = False,
        nowfun: NowFunction | None = None,
        app: Any = None,
    ) -> None:
        if isinstance(run_every, int | float):
            run_every = timedelta(seconds=run_every)
        if run_every is not None and run_every <= timedelta(0):
            raise ValueError(f"an interval must be above 0 s, got {run_every.total_seconds():g} s")
        self.run_every: Any = run_every
        self.relative = relative
        super().__init__(nowfun=nowfun, app=app)

    @property
    def seconds(self) -> float:
        return float(self.run_every.total_seconds())

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        # A clock that was set back must not make anybody wait longer than an interval.
        now = self.now()
        return self._after(min(self.maybe_make_aware(last_run_at), now)) - now

    def is_due(self, last_run_at: datetime) -> schedstate:
        remaining = self.remaining_estimate(last_run_at).total_seconds()
        if remaining > 0:
            return schedstate(False, remaining)
        following = self._after(self.run_counts_for(last_run_at)) - self.now()
        return schedstate(True, max(0.0, following.total_seconds()))

    def run_counts_for(self, last_run_at: datetime) -> datetime:
        """Return the moment at which a run made now was due; now, if it is very late.

        It becomes the next `last_run_at`, so that small delays do not add up.
        """
        now, last_run_at = self.now(), self.maybe_make_aware(last_run_at)
        due = self._after(min(last_run_at, now))
        late = (now - due).total_seconds()
        return due if 0 <= late < self.seconds * _KEEPS_RHYTHM else now

    def due_after(self, last: datetime) -> datetime | None:
        return self._after(self.maybe_make_aware(last))

    def _after(self, last: datetime) -> datetime:
        """Return when the run after `last` is due, in UTC."""
        last = last.astimezone(UTC)
        end: datetime = last + self.run_every
        if self.relative:
            rounded = self._rounded(last, end)
            end = rounded if rounded > last else end
        return end

    def _rounded(self, last: datetime, end: datetime) -> datetime:
        if self.run_every >= _DAY:
            # Days of the calendar, of which some have 23 hours and some 25.
            wall = last.astimezone(self.tz).replace(tzinfo=None) + self.run_every
            midnight: datetime = wall.replace(hour=0, minute=0, second=0, microsecond=0)
            return midnight.replace(tzinfo=self.tz).astimezone(UTC)
        local = end.astimezone(self.tz)
        beyond = timedelta(microseconds=local.microsecond)
        if self.run_every >= _MINUTE:
            beyond += timedelta(seconds=local.second)
        if self.run_every >= _HOUR:
            beyond += timedelta(minutes=local.minute)
        return end - beyond

    @property
    def human_seconds(self) -> str:
        return f"{self.seconds:g} s"

    def __str__(self) -> str:
        return f"every {self.human_seconds}{', on the clock' if self.relative else ''}"

    def __repr__(self) -> str:
        return f"<freq: {self.human_seconds}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, schedule):
            return bool(self.run_every == other.run_every and self.relative == other.relative)
        return bool(self.run_every == other)

    def __reduce__(self) -> Any:
        return type(self), (self.run_every, self.relative, self.nowfun)


#: Fields of a crontab in the order of its arguments.
_CRON_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")


class crontab(BaseSchedule):
    """Like cron(5): minute, hour, day of week, of month, month; mind the order of the arguments.

    Each is a number, a list, or text: `'*/15'`, `'8-17/2'`, `'mon-fri'`, `'22-2'`, `'1,15'`.
    All five must fit: `crontab(0, 0, 'mon', '1-7')` is the first Monday of a month.

    Raises ParseException (a ValueError) for a field that cannot be read, ValueError for a date
    that never comes.
    """

    def __init__(
        self,
        minute: Cronspec | None = "*",
        hour: Cronspec | None = "*",
        day_of_week: Cronspec | None = "*",
        day_of_month: Cronspec | None = "*",
        month_of_year: Cronspec | None = "*",
        **kwargs: Any,
    ) -> None:
        given = (minute, hour, day_of_week, day_of_month, month_of_year)
        self._given: tuple[Cronspec, ...] = tuple(map(_kept, given))
        self.minute = MINUTE.read(self._given[0])
        self.hour = HOUR.read(self._given[1])
        self.day_of_week = DAY_OF_WEEK.read(self._given[2])
        self.day_of_month = DAY_OF_MONTH.read(self._given[3])
        self.month_of_year = MONTH_OF_YEAR.read(self._given[4])
        self._kwargs = kwargs
        self._calendar = Calendar(
            self.minute, self.hour, self.day_of_week, self.day_of_month, self.month_of_year
        )
        super().__init__(**kwargs)

    def __getattr__(self, name: str) -> Any:
        """Return a field as it was written, by the name schedulers in databases know it under."""
        if name.startswith("_orig_") and name[6:] in _CRON_FIELDS:
            return self._given[_CRON_FIELDS.index(name[6:])]
        raise AttributeError(f"{type(self).__name__!r} has no attribute {name!r}")

    @classmethod
    def from_string(cls, crontab: str) -> crontab:
        """Return the crontab of a line as cron has it: `m h day-of-month month day-of-week`."""
        fields = crontab.split()
        if len(fields) != 5:
            raise ParseException(
                f"crontab {crontab!r} has {len(fields)} fields: 5 are expected, as '0 4 * * mon'"
            )
        minute, hour, day_of_month, month_of_year, day_of_week = fields
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        following = self._after(self.maybe_make_aware(last_run_at).astimezone(UTC))
        return _NEVER if following is None else following - self.now()

    def is_due(self, last_run_at: datetime) -> schedstate:
        """As `BaseSchedule.is_due`; a run missed by more than `beat_cron_starting_deadline` is
        left out."""
        state = super().is_due(last_run_at)
        deadline = self.app.conf.beat_cron_starting_deadline
        if not state.is_due or deadline is None:
            return state
        # A run exactly at the deadline still counts.
        since = self.now() - timedelta(seconds=seconds(deadline), microseconds=1)
        late = max(since, self.maybe_make_aware(last_run_at))
        return state._replace(is_due=self.remaining_estimate(late) <= timedelta(0))

    def due_after(self, last: datetime) -> datetime | None:
        return self._after(self.maybe_make_aware(last).astimezone(UTC))

    def _after(self, last: datetime) -> datetime | None:
        """Return the first run later than `last`; both in UTC."""
        wall = last.astimezone(self.tz).replace(tzinfo=None)
        first = self._calendar.after(wall)
        if first is None:
            return None
        guess = first.replace(tzinfo=self.tz).astimezone(UTC)
        near = (last - _DAY, last, last + _DAY, guess - _DAY, guess, guess + _DAY)
        offsets = {when.astimezone(self.tz).utcoffset() or timedelta(0) for when in near}
        if len(offsets) == 1:
            return guess
        return self._after_near_change(last, min(offsets), max(offsets))

    def _after_near_change(
        self, last: datetime, lowest: timedelta, highest: timedelta
    ) -> datetime | None:
        """The same near a day on which the offset of the zone changes: look at every run there."""
        plain = last.replace(tzinfo=None)
        found: datetime | None = None
        wall = self._calendar.after(plain + lowest)
        while wall is not None and (found is None or wall - highest < found.replace(tzinfo=None)):
            for when in self._moments(wall):
                if when > last and (found is None or when < found):
                    found = when
            wall = self._calendar.after(wall)
        return found

    def _moments(self, wall: datetime) -> list[datetime]:
        """Return when a time of the wall clock comes: once, or twice if it does and we want it."""
        # Within a gap Python reads the offset before it, which lays the run behind the gap.
        once = wall.replace(tzinfo=self.tz).astimezone(UTC)
        again = wall.replace(tzinfo=self.tz, fold=1).astimezone(UTC)
        return [once, again] if again > once and len(self.hour) == 24 else [once]

    def __str__(self) -> str:
        return "crontab " + " ".join(map(_text, self._cron_order()))

    def _cron_order(self) -> tuple[Cronspec, ...]:
        minute, hour, day_of_week, day_of_month, month_of_year = self._given
        return minute, hour, day_of_month, month_of_year, day_of_week

    def __repr__(self) -> str:
        return f"<crontab: {' '.join(map(str, self._cron_order()))} (m/h/dM/MY/d)>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, crontab):
            mine, theirs = (
                (c.minute, c.hour, c.day_of_week, c.day_of_month, c.month_of_year)
                for c in (self, other)
            )
            return mine == theirs and bool(super().__eq__(other))
        return NotImplemented

    def __reduce__(self) -> Any:
        return _crontab, (type(self), self._given, self._kwargs)


def _crontab(cls: type[crontab], given: tuple[Cronspec, ...], kwargs: dict[str, Any]) -> crontab:
    return cls(*given, **kwargs)


def _kept(spec: Cronspec | None) -> Cronspec:
    """Return a field as it was given; an iterator would be empty at the second look."""
    if spec is None:
        return "*"
    is_plain = isinstance(spec, str | int | list | tuple | set | frozenset)
    return spec if is_plain or not hasattr(spec, "__iter__") else list(spec)


def _text(spec: Cronspec) -> str:
    return str(spec) if isinstance(spec, str | int) else ",".join(map(str, spec))


def maybe_schedule(given: Any, relative: bool = False, app: Any = None) -> Any:
    """Return the schedule that a number of seconds or a timedelta stands for.

    A schedule is returned as it is, and belongs to `app` from then on; None stays None.
    Raises TypeError for anything else, ValueError for an interval of nothing.
    """
    if given is None:
        return None
    if isinstance(given, int | float | timedelta) and not isinstance(given, bool):
        return schedule(given, relative, app=app)
    if not callable(getattr(given, "is_due", None)):
        hint = ""
        if isinstance(given, str) and len(given.split()) == 5:
            hint = f": crontab.from_string({given!r})?"
        raise TypeError(
            "a schedule must be seconds, a timedelta, schedule(), crontab(), solar() or clocked(), "
            f"got {given!r}{hint}"
        )
    if app is not None:
        given.app = app
    return given


class solar(BaseSchedule):
    """An event of the sun at a place: `solar('sunset', lat=52.5, lon=13.4)`.

    Degrees are positive to the north and east.  Where an event does not happen every day, as
    sunrise in the polar night, the next day counts on which it does.

    Raises ImproperlyConfigured if the package ephem is not installed, ValueError for an event or
    a place that does not exist.
    """

    def __init__(self, event: str, lat: float, lon: float, **kwargs: Any) -> None:
        self.event = event
        self.lat = lat
        self.lon = lon
        self._sun = Sun(event, lat, lon)
        super().__init__(**kwargs)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        return self.due_after(last_run_at) - self.now()

    def due_after(self, last: datetime) -> datetime:
        return self._sun.after(self.maybe_make_aware(last).astimezone(UTC))

    def __str__(self) -> str:
        return f"{self.event} at {self.lat:g}, {self.lon:g}"

    def __repr__(self) -> str:
        return f"<solar: {self.event} at latitude {self.lat}, longitude: {self.lon}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, solar):
            return (self.event, self.lat, self.lon) == (other.event, other.lat, other.lon)
        return NotImplemented

    def __reduce__(self) -> Any:
        return type(self), (self.event, self.lat, self.lon)


class clocked(BaseSchedule):
    """Once, at a moment: `clocked(datetime(2027, 1, 1, tzinfo=UTC))`.

    A moment without a zone is on the wall clock of the app's zone.  An entry that is new when its
    moment is past never runs; one that was known runs late, as any other that was missed.
    Known to Celery's users from django-celery-beat.

    Raises TypeError for what is no datetime.
    """

    def __init__(
        self, clocked_time: datetime, nowfun: NowFunction | None = None, app: Any = None
    ) -> None:
        if not isinstance(clocked_time, datetime):
            raise TypeError(f"clocked() takes a datetime, got {clocked_time!r}")
        self.clocked_time = clocked_time
        super().__init__(nowfun=nowfun, app=app)

    def remaining_estimate(self, last_run_at: datetime) -> timedelta:
        moment = self.due_after(last_run_at)
        return _NEVER if moment is None else moment - self.now()

    def is_due(self, last_run_at: datetime) -> schedstate:
        moment = self.due_after(last_run_at)
        if moment is None:
            return schedstate(False, None)
        remaining = (moment - self.now()).total_seconds()
        return schedstate(False, remaining) if remaining > 0 else schedstate(True, None)

    def due_after(self, last: datetime) -> datetime | None:
        moment = self.maybe_make_aware(self.clocked_time, naive_as_utc=False).astimezone(UTC)
        return moment if moment > self.maybe_make_aware(last) else None

    def __str__(self) -> str:
        return f"once at {self.clocked_time.isoformat(sep=' ')}"

    def __repr__(self) -> str:
        return f"<clocked: {self.clocked_time}>"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, clocked):
            return self.clocked_time == other.clocked_time
        return NotImplemented

    def __reduce__(self) -> Any:
        return type(self), (self.clocked_time, self.nowfun)
