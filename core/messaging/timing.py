"""When a call may start and must have started: from the words of a caller to those of a message.

Source of the forms on the wire: protocol.md 1.1 and 1.4.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from .. import clock, ways
from ..clock import parse_iso8601, to_unix

log = logging.getLogger("taskctl.producer")


class Times(NamedTuple):
    """The headers `eta` and `expires`, the property `expiration` (ms), and Unix time until which
    a broker may hold the message."""

    eta: str | None
    expires: str | None
    expiration: str | None
    due: float | None


NO_TIMES = Times(None, None, None, None)


def times(countdown: Any, eta: Any, expires: Any, zone: tzinfo) -> Times:
    """Return the times of a call made now; a countdown wins over an eta.

    `countdown` and `expires` may be seconds; a time without an offset is read in `zone`.
    Raises TypeError or ValueError, naming the option, for what is no time, for a negative
    countdown, and for two times of which only one has an offset.
    """
    now = clock.now()
    if countdown:
        check_countdown(countdown)
    elif eta is not None and expires is not None:
        _check_alike(eta, expires)
    if countdown:
        eta = _after(now, countdown, zone, "countdown")
    due = None
    if eta is not None:
        due = to_unix(_moment(eta, "eta"), zone)
        eta = eta if isinstance(eta, str) else eta.isoformat()
    expiration = None
    if expires is not None:
        if isinstance(expires, int | float | timedelta):
            lifetime = _seconds(expires, "expires")
            expires = _after(now, expires, zone, "expires")
        else:
            lifetime = to_unix(_moment(expires, "expires"), zone) - now
        if lifetime < 0:
            log.warning("expires lies %.1f s in the past: no worker will run it", -lifetime)
        expiration = str(max(0, int(lifetime * 1000)))
        expires = expires if isinstance(expires, str) else expires.isoformat()
    return Times(eta, expires, expiration, due if due is not None and due > now else None)


def check_countdown(countdown: Any) -> None:
    """Raise TypeError or ValueError for a countdown that is no number of seconds to come.

    Where Celery's ways hold a negative one means at once, as there.
    """
    seconds = _seconds(countdown, "countdown")
    if not seconds >= 0 and not (seconds < 0 and ways.celerys()):
        raise ValueError(f"countdown must be 0 or more seconds, got {countdown!r}")


def _check_alike(eta: Any, expires: Any) -> None:
    """Raise ValueError for two times that cannot be compared, unless Celery's ways hold."""
    if isinstance(expires, int | float | timedelta) or ways.celerys():
        return
    aware = {
        name: _moment(value, name).tzinfo is not None
        for name, value in (("eta", eta), ("expires", expires))
    }
    if aware["eta"] != aware["expires"]:
        with_offset, without = ("eta", "expires") if aware["eta"] else ("expires", "eta")
        raise ValueError(
            f"{with_offset} has an offset from UTC and {without} has none: give both one, or "
            "neither"
        )


def _after(now: float, seconds: Any, zone: tzinfo, option: str) -> datetime:
    try:
        return datetime.fromtimestamp(now, zone) + timedelta(seconds=_seconds(seconds, option))
    except OverflowError as exc:
        raise ValueError(f"{option} is out of range: {seconds!r}") from exc


def _seconds(value: Any, option: str) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{option} must be seconds, got {value!r}")
    return value


def _moment(value: Any, option: str) -> datetime:
    if isinstance(value, datetime):
        return value
    if isinstance(value, str):
        try:
            return parse_iso8601(value)
        except ValueError as exc:
            raise ValueError(f"{option}: {exc}") from exc
    raise TypeError(f"{option} must be a datetime or ISO 8601 text, got {value!r}")
