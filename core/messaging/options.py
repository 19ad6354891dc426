"""Which options a call may have, and the error for one that nobody knows.

Celery sends what it does not know along as a property of the message, so that a mistyped
`countdwon=60` runs at once and nobody is told.  Only what stands here travels that way, unless
Celery's ways hold in this process.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from .. import ways

#: Options that are for the caller's side, or mean nothing to a broker of ours.
NOT_SENT = frozenset("add_to_parent declare timeout confirm_timeout mandatory immediate".split())
#: Properties of AMQP's basic class that a caller may set (protocol.md 1.2).
_AMQP = frozenset("app_id cluster_id message_id timestamp type user_id".split())
#: What well-known programs send along: the name of a schedule's entry (django-celery-beat 2.9
#: schedulers.py, read by django-celery-results 2.6 from `request.properties`).
_OF_OTHERS = frozenset(("periodic_task_name",))
#: `origin` travels as a property too with a retry, as from Celery.
_SENT = _AMQP | _OF_OTHERS | {"origin"}
#: Options that are understood; for suggestions.
_UNDERSTOOD = frozenset(
    "add_to_parent argsrepr chain chord compression connection correlation_id countdown "
    "delivery_mode eta exchange exchange_type expires group_id group_index headers ignore_result "
    "kwargsrepr link link_error parent_id priority producer queue reply_to retries retry "
    "retry_policy root_id route_name router routing_key serializer shadow soft_time_limit "
    "stamped_headers task_id time_limit".split()
)


def properties_among(options: dict[str, Any], name: str) -> dict[str, Any]:
    """Return those of the options left over in a call of task `name` that are properties.

    Raises TypeError for one that nobody knows, naming the nearest that somebody does.
    """
    unknown = [key for key in options if key not in _SENT and key not in NOT_SENT]
    if unknown and not ways.celerys():
        raise TypeError(_unknown_text(sorted(unknown), name))
    return {key: value for key, value in options.items() if key not in NOT_SENT}


def check_options(options: Iterable[str], name: str) -> None:
    """Raise TypeError if a call of task `name` has an option that nobody knows."""
    known = _UNDERSTOOD | _SENT | NOT_SENT
    unknown = [key for key in options if key not in known]
    if unknown and not ways.celerys():
        raise TypeError(_unknown_text(sorted(unknown), name))


def check_limits(hard: Any, soft: Any) -> None:
    """Raise TypeError or ValueError for limits that are none, or contradict each other."""
    for name, limit in (("time_limit", hard), ("soft_time_limit", soft)):
        if limit is None:
            continue
        if isinstance(limit, bool) or not isinstance(limit, int | float):
            raise TypeError(f"{name} must be seconds, got {limit!r}")
        if not limit >= 0:
            raise ValueError(f"{name} must be 0 or more seconds (0: none), got {limit!r}")
    if soft is not None and hard is not None and soft > hard:
        raise ValueError(f"soft_time_limit ({soft:g} s) is beyond time_limit ({hard:g} s)")


def check_priority(priority: Any) -> None:
    """Raise TypeError for a priority that is no whole number."""
    if isinstance(priority, bool) or not isinstance(priority, int):
        raise TypeError(f"priority must be a whole number, got {priority!r}")


def signatures(given: Any, option: str) -> list[Any]:
    """Return what `link` or `link_error` holds as a list.

    Raises TypeError for what is no signature.
    """
    found = list(given) if isinstance(given, list | tuple) else [given]
    for one in found:
        if not isinstance(one, Mapping):
            raise TypeError(f"{option} takes signatures such as task.s(), got {one!r:.100}")
    return found


def _unknown_text(unknown: list[str], name: str) -> str:
    first = unknown[0]
    near = difflib.get_close_matches(first, _UNDERSTOOD | _AMQP, 1, 0.7)
    cure = (
        f"did you mean {near[0]!r}?"
        if near
        else f"what it shall read as self.request.{first} goes into headers={{{first!r}: ...}}"
    )
    others = f" (nor {', '.join(map(repr, unknown[1:]))})" if len(unknown) > 1 else ""
    return f"a call of {name} has no option {first!r}{others}: {cure}"
