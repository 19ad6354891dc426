"""Crontab fields: text to numbers, and the next moment of a wall clock that fits them.

Knows calendar and notation, no time zone and no current time.  The notation is Celery's: numbers,
names, `*`, `a-b` (which may wrap around: `22-2`), `*/n`, `a-b/n`, and lists of these.
"""

from __future__ import annotations

import calendar
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

Cronspec = int | str | Iterable[int | str]

WEEKDAYS = ("sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday")
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip

#: Days of each month in a leap year.
_LONGEST = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
#: Years after which 29 February has fallen on every day of the week, 2100 being no leap year.
_YEARS = 41


class ParseException(ValueError):
    """Raised for a crontab field that cannot be read; names the field and what is wrong."""


class Field(NamedTuple):
    """One of the five fields: its name, its bounds (both included), the names of its numbers."""

    name: str
    lowest: int
    highest: int
    names: tuple[str, ...] = ()

    def read(self, spec: Cronspec) -> set[int]:
        """Return the numbers that a field stands for.

        Raises ParseException, and TypeError for what is no field at all.
        """
        if isinstance(spec, str):
            found = {number for part in spec.split(",") for number in self._part(part.strip())}
        elif isinstance(spec, int) and not isinstance(spec, bool):
            found = {self._bounded(spec, spec)}
        elif isinstance(spec, Iterable):
            found = {number for one in spec for number in self._member(one)}
        else:
            raise TypeError(
                f"crontab {self.name} must be a number, text or a list of these, got {spec!r}"
            )
        if not found:
            raise ParseException(f"crontab {self.name} is empty: '*' stands for every one")
        return found

    def all(self) -> range:
        """Return every number there is."""
        return range(self.lowest, self.highest + 1)

    def _member(self, one: object) -> set[int]:
        if isinstance(one, str | int):
            return self.read(one)
        raise TypeError(f"crontab {self.name} must hold numbers or text, got {one!r}")

    def _part(self, part: str) -> list[int]:
        """Return the numbers of one part between commas, in their order."""
        span, slash, step = part.partition("/")
        numbers = self._span(span, part)
        if not slash:
            return numbers
        if not step.isdecimal() or int(step) == 0:
            raise ParseException(f"crontab {self.name} {part!r}: a step is a number from 1 on")
        if span != "*" and "-" not in span:
            raise ParseException(
                f"crontab {self.name} {part!r}: write {span}-{self.highest}/{step}"
            )
        return numbers[:: int(step)]

    def _span(self, span: str, part: str) -> list[int]:
        if span == "*":
            return list(self.all())
        first, dash, last = span.partition("-")
        if not first or (dash and not last):
            raise ParseException(f"crontab {self.name} {part!r}: a number is missing")
        begin = self._number(first)
        end = self._number(last) if dash else begin
        if begin <= end:
            return list(range(begin, end + 1))
        return [*range(begin, self.highest + 1), *range(self.lowest, end + 1)]

    def _number(self, word: str) -> int:
        word = word.strip()
        if word.isdecimal():
            return self._bounded(int(word), word)
        low = word.lower()
        if len(low) >= 3:
            for number, name in enumerate(self.names, self.lowest):
                if name.startswith(low):
                    return number
        if not self.names:
            raise ParseException(f"crontab {self.name}: {word!r} is no number")
        short = ", ".join(name[:3] for name in self.names)
        raise ParseException(f"crontab {self.name}: {word!r} is no number, and none of {short}")

    def _bounded(self, number: int, word: object) -> int:
        if self.lowest <= number <= self.highest:
            return number
        hint = " (Sunday is 0)" if self.names is WEEKDAYS and number == 7 else ""
        raise ParseException(
            f"crontab {self.name} must be {self.lowest} to {self.highest}, got {word}{hint}"
        )


MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
DAY_OF_WEEK = Field("day_of_week", 0, 6, WEEKDAYS)
DAY_OF_MONTH = Field("day_of_month", 1, 31)
MONTH_OF_YEAR = Field("month_of_year", 1, 12, MONTHS)


class crontab_parser:
    """Celery's parser of one field: `crontab_parser(60).parse('*/15')` is {0, 15, 30, 45}.

    `max_` is how many numbers there are, `min_` the lowest.
    """

    ParseException = ParseException

    def __init__(self, max_: int = 60, min_: int = 0) -> None:
        names = {(7, 0): WEEKDAYS, (12, 1): MONTHS}.get((max_, min_), ())
        self.max_ = max_
        self.min_ = min_
        self._field = Field("field", min_, min_ + max_ - 1, names)

    def parse(self, spec: str) -> set[int]:
        """Return the numbers that a field stands for; raises ParseException."""
        return self._field.read(spec)


class Calendar:
    """The wall-clock minutes that fit five fields; all five must fit, unlike cron's.

    Raises ValueError if none ever does (30 February).
    """

    def __init__(
        self,
        minutes: Iterable[int],
        hours: Iterable[int],
        weekdays: Iterable[int],
        days: Iterable[int],
        months: Iterable[int],
    ) -> None:
        self.minutes = sorted(minutes)
        self.hours = sorted(hours)
        self.weekdays = frozenset(weekdays)
        self.days = sorted(days)
        self.months = sorted(months)
        if not any(self.days[0] <= _LONGEST[month - 1] for month in self.months):
            named = ", ".join(MONTHS[month - 1].capitalize() for month in self.months)
            raise ValueError(f"crontab day_of_month {self.days[0]} does not exist in {named}")

    def after(self, moment: datetime) -> datetime | None:
        """Return the first minute that fits and is later than `moment`; None if there is none.

        Both are wall-clock times without a zone.
        """
        start = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        today = start.date()
        for day in self._days_from(today):
            time = self._first_time(start.hour, start.minute) if day == today else self._earliest()
            if time is not None:
                return datetime(day.year, day.month, day.day, *time)
        return None

    def _earliest(self) -> tuple[int, int]:
        return self.hours[0], self.minutes[0]

    def _first_time(self, hour: int, minute: int) -> tuple[int, int] | None:
        """Return the first (hour, minute) of a day from these on."""
        at = bisect_left(self.hours, hour)
        if at == len(self.hours):
            return None
        if self.hours[at] > hour:
            return self.hours[at], self.minutes[0]
        within = bisect_left(self.minutes, minute)
        if within < len(self.minutes):
            return hour, self.minutes[within]
        return (self.hours[at + 1], self.minutes[0]) if at + 1 < len(self.hours) else None

    def _days_from(self, first: date) -> Iterator[date]:
        """Yield the days that fit, from `first` on, over all years in which one must come."""
        for year in range(first.year, min(first.year + _YEARS, 10000)):
            for month in self.months:
                if (year, month) < (first.year, first.month):
                    continue
                length = calendar.monthrange(year, month)[1]
                for number in self.days:
                    if number > length:
                        break
                    day = date(year, month, number)
                    if day >= first and day.isoweekday() % 7 in self.weekdays:
                        yield day
