"""Find the secrets of Python source: its literals, by the name they are given to and by shape.

Nothing is run. A text put together from several literals is looked at as a whole, so that a
password does not slip through in pieces.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from typing import Any

from .censor_values import Edit, conceal, conceal_text, has_reference
from .redact import MASK, is_secret_key

#: A call whose first argument names a variable; the text there is no secret, its default may be.
_LOOKUP = re.compile(r"(env|environ|getenv|config|secrets?)\b|\.(get|pop|setdefault)$", re.I)
_VARIABLE = re.compile(r"[A-Za-z][\w.:/-]*")
_LITERAL = re.compile(r"(?P<prefix>[A-Za-z]*)(?P<quote>\"\"\"|'''|\"|')")


def python_edits(text: str) -> Iterator[Edit]:
    """Yield what must change in a text that parses as Python."""
    return _Searcher(text).edits()


class _Searcher:
    """Goes through the tree with one question: does this literal stand under a secret name?"""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts = [0]
        for line in io.StringIO(text, newline="\n"):
            self.starts.append(self.starts[-1] + len(line))
        self.lines = text.split("\n")
        self.strings: dict[int, int] = {}
        self.comments: list[tuple[int, int]] = []
        self._scan()
        self.found: dict[int, Edit] = {}
        #: Pieces of texts that were judged as a whole.
        self.cleared: set[ast.AST] = set()
        self.hidden: set[ast.AST] = set()

    def _scan(self) -> None:
        for token in tokenize.generate_tokens(io.StringIO(self.text).readline):
            start, end = self._at(*token.start), self._at(*token.end)
            if token.type == tokenize.STRING:
                self.strings[start] = end
            elif token.type == tokenize.COMMENT:
                self.comments.append((start, end))

    def _at(self, line: int, column: int) -> int:
        return self.starts[line - 1] + column

    def _span(self, node: Any) -> tuple[int, int]:
        """Return where a node stands; the tree counts bytes in a line, we count characters."""
        ends = []
        for line, column in (
            (node.lineno, node.col_offset),
            (node.end_lineno, node.end_col_offset),
        ):
            head = self.lines[line - 1].encode()[:column].decode()
            ends.append(self._at(line, len(head)))
        return ends[0], ends[1]

    def edits(self) -> Iterator[Edit]:
        self._visit(ast.parse(self.text), secret=False)
        for start, end in self.comments:
            comment = self.text[start:end]
            if (shown := conceal_text(comment)) != comment:
                self.found[start] = Edit(start, end, shown)
        yield from self.found.values()

    # -- the tree

    def _visit(self, node: ast.AST, *, secret: bool) -> None:
        match node:
            case ast.Constant():
                self._constant(node, secret)
            case ast.JoinedStr():
                self._joined(node, secret)
            case ast.Assign() | ast.AnnAssign() | ast.NamedExpr() | ast.AugAssign():
                self._assignment(node, secret)
            case ast.Dict():
                self._dict(node, secret)
            case ast.Call():
                self._call(node, secret)
            case ast.Compare():
                sides = (node.left, *node.comparators)
                named = any(_is_secret(s) for s in sides if not isinstance(s, ast.Constant))
                self._children(node, secret or named)
            case ast.Subscript():
                self._visit(node.value, secret=secret)
                self._visit(node.slice, secret=False)
            case ast.arguments():
                self._arguments(node)
            case ast.Tuple() | ast.List() if _is_pair(node):
                self._visit(node.elts[0], secret=secret)
                self._visit(node.elts[1], secret=True)
            case ast.BinOp():
                self._together(node)
                self._children(node, secret)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._children(node, False)
            case _:
                self._children(node, secret)

    def _children(self, node: ast.AST, secret: bool) -> None:
        for child in ast.iter_child_nodes(node):
            self._visit(child, secret=secret)

    def _assignment(self, node: Any, secret: bool) -> None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            self._visit(target, secret=False)
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for name, value in zip(target.elts, node.value.elts, strict=False):
                    self._visit(value, secret=secret or _is_secret(name))
        if node.value is not None:
            self._visit(node.value, secret=secret or any(map(_is_secret, targets)))

    def _dict(self, node: ast.Dict, secret: bool) -> None:
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None:
                self._visit(key, secret=False)
            self._visit(value, secret=secret or (key is not None and _is_secret(key)))

    def _call(self, node: ast.Call, secret: bool) -> None:
        self._together(node)
        name = ast.unparse(node.func)
        lookup = bool(_LOOKUP.search(name)) and bool(node.args) and _is_variable(node.args[0])
        named = bool(node.args) and _is_variable(node.args[0]) and _is_secret(node.args[0])
        self._visit(node.func, secret=secret)
        for number, argument in enumerate(node.args):
            under = number > 0 and (secret or named) if lookup else secret or (named and number > 0)
            self._visit(argument, secret=under)
        for keyword in node.keywords:
            default = lookup and keyword.arg == "default" and _is_secret(node.args[0])
            own = keyword.arg is not None and is_secret_key(keyword.arg)
            self._visit(keyword.value, secret=secret or own or default)

    def _arguments(self, node: ast.arguments) -> None:
        names = [*node.posonlyargs, *node.args]
        named = [*zip(names[len(names) - len(node.defaults) :], node.defaults, strict=True)]
        named += zip(node.kwonlyargs, node.kw_defaults, strict=True)  # type: ignore[arg-type]
        for argument, default in named:
            if default is not None:
                self._visit(default, secret=is_secret_key(argument.arg))

    # -- literals

    def _constant(self, node: ast.Constant, secret: bool) -> None:
        value = node.value
        start, end = self._span(node)
        if isinstance(value, str | bytes):
            text = value.decode("latin-1") if isinstance(value, bytes) else value
            shown = conceal(text, secret or node in self.hidden)
            if shown != text and (secret or node not in self.cleared):
                self._replace(start, end, shown)
        elif secret and isinstance(value, int | float | complex) and not isinstance(value, bool):
            self.found[start] = Edit(start, end, f'"{MASK}"')

    def _replace(self, start: int, end: int, shown: str) -> None:
        """Let the first of the literals that make up a text say it all, the others nothing."""
        parts = [at for at in sorted(self.strings) if start <= at < end] or [start]
        for number, at in enumerate(parts):
            until = self.strings.get(at, end)
            literal = self.text[at:until]
            new = _literal(literal, shown) if number == 0 else _literal(literal, "")
            self.found[at] = Edit(at, until, new)

    def _joined(self, node: ast.JoinedStr, secret: bool) -> None:
        start, end = self._span(node)
        whole = "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values)
        inner = [n for v in node.values if isinstance(v, ast.FormattedValue) for n in ast.walk(v)]
        texts = [n.value for n in inner if isinstance(n, ast.Constant) and isinstance(n.value, str)]
        if any(text != conceal(text, hidden) for text, hidden in
               [(whole, secret), *((text, False) for text in texts)]):  # fmt: skip
            literal = self.text[start:end]
            shown = literal if secret else conceal_text(literal)
            self.found[start] = Edit(start, end, f'"{MASK}"' if shown == literal else shown)

    def _together(self, node: ast.expr) -> None:
        """Judge a text that is put together as a whole, not by its pieces.

        Pieces that show nothing alone and a secret together are hidden; pieces that look like
        the beginning of a secret, but are followed by a name, are none.
        """
        whole = _fold(node)
        if not isinstance(whole, str):
            return
        shown = conceal(whole)
        for part in _pieces(node):
            if not (isinstance(part.value, str) and part.value):
                continue
            if shown == whole:
                self.cleared.add(part)
            elif part.value not in shown and not has_reference(part.value):
                self.hidden.add(part)


def _is_secret(node: ast.AST) -> bool:
    """Return whether a target, a key or a side of a comparison names a secret."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return is_secret_key(name)
        case ast.Constant(value=str(name)):
            return is_secret_key(name)
        case ast.Subscript(slice=key):
            return _is_secret(key)
    return False


def _is_pair(node: ast.Tuple | ast.List) -> bool:
    """Return whether this is (key, value) with a key that names a secret."""
    return len(node.elts) == 2 and isinstance(node.elts[0], ast.Constant) and _is_secret(
        node.elts[0]
    )  # fmt: skip


def _is_variable(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and bool(
        isinstance(node.value, str) and _VARIABLE.fullmatch(node.value)
    )


def _fold(node: ast.expr) -> Any:
    """Return the text that an expression of literals makes; names in it stand for nothing."""
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Tuple(elts=parts):
            return tuple(map(_fold, parts))
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            a, b = _fold(left), _fold(right)
            return a + b if isinstance(a, str) and isinstance(b, str) else None
        case ast.BinOp(left=left, op=ast.Mod(), right=right):
            return _attempt(lambda a, b: a % b, _fold(left), _fold(right))
        case ast.Call(func=ast.Attribute(value=template, attr="format"), args=args, keywords=more):
            named = {k.arg: _fold(k.value) for k in more if k.arg}
            return _attempt(lambda t: t.format(*map(_fold, args), **named), _fold(template))
        case ast.Name() | ast.Attribute() | ast.Call() | ast.Subscript():
            return "{}"
    return None


def _pieces(node: ast.expr) -> Iterator[ast.Constant]:
    """Yield the literals that `_fold` puts together, and no others."""
    match node:
        case ast.Constant():
            yield node
        case ast.Tuple(elts=parts):
            for part in parts:
                yield from _pieces(part)
        case ast.BinOp(left=left, right=right):
            yield from _pieces(left)
            yield from _pieces(right)
        case ast.Call(func=ast.Attribute(value=template, attr="format"), args=args, keywords=more):
            for part in (template, *args, *(keyword.value for keyword in more)):
                yield from _pieces(part)


def _attempt(make: Any, *parts: Any) -> Any:
    if not isinstance(parts[0], str):
        return None
    try:
        return make(*parts)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError):
        return None


def _literal(literal: str, content: str) -> str:
    """Return a literal with other content, in the same quotes where that goes."""
    found = _LITERAL.match(literal)
    prefix, quote = (found["prefix"], found["quote"]) if found else ("", '"')
    kept = f"{prefix}{quote}{content}{quote}"
    if _evaluates(kept, content):
        return kept
    # The text of a literal that says what it says escaped: mask that rather than what it means.
    inner = literal[len(prefix) + len(quote) : -len(quote)]
    masked = f"{prefix}{quote}{conceal(inner)}{quote}"
    if _evaluates(masked, content):
        return masked
    return repr(content.encode("latin-1")) if "b" in prefix.lower() else repr(content)


def _evaluates(literal: str, content: str) -> bool:
    try:
        value = ast.literal_eval(literal)
    except (ValueError, SyntaxError):
        return False
    return bool((value.decode("latin-1") if isinstance(value, bytes) else value) == content)
