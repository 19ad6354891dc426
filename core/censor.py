"""Copies of settings texts without their secrets: .py, .toml, .env, JSON, or any other text.

Only the values that must not be shown change; comments, order and every space stay. What is
secret is decided by `redact`: by key word and by shape. A reference such as `${PASSWORD}` or
`os.environ["PASSWORD"]` is no secret.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .censor_lexer import word_edits
from .censor_python import python_edits
from .censor_values import Edit, apply, conceal, conceal_text
from .redact import is_secret_key

_SUFFIXES = {".py": "python", ".toml": "toml", ".json": "json", ".env": "env"}

_ENV_LINE = re.compile(
    r"(?m)^(?P<head>[ \t]*(?:export[ \t]+)?(?P<key>[A-Za-z_][\w.]*)[ \t]*=[ \t]*)"
    r"(?P<value>\"(?:[^\"\\]|\\.)*\"|'[^']*'|[^\n]*?(?=[ \t]+\#|[ \t\r]*$))"
    r"(?P<tail>[^\n]*)"
)
#: A line of a .env file as shells want it: no space around the sign.
_SHELL_LINE = re.compile(r"\s*(?:export\s+)?[A-Za-z_]\w*=(?:\S|$)")


class Censored(NamedTuple):
    """A text without secrets, and the numbers of the lines that held one."""

    text: str
    lines: list[int]


def kind_of(name: str, text: str) -> str:
    """Return what a text is: by the name of its file, else by what it can be read as."""
    base = name.rpartition("/")[2]
    if base == ".env" or base.startswith(".env."):
        return "env"
    suffix = f".{base.rpartition('.')[2]}" if "." in base else ""
    return _SUFFIXES.get(suffix) or _guess(text)


def _guess(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip() and line.lstrip()[0] != "#"]
    if _reads(json.loads, text):
        return "json"
    if _reads(tomllib.loads, text):
        return "toml"
    if lines and all(map(_SHELL_LINE.match, lines)):
        return "env"
    return "python" if _reads(ast.parse, text) else "text"


def _reads(read: Callable[[str], Any], text: str) -> bool:
    try:
        read(text)
    except (ValueError, SyntaxError, RecursionError):
        return False
    return True


def censor(text: str, kind: str) -> Censored:
    """Return a copy of a settings text without its secrets.

    `kind` is python, toml, json, env or text; Python that does not parse is taken as text.
    """
    match kind:
        case "python" if _reads(ast.parse, text):
            edits = list(python_edits(text))
        case "toml" | "json":
            edits = list(word_edits(text, kind))
        case "env":
            edits = list(_env_edits(text))
        case _:
            return _censor_any(text)
    lines = {text.count("\n", 0, edit.start) + 1 for edit in edits}
    return Censored(apply(text, edits), sorted(lines))


def _censor_any(text: str) -> Censored:
    copy = conceal_text(text)
    pairs = zip(text.splitlines(), copy.splitlines(), strict=False)
    return Censored(copy, [number for number, (a, b) in enumerate(pairs, 1) if a != b])


def _env_edits(text: str) -> Iterator[Edit]:
    done = 0
    for found in _ENV_LINE.finditer(text):
        yield from _text_edit(text, done, found.start())
        start, end = found.span("value")
        quote = text[start : start + 1] if text[start : start + 1] in ("'", '"') else ""
        inner = text[start + len(quote) : end - len(quote)] if quote else text[start:end]
        shown = conceal(inner, is_secret_key(found["key"]))
        if shown != inner:
            yield Edit(start, end, quote + shown + quote)
        yield from _text_edit(text, end, found.end())
        done = found.end()
    yield from _text_edit(text, done, len(text))


def _text_edit(text: str, start: int, end: int) -> Iterator[Edit]:
    """Yield what must change between the settings: comments, and what nobody understands."""
    between = text[start:end]
    if (shown := conceal_text(between)) != between:
        yield Edit(start, end, shown)
