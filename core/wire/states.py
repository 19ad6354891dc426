"""The states of a task, as one table.

Final states are READY; of those, PROPAGATE are raised by `get()`.
"""

from __future__ import annotations

PENDING = "PENDING"
RECEIVED = "RECEIVED"
STARTED = "STARTED"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"
REJECTED = "REJECTED"
RETRY = "RETRY"
IGNORED = "IGNORED"

#: Which state wins when news arrives out of order; first wins.  None stands for custom states.
#: Source: Celery's event state precedence.
PRECEDENCE = [SUCCESS, FAILURE, None, REVOKED, STARTED, RECEIVED, REJECTED, RETRY, PENDING]
_RANK = {state: rank for rank, state in enumerate(PRECEDENCE)}

READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES = frozenset({PENDING, RECEIVED, STARTED, REJECTED, RETRY})
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = READY_STATES | UNREADY_STATES


def precedence(state: str) -> int:
    """Return the rank of `state`, 0 the strongest; custom states share one rank."""
    return _RANK.get(state, _RANK[None])
