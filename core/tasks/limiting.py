"""How often, how many at once, and whether twice: what a task may say of its own limits.

A limit holds for the task, or for each **key**: a function of the task's arguments, a template
such as "{user_id}", "*" for all arguments together, or None for the task as a whole.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import string
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ..errors import ImproperlyConfigured
from ..ways import celerys
from ..wire.saferepr import saferepr

#: A key: see above.
Key = Callable[..., Any] | str | None
#: Seconds in the units of a rate limit.
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
#: Longest text of a key, in characters; of a longer one its digest is taken.
_LONGEST = 200
#: Longest time that a lock may be asked for, in seconds: ten years.
_LONGEST_LOCK = 10 * 365 * 86400.0


def parse_rate(limit: str | float | None) -> float:
    """Return tasks a second; 0 for no limit.

    A limit is a number (a second), or "N/s", "N/m", "N/h".  Raises ImproperlyConfigured.
    """
    if not limit:
        return 0.0
    number, slash, unit = str(limit).partition("/")
    try:
        seconds = _UNITS[unit.strip()] if slash else 1.0
        rate = float(number) / seconds
    except (KeyError, ValueError):
        raise ImproperlyConfigured(
            f"rate limit {limit!r}: write N/s, N/m or N/h, or 0 for none"
        ) from None
    if rate < 0 or rate != rate:
        raise ImproperlyConfigured(f"rate limit {limit!r}: must be 0 or more")
    return rate


class Limit:
    """A rate limit that all workers share (`scope="global"`), or each has alone ("worker").

    `rate` is "10/s", "10/m", "10/h" or a number a second: runs begin so far apart, or up to `burst`
    at once when none ran before.  `name` lets several tasks share one limit; by default it is the
    task's own.

    Raises ImproperlyConfigured for a rate that cannot be read, or is not above 0.
    """

    def __init__(
        self,
        rate: str | float,
        *,
        scope: str = "global",
        key: Key = None,
        burst: int = 1,
        name: str | None = None,
    ) -> None:
        if scope not in ("global", "worker"):
            raise ImproperlyConfigured(f"Limit: scope {scope!r}: choose 'global' or 'worker'")
        if type(burst) is not int or burst < 1:
            raise ImproperlyConfigured(f"Limit: burst must be a whole number from 1, got {burst!r}")
        per_second = parse_rate(rate)
        if not 0 < per_second < math.inf:
            raise ImproperlyConfigured(f"Limit: rate {rate!r} must be above 0: leave the limit out")
        self.rate, self.scope, self.key, self.burst, self.name = rate, scope, key, burst, name
        #: Seconds between two runs.
        self.interval = 1.0 / per_second

    def at(self, rate: str | float) -> Limit:
        """Return this limit with another rate."""
        return Limit(rate, scope=self.scope, key=self.key, burst=self.burst, name=self.name)

    def __str__(self) -> str:
        return str(self.rate)

    def __repr__(self) -> str:
        return f"Limit({self.rate!r}, scope={self.scope!r}, key={self.key!r}, burst={self.burst})"


class Concurrency:
    """How many runs there may be at once, on all workers together.

    `name` lets several tasks share one limit.  Raises ImproperlyConfigured if `limit` is below 1.
    """

    def __init__(self, limit: int, *, key: Key = None, name: str | None = None) -> None:
        if type(limit) is not int or limit < 1:
            raise ImproperlyConfigured(
                f"Concurrency: the limit must be a whole number from 1, got {limit!r}"
            )
        self.limit, self.key, self.name = limit, key, name

    def __repr__(self) -> str:
        return f"Concurrency({self.limit}, key={self.key!r})"


class Unique:
    """One call at a time: others are refused while its lock is held.

    The lock is held `until` the run "start"s, until it is "done", or for so many seconds from the
    call.  `ttl` (seconds) bounds the first two, should the message be lost.

    Raises ImproperlyConfigured for an `until` or `ttl` that is none of these.
    """

    def __init__(
        self, key: Key = None, *, until: str | float = "done", ttl: float = 86400.0
    ) -> None:
        if until not in ("start", "done") and not _is_time(until):
            raise ImproperlyConfigured(
                f"Unique: until={until!r}: choose 'start', 'done', or seconds above 0 and up to "
                "ten years"
            )
        if not _is_time(ttl):
            raise ImproperlyConfigured(
                f"Unique: ttl={ttl!r}: seconds above 0 and up to ten years expected"
            )
        self.key, self.until, self.ttl = key, until, float(ttl)

    @property
    def seconds(self) -> float:
        """How long the lock is held at most."""
        return self.ttl if isinstance(self.until, str) else float(self.until)

    def __repr__(self) -> str:
        return f"Unique({self.key!r}, until={self.until!r})"


def _is_time(seconds: Any) -> bool:
    return (
        isinstance(seconds, int | float)
        and not isinstance(seconds, bool)
        and 0 < seconds <= _LONGEST_LOCK
    )


# --- keys ---------------------------------------------------------------------------------------


class Keys(NamedTuple):
    """The keys of one call, None where there is no such limit."""

    rate: str | None = None
    concurrency: str | None = None
    unique: str | None = None


class Limits:
    """All limits of one task, and the keys of its calls.

    Raises ImproperlyConfigured if a key names no argument of the task.
    """

    def __init__(
        self,
        task: str,
        signature: inspect.Signature | None,
        rate: Limit | None,
        concurrency: Concurrency | None,
        unique: Unique | None,
    ) -> None:
        self.task = task
        self.signature = signature
        self.rate, self.concurrency, self.unique = rate, concurrency, unique
        for limit in (rate, concurrency, unique):
            if limit is not None:
                _check(task, type(limit).__name__, limit.key, signature)

    @property
    def shared(self) -> bool:
        """Whether all workers must agree on one of them."""
        here = self.rate is not None and self.rate.scope == "worker"
        return bool(self.concurrency or self.unique or (self.rate and not here))

    def keys(self, args: Any, kwargs: Mapping[str, Any] | None) -> Keys:
        """Return the keys of a call with these arguments.

        Raises TypeError if a key cannot be made of them, naming the task and the limit.
        """
        return Keys(*(self._key(one, args, kwargs) for one in self._all()))

    def _all(self) -> tuple[Limit | None, Concurrency | None, Unique | None]:
        return self.rate, self.concurrency, self.unique

    def _key(self, limit: Any, args: Any, kwargs: Any) -> str | None:
        if limit is None:
            return None
        base = getattr(limit, "name", None) or self.task
        if limit.key is None:
            return str(base)
        try:
            text = self._text(limit.key, tuple(args or ()), dict(kwargs or {}))
        except Exception as exc:  # the function is the user's
            what = f"the key of its {type(limit).__name__}"
            raise TypeError(f"task {self.task}: {what} cannot be made: {exc!r}") from exc
        whole = f"{base}:{text}"
        if len(whole) <= _LONGEST:
            return whole
        return f"{base}:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"

    def _text(self, key: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        if callable(key):
            return str(key(*args, **kwargs))
        named = self._named(args, kwargs)
        if key == "*":
            return json.dumps(named, sort_keys=True, default=saferepr)
        return string.Formatter().vformat(key, (), named)

    def _named(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, defaults too."""
        if self.signature is None:
            return {"args": args, **kwargs}
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        named = dict(bound.arguments)
        for parameter in self.signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                named |= named.pop(parameter.name)
        return named


def _check(task: str, limit: str, key: Any, signature: inspect.Signature | None) -> None:
    """Raise ImproperlyConfigured for a key that no call could have."""
    if key is None or callable(key) or key == "*":
        return
    where = f"task {task}: {limit}(key={key!r})"
    if not isinstance(key, str):
        raise ImproperlyConfigured(
            f"{where}: a function, a template such as '{{user_id}}', '*' or None expected"
        )
    try:
        fields = [name for _, name, _, _ in string.Formatter().parse(key) if name is not None]
    except ValueError as exc:
        raise ImproperlyConfigured(f"{where}: {exc}") from None
    if not fields:
        raise ImproperlyConfigured(
            f"{where} names no argument: write it as '{{name}}', or leave the key out"
        )
    known, anything = _names(signature)
    for field in fields:
        name = field.partition(".")[0].partition("[")[0]
        if not name.isidentifier() or not (anything or name in known):
            listed = ", ".join(known) or "none"
            raise ImproperlyConfigured(f"{where} names no argument of the task: it has {listed}")


def _names(signature: inspect.Signature | None) -> tuple[list[str], bool]:
    """Return the names of arguments, and whether any other may be given."""
    if signature is None:
        return [], True
    parameters = signature.parameters.values()
    anything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    return [p.name for p in parameters if p.kind is not p.VAR_KEYWORD], anything


# --- of a task ----------------------------------------------------------------------------------


def limits_of(cls: Any) -> Limits | None:
    """Return the limits that a task class declares; None if it has none of ours.

    Raises ImproperlyConfigured for options that are no limits.
    """
    rate = cls.rate_limit if isinstance(cls.rate_limit, Limit) else None
    concurrency, unique = cls.concurrency, cls.unique
    if celerys():
        # There, an option of that name is the user's own, and may be anything.
        concurrency = concurrency if isinstance(concurrency, Concurrency) else None
        unique = unique if isinstance(unique, Unique) else None
    if rate is None and concurrency is None and unique in (None, False):
        return None
    name = cls.name or cls.__name__
    if type(concurrency) is int:
        concurrency = Concurrency(concurrency)
    if unique is True or isinstance(unique, str):
        unique = Unique(None if unique is True else unique)
    for option, value, kind in (
        ("concurrency", concurrency, Concurrency),
        ("unique", unique or None, Unique),
    ):
        if value is not None and not isinstance(value, kind):
            raise ImproperlyConfigured(
                f"task {name}: {option}={value!r}: a {kind.__name__} object expected"
            )
    return Limits(name, _signature(cls), rate, concurrency, unique or None)


def _signature(cls: Any) -> inspect.Signature | None:
    """Return the parameters that callers give values for."""
    run = inspect.getattr_static(cls, "run")
    plain = isinstance(run, staticmethod)
    try:
        found = inspect.signature(run.__func__ if plain else run)
    except (TypeError, ValueError):
        return None
    parameters = list(found.parameters.values())
    return found.replace(parameters=parameters if plain else parameters[1:])
