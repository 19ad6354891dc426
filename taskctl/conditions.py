"""Conditions as people type them: `queue == images and attempts > 2`, `oldest_seconds > 10m`.

The language is the comparing part of Python's, read by `ast` and walked here; nothing is ever
executed. Names are keys of the row, with a dot for what lies inside (`delivery_info.routing_key`).
A word without quotes at the right of a comparison is a text if no row has such a key. Lengths of
time (`10m`, `1h`, `250ms`) and sizes (`64MiB`, `2kB`) are numbers of seconds and bytes. `==` and
`!=` match shell patterns (`task == 'proj.*'`). What is unknown (absent, null) meets no comparison
but `== none` and `!=`.
"""

from __future__ import annotations

import ast
import difflib
import fnmatch
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .failures import usage

_UNITS = {
    "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800,
    "B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3,
}  # fmt: skip
_QUANTITY = re.compile(
    rf"(?<![\w.'\"])(\d+(?:\.\d+)?)({'|'.join(sorted(_UNITS, key=len, reverse=True))})(?![\w'\"])"
)
_TEXTS = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
_WORDS: Mapping[str, Any] = {
    "none": None, "null": None, "None": None, "true": True, "True": True, "false": False,
    "False": False,
}  # fmt: skip
_ORDER: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge,
}  # fmt: skip
_EXAMPLE = "example: queue == images and attempts > 2"

Row = Mapping[str, Any]


class Condition:
    """A condition on rows, read once.

    `keys` are those that rows may have, if they are known; None accepts any.
    Raises CommandError for a text that is no condition.
    """

    def __init__(self, text: str, keys: Iterable[str] | None = None, option: str = "") -> None:
        self.text = text
        self.keys = None if keys is None else frozenset(keys)
        self._of = f"{option} " if option else ""
        try:
            tree = ast.parse(_plain_numbers(text.strip()), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
            hint = "compare with == rather than =" if _has_single_equals(text) else ""
            raise usage(f"{self._of}{text!r} is no condition", hint, _EXAMPLE) from exc
        self._tree = tree.body
        self._check(self._tree)

    def holds(self, row: Row) -> bool:
        """Return whether a row meets the condition."""
        return bool(self._value(self._tree, row))

    def names(self) -> list[str]:
        """Return the dotted names the condition begins a comparison with, in order."""
        found = [_dotted(node) for node in _subjects(self._tree)]
        return list(dict.fromkeys(name for name in found if name))

    # -- what is allowed

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.BoolOp(values=values):
                for value in values:
                    self._check(value)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                self._check(operand)
            case ast.Compare(left=left, comparators=others):
                self._check_operand(left, subject=True)
                for other in others:
                    self._check_operand(other)
            case _:
                self._check_operand(node, subject=True)

    def _check_operand(self, node: ast.expr, subject: bool = False) -> None:
        match node:
            case ast.Constant():
                return
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                for part in parts:
                    self._check_operand(part)
                return
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
                return
        name = _dotted(node)
        if name is None:
            raise usage(f"{self._of}{self.text!r}: only comparisons are understood", _EXAMPLE)
        if subject and not self._known(name) and name not in _WORDS:
            keys = sorted(self.keys or ())
            near = difflib.get_close_matches(name, keys, 1)
            raise usage(
                f"{self._of}{self.text!r}: there is no {name!r} here",
                f"did you mean: {near[0]}" if near else f"there are: {', '.join(keys)}",
            )

    def _known(self, name: str) -> bool:
        return self.keys is None or name in self.keys or name.partition(".")[0] in self.keys

    # -- what it means

    def _value(self, node: ast.expr, row: Row) -> Any:
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                return all(self._value(value, row) for value in values)
            case ast.BoolOp(values=values):
                return any(self._value(value, row) for value in values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return not self._value(operand, row)
            case ast.Compare(left=left, ops=ops, comparators=others):
                return self._compare(self._operand(left, row), ops, others, row)
        return self._operand(node, row)

    def _compare(self, left: Any, ops: list[ast.cmpop], others: list[ast.expr], row: Row) -> bool:
        for op, other in zip(ops, others, strict=True):
            right = self._operand(other, row, word=True)
            if not _relate(op, left, right):
                return False
            left = right
        return True

    def _operand(self, node: ast.expr, row: Row, word: bool = False) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.List(elts=parts) | ast.Tuple(elts=parts):
                return [self._operand(part, row, word=True) for part in parts]
            case ast.UnaryOp(operand=ast.Constant(value=int() | float() as value)):
                return -value
        name = _dotted(node) or ""
        if name in _WORDS and name not in row:
            return _WORDS[name]
        if word and name.partition(".")[0] not in (self.keys or row):
            return name
        return look_up(row, name)


def look_up(row: Row, path: str) -> Any:
    """Return the value under a dotted name; None if there is none.

    A key that itself holds dots is found too: the longest one counts.
    """
    if path in row:
        return row[path]
    parts = path.split(".")
    for count in range(len(parts) - 1, 0, -1):
        head = ".".join(parts[:count])
        below = row.get(head)
        if isinstance(below, Mapping):
            return look_up(below, ".".join(parts[count:]))
    return None


def quantity(text: str) -> float | None:
    """Return a length of time in seconds or a size in bytes; None if the text is neither."""
    found = _QUANTITY.fullmatch(text.strip())
    return None if found is None else float(found[1]) * _UNITS[found[2]]


def _relate(op: ast.cmpop, left: Any, right: Any) -> bool:
    match op:
        case ast.Eq() | ast.Is():
            return _same(left, right)
        case ast.NotEq() | ast.IsNot():
            return not _same(left, right)
        case ast.In():
            return _within(left, right)
        case ast.NotIn():
            return not _within(left, right)
    if left is None or right is None:
        return False
    try:
        return _ORDER[type(op)](left, right)
    except TypeError:
        return _ORDER[type(op)](str(left), str(right))


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left == right or fnmatch.fnmatchcase(left, right)
    if isinstance(left, list | tuple) and isinstance(right, str):
        return any(_same(part, right) for part in left)
    return bool(left == right)


def _within(left: Any, right: Any) -> bool:
    if isinstance(right, str):
        return isinstance(left, str) and left in right
    if isinstance(right, list | tuple):
        return any(_same(left, part) for part in right)
    return False


def _dotted(node: ast.expr) -> str | None:
    """Return `a.b` of names and attributes, `a['b-c']` as `a.b-c`; None for anything else."""
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=value, attr=attr):
            head = _dotted(value)
            return None if head is None else f"{head}.{attr}"
        case ast.Subscript(value=value, slice=ast.Constant(value=key)):
            head = _dotted(value)
            return None if head is None else f"{head}.{key}"
    return None


def _subjects(node: ast.expr) -> Iterable[ast.expr]:
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                yield from _subjects(value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield from _subjects(operand)
        case ast.Compare(left=left):
            yield left
        case _:
            yield node


def _plain_numbers(text: str) -> str:
    """Write `10m` as seconds and `2kB` as bytes, but not inside of quotes."""
    parts, last = [], 0
    for quoted in _TEXTS.finditer(text):
        parts += [_QUANTITY.sub(_number, text[last : quoted.start()]), quoted[0]]
        last = quoted.end()
    return "".join([*parts, _QUANTITY.sub(_number, text[last:])])


def _number(found: re.Match[str]) -> str:
    return repr(float(found[1]) * _UNITS[found[2]])


def _has_single_equals(text: str) -> bool:
    return re.search(r"[^=!<>]=[^=]", text) is not None
