"""Runs that were missed while nobody could send them: which they are, and which are sent late."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ..clock import seconds
from ..schedules import crontab, schedule

#: Finest step of a schedule whose runs are looked for backwards, from now.
_STEP = timedelta(minutes=1)


class Missed(NamedTuple):
    """The first and last of the runs that may be sent; `cut` if there were more than that."""

    oldest: datetime
    newest: datetime
    cut: bool = False


class Plan(NamedTuple):
    """What to do about an entry that is due.

    `due` is the run it stands for (None: the schedule does not tell), `counts_for` what becomes
    its last run (None: the entry decides); not to `send` is to leave it out.
    """

    due: datetime | None = None
    counts_for: datetime | None = None
    send: bool = True
    cut: bool = False


def plan(entry: Any, *, policy: str, limit: int, grace: float) -> Plan:
    """Return which run of a due entry is next.

    `policy` is one of `entry.CATCHUPS`; `grace` is how late (s) a run may be and is not missed.
    """
    now = entry.default_now().astimezone(UTC)
    missed = runs_due(entry.schedule, entry.last_run_at, now, limit if policy == "all" else 1)
    if missed is None:
        return Plan()
    oldest, newest, cut = missed
    if policy == "all":
        return Plan(oldest, oldest, cut=cut)
    if policy == "none" and (now - newest).total_seconds() > grace:
        return Plan(newest, newest, send=False)
    return Plan(newest)


def runs_due(when: Any, last: datetime, now: datetime, limit: int) -> Missed | None:
    """Return the newest `limit` runs after `last` up to `now`; None if there is none, or if `when`
    cannot tell."""
    after = getattr(when, "due_after", None)
    if after is None:
        return None
    last = last if last.tzinfo is not None else last.replace(tzinfo=UTC)
    if isinstance(when, crontab):
        last = max(last, _earliest(when, now))
    if type(when) is schedule and not when.relative:
        return _of_interval(last, now, when.run_every, limit)
    try:
        return _walk(after, last, now, limit)
    except NotImplementedError:  # somebody's own, which has `is_due` alone
        return None


def _earliest(when: crontab, now: datetime) -> datetime:
    """Return from when on a run of a crontab may still be sent."""
    deadline = when.app.conf.beat_cron_starting_deadline
    if deadline is None:
        return datetime.min.replace(tzinfo=UTC)
    return now - timedelta(seconds=seconds(deadline) or 0.0, microseconds=1)


def _of_interval(last: datetime, now: datetime, every: timedelta, limit: int) -> Missed | None:
    count = max(0, (now - last) // every)
    if not count:
        return None
    return Missed(last + max(1, count - limit + 1) * every, last + count * every, count > limit)


def _walk(
    after: Callable[[datetime], datetime | None], last: datetime, now: datetime, limit: int
) -> Missed | None:
    found = _runs(after, last, now, limit + 1)
    if len(found) <= limit:
        return Missed(found[0], found[-1]) if found else None
    # There are many: look at ever longer spans before now, not at all that has been missed.
    span = limit * _STEP
    while now - span > last:
        tail = deque(_runs(after, now - span, now), maxlen=limit)
        if len(tail) == limit:
            return Missed(tail[0], tail[-1], cut=True)
        span *= 2
    tail = deque(_runs(after, last, now), maxlen=limit)
    return Missed(tail[0], tail[-1], cut=True)


def _runs(
    after: Callable[[datetime], datetime | None],
    last: datetime,
    now: datetime,
    limit: int | None = None,
) -> list[datetime]:
    found: list[datetime] = []
    following = after(last)
    while following is not None and last < following <= now:
        found.append(following)
        if limit is not None and len(found) == limit:
            break
        last, following = following, after(following)
    return found
