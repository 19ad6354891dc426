"""Conditions as people type them: `queue == images and attempts > 2`, `oldest_seconds > 10m`.

The language is the comparing part of Python's, read by `ast` and walked here; nothing is ever
executed. Names are keys of the row, with a dot for what lies inside (`delivery_info.routing_key`).
There is no arithmetic, so that dashes and other signs are parts of words (`queue.my-queue.depth`,
`node == w1@web3`, `task == proj.*`); blanks, quotes, brackets, commas and `<>=!` end a word.
A word without quotes at the right of a comparison is a text if no row has such a key. Lengths of
time (`10m`, `1h`, `250ms`) and sizes (`64MiB`, `2kB`) are numbers of seconds and bytes. `==` and
`!=` match shell patterns. What is unknown (absent, null) meets no comparison but `== none` and
`!=`.
"""

from __future__ import annotations

import ast
import difflib
import fnmatch
import keyword
import operator
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .failures import usage

_UNITS = {
    "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800,
    "B": 1, "kB": 1000, "MB": 1000**2, "GB": 1000**3, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3,
}  # fmt: skip
_QUANTITY = re.compile(rf"(-?\d+(?:\.\d+)?)({'|'.join(sorted(_UNITS, key=len, reverse=True))})")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d{1,3})?")
#: Texts in quotes, which stay as they are, and words.
_PARTS = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(?P<word>[^\s'"<>=!,()\[\]{}]+)""")
#: Words of the language itself.
_OPERATORS = frozenset({"and", "or", "not", "in", "is"})
#: Stands in Python's eyes for a word that is no name to it; a number follows.
_STAND_IN = "_taskctl_word_"
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
        self._words: list[str] = []
        try:
            self._tree = self._parse(text.strip()).body
            self._check(self._tree)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
            hint = "compare with == rather than =" if _has_single_equals(text) else ""
            raise usage(f"{self._of}{text!r} is no condition", hint, _EXAMPLE) from exc

    def holds(self, row: Row) -> bool:
        """Return whether a row meets the condition."""
        return bool(self._value(self._tree, row))

    def names(self) -> list[str]:
        """Return the dotted names whose values the condition asks for, in order."""
        found = []
        for node, is_subject in _operands(self._tree):
            name = self._dotted(node)
            if name and name not in _WORDS and (is_subject or (self.keys and self._known(name))):
                found.append(name)
        return list(dict.fromkeys(found))

    # -- reading

    def _parse(self, text: str) -> ast.Expression:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python code: '\d' is not meant as such
            return ast.parse(_PARTS.sub(self._translate, text), mode="eval")

    def _translate(self, found: re.Match[str]) -> str:
        """Return what Python's parser takes for this word: itself, a number, or a stand-in."""
        word = found["word"]
        if word is None or word in _OPERATORS or word in _WORDS or _NUMBER.fullmatch(word):
            return found[0]
        if (amount := quantity(word)) is not None:
            return repr(amount)
        if _is_python_name(word.removeprefix(".")):
            return word
        self._words.append(word)
        return f"{_STAND_IN}{len(self._words) - 1}"

    def _dotted(self, node: ast.expr) -> str | None:
        """Return `a.b` of names and attributes, `a['b-c']` as `a.b-c`; None for anything else."""
        match node:
            case ast.Name(id=name):
                number = name.removeprefix(_STAND_IN)
                return self._words[int(number)] if number != name else name
            case ast.Attribute(value=value, attr=attr):
                head = self._dotted(value)
                return None if head is None else f"{head}.{attr}"
            case ast.Subscript(value=value, slice=ast.Constant(value=str() | int() as key)):
                head = self._dotted(value)
                return None if head is None else f"{head}.{key}"
        return None

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
        name = self._dotted(node)
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
        name = self._dotted(node) or ""
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


def _operands(node: ast.expr) -> Iterable[tuple[ast.expr, bool]]:
    """Yield the operands of all comparisons, and whether each stands at the left of its own."""
    match node:
        case ast.BoolOp(values=values):
            for value in values:
                yield from _operands(value)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield from _operands(operand)
        case ast.Compare(left=left, comparators=others):
            yield left, True
            for other in others:
                yield other, False
        case _:
            yield node, True


def _is_python_name(word: str) -> bool:
    parts = word.split(".")
    return all(
        part.isidentifier()
        and part.isascii()  # Python writes others its own way
        and not keyword.iskeyword(part)
        and not part.startswith(_STAND_IN)
        for part in parts
    )


def _has_single_equals(text: str) -> bool:
    return re.search(r"[^=!<>]=[^=]", text) is not None
