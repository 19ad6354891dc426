"""What beat says of itself at its start, and the table of `beat status`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from taskctl.tables import NOTHING, Column, number, seconds, up

#: How many names of entries the banner shows.
_NAMES = 8


def banner(facts: Mapping[str, Any]) -> list[str]:
    """Return the lines for a terminal."""
    remote = f" · {facts['node']}" if facts["node"] else ""
    origin = f" ({facts['broker_from']})" if facts["broker_from"] else ""
    return [
        f"taskctl {facts['version']} · beat{remote} · pid {facts['pid']} "
        f"· Python {facts['python']}",
        f"  app       {facts['app']}, {_entries(facts['entries'])}",
        f"  broker    {facts['broker']}{origin}",
        f"  schedule  {facts['schedule'] or 'not kept'} ({facts['scheduler']})",
        f"  next due  {_next(facts)}; looks at least every {facts['max_interval']:g} s",
    ]


def log_line(facts: Mapping[str, Any]) -> str:
    """Return the same as one line."""
    due = "none" if facts["next"] is None else f"{facts['next']} next_in={facts['next_in']:.0f}"
    return (
        f"taskctl {facts['version']} beat pid={facts['pid']} python={facts['python']} "
        f"app={facts['app']} entries={len(facts['entries'])} broker={facts['broker']} "
        f"schedule={facts['schedule'] or 'none'} next={due}"
    )


def _entries(names: Sequence[str]) -> str:
    if not names:
        return "no entries: see the setting beat_schedule"
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    count = f"{len(names)} entr{'ies' if len(names) != 1 else 'y'}"
    return f"{count}: {' '.join(names[:_NAMES])}{more}"


def _next(facts: Mapping[str, Any]) -> str:
    if facts["next"] is None:
        return "nothing"
    when = f"in {up(facts['next_in'])}" if facts["next_in"] >= 1 else "now"
    return f"{facts['next']}, {when}"


# -- beat status


def record_row(
    record: Any,
    beat: Any,
    host: str | None,
    now: float,
    *,
    node: str | None = None,
    group: str | None = None,
) -> dict[str, Any]:
    """Return the row of one entry as it is remembered.

    `beat` is the process that runs or leads, if any; `node` and `group` are known to the broker
    alone.
    """
    due = record.next_run_at
    ran = record.total_run_count > 0
    return {
        "entry": record.name,
        "task": record.task,
        "schedule": record.schedule,
        "last_run": _time(record.last_run_at) if ran else None,
        "next_run": _time(due),
        "lag_seconds": 0.0 if due is None else round(max(0.0, now - due), 3),
        "last_lag_seconds": None if record.late is None else round(record.late, 3),
        "runs": record.total_run_count,
        "last_run_age_seconds": round(now - record.last_run_at, 3) if ran else None,
        "next_run_seconds": None if due is None else round(due - now, 3),
        "pid": None if beat is None else beat.pid,
        "host": host,
        "node": node,
        "group": group,
    }


def _time(when: float | None) -> str | None:
    if when is None:
        return None
    text = datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _ago(row: Mapping[str, Any]) -> str:
    age = row["last_run_age_seconds"]
    return "never" if age is None else f"{up(max(0.0, age))} ago"


def _ahead(row: Mapping[str, Any]) -> str:
    ahead = row["next_run_seconds"]
    if ahead is None:
        return NOTHING
    return f"in {up(ahead)}" if ahead >= 0 else "now"


COLUMNS: Sequence[Column] = (
    Column("entry", "ENTRY", shrinks=True),
    Column("task", "TASK", shrinks=True, need=1),
    Column("schedule", "SCHEDULE", shrinks=True, need=2),
    Column("last_run", "LAST", of_row=_ago, need=4),
    Column("next_run", "NEXT", of_row=_ahead),
    Column("lag_seconds", "LAG", seconds, right=True),
    Column("runs", "RUNS", number, right=True, need=3),
)

WIDE: Sequence[Column] = (
    *COLUMNS,
    Column("last_lag_seconds", "LAST LAG", seconds, right=True),
    Column("pid", "PID", right=True),
    Column("host", "HOST"),
    Column("node", "LEADER"),
)


def summary(beat: Any, host: str | None, path: str, late: Sequence[str]) -> str:
    """Return who sends, and what is late."""
    if beat is None:
        return f"no beat runs with {path}: nothing is sent"
    running = f"beat runs on {host}, pid {beat.pid}"
    return f"{running}; late: {', '.join(late)}" if late else running


def leading(leader: Any, group: str, late: Sequence[str], unknown: Sequence[str]) -> str:
    """Return who leads, what is late, and which entries the leader does not know."""
    if leader is None:
        said = f"no beat leads {group}: nothing is sent"
    else:
        said = f"{leader.node} leads {group}: {leader.host}, pid {leader.pid}, term {leader.term}"
    if late:
        said += f"; late: {', '.join(late)}"
    if unknown:
        said += f"; not sent by it, since it was left out or is new: {', '.join(unknown)}"
    return said
