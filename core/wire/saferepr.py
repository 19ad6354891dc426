"""The text of a task's arguments for people: Python `repr` in style, short whatever they hold.

Must read as Celery 5.7 writes it (utils/saferepr.py), since monitors show both side by side: a
long text is cut inside, and every bracket that was opened is closed.
"""

from __future__ import annotations

from decimal import Decimal
from numbers import Number
from typing import Any

#: Longest text of arguments in a message header, in characters (Celery's argsrepr_maxsize).
MAX_LENGTH = 1024
#: What `max_levels` 0 stands for: deeper than this Python's own stack is in danger.
_DEEPEST = 200
_SETS = (set, frozenset)
_CONTAINERS = (tuple, list, dict, set, frozenset)
#: Types whose text is that of `repr`, and short.
PLAIN = frozenset({int, float, bool, type(None)})


class _Full(Exception):
    """The text has reached its length."""


def saferepr(value: Any, max_length: int | None = MAX_LENGTH, max_levels: int = 3) -> str:
    """Return the text of `value`, about `max_length` characters at most.

    Containers nested deeper than `max_levels` (0: any depth) show as `[...]`.  Never raises.
    """
    if type(value) is tuple and PLAIN.issuperset(map(type, value)):
        # Most calls: one tenth of the time.
        text = repr(value)
        if max_length is None or len(text) < max_length:
            return text
    writer = _Writer(max_length, max_levels or _DEEPEST)
    try:
        writer.write(value)
    except _Full:
        writer.parts.append(", ...")
        writer.parts.extend(reversed(writer.closers))
    return "".join(writer.parts)


class _Writer:
    """Text so far, how much more it may become, and the brackets still open."""

    def __init__(self, left: int | None, levels: int) -> None:
        self.parts: list[str] = []
        self.left = left
        self.levels = levels
        self.closers: list[str] = []
        self.seen: set[int] = set()

    def put(self, text: str) -> None:
        if self.left is not None:
            if self.left <= 0:
                raise _Full
            self.left -= len(text)
        self.parts.append(text)

    def write(self, value: Any) -> None:
        if isinstance(value, _CONTAINERS) and (value or not isinstance(value, _SETS)):
            self._container(value)
            return
        self._room()
        if isinstance(value, str | bytes):
            self.put(_quoted(value, self.left))
        elif isinstance(value, _SETS):
            self.put(_cut(f"{type(value).__name__}()", self.left))
        elif isinstance(value, Number) and not isinstance(value, Decimal):
            self.put(_cut(str(value), self.left))
        else:
            self.put(_cut(_repr(value), self.left))

    def _room(self) -> None:
        """Asked before a text is cut to what is left: 0 must not be taken for no limit."""
        if self.left is not None and self.left <= 0:
            raise _Full

    def _container(self, value: Any) -> None:
        opener, closer = _brackets(value)
        if len(self.closers) >= self.levels:
            self.put(f"{opener}...{closer}")
            return
        if id(value) in self.seen:
            self.put(f"<Recursion on {type(value).__name__} with id={id(value)}>")
            return
        self.put(opener)
        self.closers.append(closer)
        self.seen.add(id(value))
        if isinstance(value, dict):
            self._pairs(value)
        else:
            self._items(value)
        self.seen.discard(id(value))
        self.closers.pop()
        # A closing bracket always fits: nothing was left out before it.
        self.parts.append(closer)
        if self.left is not None and self.left > 0:
            self.left -= len(closer)

    def _items(self, values: Any) -> None:
        for position, item in enumerate(values):
            if position:
                self.put(", ")
            self.write(item)

    def _pairs(self, values: dict[Any, Any]) -> None:
        for position, (key, item) in enumerate(values.items()):
            if position:
                self.put(", ")
            self._room()
            self.put(saferepr(key, self.left, self.levels))
            self.put(": ")
            self.write(item)


def _brackets(value: Any) -> tuple[str, str]:
    if isinstance(value, tuple):
        return "(", ",)" if len(value) == 1 else ")"
    if isinstance(value, dict):
        return "{", "}"
    if isinstance(value, list):
        return "[", "]"
    return ("{", "}") if type(value) is set else (f"{type(value).__name__}({{", "})")


def _quoted(value: str | bytes, limit: int | None) -> str:
    if isinstance(value, str):
        return "'" + _cut(value, limit).replace("'", "\\'") + "'"
    cut = limit is not None and len(value) > limit
    shown = value[:limit] if cut else value
    try:
        text = shown.decode("utf-8")
    except UnicodeDecodeError:
        text = shown.hex()
    return f"b'{text}...'" if cut else f"b'{text}'"


def _cut(text: str, limit: int | None) -> str:
    """Cut at the last space before the limit, if there is one."""
    if limit and len(text) >= limit:
        return text[:limit].rsplit(" ", 1)[0] + "..."
    return text


def _repr(value: Any) -> str:
    try:
        return repr(value)
    except Exception as exc:  # a repr is the user's code
        return f"<unprintable {type(value).__name__}: {type(exc).__name__}>"
