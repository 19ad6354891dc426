"""One entry of the schedule: which task, when, and when it last was sent."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ..errors import ImproperlyConfigured
from ..schedules import maybe_schedule, schedstate, schedule

#: What an entry of `beat_schedule` may say.
FIELDS = ("task", "schedule", "args", "kwargs", "options", "relative", "catchup")

#: What happens to the runs that were missed while nobody could send them.
CATCHUPS = ("none", "last", "all")

#: How far (in time) the last run may lie ahead, after a clock was set back, and still be waited
#: for.  As cron does: a small correction repeats nothing, a large one begins anew.
_PATIENCE = timedelta(hours=3)


class BeatLazyFunc:
    """An argument that is worked out when the task is sent: `BeatLazyFunc(datetime.now)`."""

    def __init__(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        self._func = func
        self._args = args
        self._kwargs = kwargs

    def __call__(self) -> Any:
        return self.delay()

    def delay(self) -> Any:
        """Return the value of now."""
        return self._func(*self._args, **self._kwargs)


class ScheduleEntry:
    """One entry.  `next` returns the entry after a run; nothing changes but by `update`.

    `schedule` is seconds, a timedelta or a schedule.  A new entry has run now, so to speak: its
    first run is due one interval later, or at the next time of its crontab.  `catchup` is one of
    CATCHUPS; None leaves it to the setting `beat_catchup`.
    """

    catchup: str | None = None

    def __init__(
        self,
        name: str | None = None,
        task: str | None = None,
        last_run_at: datetime | None = None,
        total_run_count: int | None = None,
        schedule: Any = None,
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        relative: bool = False,
        app: Any = None,
        catchup: str | None = None,
    ) -> None:
        self.app = app
        self.name: Any = name
        self.task: Any = task
        self.args = args
        self.kwargs = kwargs or {}
        self.options = options or {}
        self.schedule = maybe_schedule(schedule, relative, app=app)
        self.last_run_at = last_run_at or self.default_now()
        self.total_run_count = total_run_count or 0
        # Only if given, since a subclass may not take it.
        if catchup is not None:
            self.catchup = catchup

    def default_now(self) -> datetime:
        """Return the current time, as the schedule sees it."""
        now: datetime = (self.schedule or self.app).now()
        return now if now.tzinfo is not None else now.replace(tzinfo=UTC)

    def is_due(self) -> schedstate:
        """Return whether to run now, and after how many seconds to ask again."""
        return schedstate(*self.schedule.is_due(self.last_run_at))

    def next(self, last_run_at: datetime | None = None) -> ScheduleEntry:
        """Return the entry as it is after a run, made now unless another time is given."""
        ran = last_run_at or self.run_counts_for()
        return type(self)(**dict(self, last_run_at=ran, total_run_count=self.total_run_count + 1))

    __next__ = _next_instance = next

    def run_counts_for(self) -> datetime:
        """Return what becomes the time of the last run if the entry runs now."""
        if isinstance(self.schedule, schedule):
            return self.schedule.run_counts_for(self.last_run_at)
        return self.default_now()

    def forget_future(self) -> None:
        """Begin anew if the last run lies ahead by more than a small correction of the clock."""
        now = self.default_now()
        last = self.last_run_at
        last = last if last.tzinfo is not None else last.replace(tzinfo=UTC)
        patience = timedelta(0) if isinstance(self.schedule, schedule) else _PATIENCE
        if last - now > patience:
            self.last_run_at = now

    def update(self, other: ScheduleEntry) -> None:
        """Take over what is sent when; what has been sent stays."""
        for key in ("task", "schedule", "args", "kwargs", "options"):
            setattr(self, key, getattr(other, key))
        if other.catchup != self.catchup:
            self.catchup = other.catchup

    def editable_fields_equal(self, other: ScheduleEntry) -> bool:
        """Return whether both send the same at the same times."""
        return all(
            getattr(self, key) == getattr(other, key)
            for key in ("task", "args", "kwargs", "options", "schedule", "catchup")
        )

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(vars(self).items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ScheduleEntry) and self.editable_fields_equal(other)

    def __lt__(self, other: object) -> bool:
        # For a heap, whose order is settled by what stands before the entry.
        return id(self) < id(other)

    def __repr__(self) -> str:
        args = ", ".join(
            [*map(repr, self.args or ()), *(f"{k}={v!r}" for k, v in self.kwargs.items())]
        )
        return f"<{type(self).__name__}: {self.name} {self.task}({args}) {self.schedule!r}>"


def make_entry(cls: type[ScheduleEntry], name: str, given: Any, app: Any) -> ScheduleEntry:
    """Return the entry that one item of `beat_schedule` describes.

    Raises ImproperlyConfigured, naming the entry and what is wrong with it.
    """
    if isinstance(given, cls):
        given.app = app
        given.schedule = maybe_schedule(given.schedule, app=app)
        return given
    try:
        return cls(**_checked(given), name=name, app=app)
    except (TypeError, ValueError) as exc:
        raise ImproperlyConfigured(f"beat_schedule[{name!r}]: {exc}") from exc


def _checked(given: Any) -> dict[str, Any]:
    """Return the fields of an entry; ValueError or TypeError, in one sentence, for wrong ones."""
    if not isinstance(given, Mapping):
        raise TypeError(f"a dict is expected, got {given!r}")
    for key in given:
        if key not in FIELDS:
            near = difflib.get_close_matches(str(key), FIELDS, 1)
            raise ValueError(f"no field {key!r}: " + (f"{near[0]}?" if near else ", ".join(FIELDS)))
    fields = dict(given)
    fields["task"] = _name_of(fields.get("task"))
    if fields.get("schedule") is None:
        raise ValueError("'schedule' is missing: seconds, a timedelta or crontab()")
    _take_catchup(fields)
    for key, kinds, what in (
        ("args", list | tuple, "a list or tuple"),
        ("kwargs", Mapping, "a dict"),
        ("options", Mapping, "a dict"),
    ):
        if fields.get(key) is not None and not isinstance(fields[key], kinds):
            raise TypeError(f"{key!r} must be {what}, got {fields[key]!r}")
    return fields


def _take_catchup(fields: dict[str, Any]) -> None:
    """Check the field; `add_periodic_task` puts it among the options."""
    options = fields.get("options")
    if isinstance(options, Mapping) and "catchup" in options:
        fields["options"] = {key: value for key, value in options.items() if key != "catchup"}
        fields.setdefault("catchup", options["catchup"])
    if fields.get("catchup") not in (None, *CATCHUPS):
        choices = ", ".join(CATCHUPS)
        raise ValueError(f"'catchup' must be one of {choices}, got {fields['catchup']!r}")


def _name_of(task: Any) -> str:
    """Return the name of a task that is given by name or as a task."""
    name = getattr(task, "name", task)
    if not isinstance(name, str) or not name:
        raise ValueError(f"'task' must be the name of a task, got {task!r}")
    return name
