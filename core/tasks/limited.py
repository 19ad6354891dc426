"""Sending calls of tasks with limits: their keys go along, and the lock of a unique task is taken.

The lock is taken before the message is sent, for seconds only: should the caller die in between,
it frees itself.  Once the message is safe, it is held for its whole time.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from ..errors import BrokerConnectionError, LimiterError
from ..limiters.base import LockWish
from ..messaging.drafts import gathered
from ..wire.task_headers import LIMIT_HEADER
from .limiting import Keys, Limits

log = logging.getLogger("taskctl.tasks")

#: How long a lock is held by a caller that has not said that its message is safe (seconds): longer
#: than publishing may take (`broker_publish_timeout`, 5 s).
CLAIM = 15.0
#: Options that make somebody wait for the id of a call, or for what follows it.
_PROMISES = ("task_id", "group_id", "chain", "chord", "link", "link_error")


def is_promised(options: Mapping[str, Any]) -> bool:
    """Return whether others wait for this call itself: it must not be answered by another one."""
    return any(options.get(name) for name in _PROMISES)


def send_limited(
    app: Any, limits: Limits, producer: Any, call: tuple[str, Any, Any], options: dict[str, Any],
    promised: bool,
) -> str:  # fmt: skip
    """Send a call, and return its id; or return the id of the call that holds the lock, and send
    nothing.

    A call that is `promised` is sent in any case; while another holds the lock, the worker that
    receives it ends it as REVOKED.

    Raises LimiterError if the lock cannot be asked for; then nothing was sent.
    """
    name, args, kwargs = call
    keys, task_id = limits.keys(args, kwargs), options["task_id"]
    lock = _Lock(app, limits, keys, task_id, options)
    owner = lock.take()
    if owner not in (None, task_id) and not promised:
        return str(owner)
    told = {kind: key for kind, key in keys._asdict().items() if key is not None}
    if owner == task_id:
        told["claimed"] = "1"
    options["headers"] = {**(options.get("headers") or {}), LIMIT_HEADER: told}
    try:
        producer.send(name, args, kwargs, options)
    except BrokerConnectionError:
        raise  # it may have arrived: the lock ends by itself, or is the message's
    except BaseException:
        lock.give_back()
        raise
    lock.keep()
    return str(task_id)


class _Lock:
    """The lock of one call, if its task is unique."""

    def __init__(
        self, app: Any, limits: Limits, keys: Keys, task_id: str, options: Mapping[str, Any]
    ) -> None:
        self._app = app
        self._key, self._id = keys.unique, task_id
        # The next try of a run that holds it already.
        self._again = bool(options.get("retries"))
        self._seconds = limits.unique.seconds if limits.unique else 0.0
        # What is gathered is published by somebody else, later: the worker, with its ack.
        self._brief = gathered.get() is None and self._seconds > CLAIM
        self._taken = False

    def take(self) -> str | None:
        """Return who holds the lock now; None if the task is not unique."""
        if self._key is None:
            return None
        seconds = CLAIM if self._brief else self._seconds
        owner: str = self._app.limiter.claim([LockWish(self._key, self._id, seconds)])[0]
        self._taken = owner == self._id
        return owner

    def keep(self) -> None:
        """Hold it for its whole time: the message is safe."""
        if self._taken and self._brief:
            try:
                self._app.limiter.extend([(self._key, self._id)], self._seconds)
            except LimiterError as exc:
                log.warning("%s: task %s is unique for %g s only", exc, self._id, CLAIM)

    def give_back(self) -> None:
        """Free it: nothing was sent."""
        if self._taken and not self._again:
            try:
                self._app.limiter.unlock([(self._key, self._id)])
            except LimiterError as exc:
                log.warning("%s: the lock of %s ends in %g s", exc, self._id, self._seconds)
