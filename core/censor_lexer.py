"""Find the secrets of a TOML or JSON text by its words alone, so that nothing else moves."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator

from .censor_values import Edit, conceal, conceal_text
from .redact import MASK, is_secret_key

_WORD = re.compile(
    r"(?P<comment>\#[^\n]*)"
    r'|(?P<string>"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\')'
    r"|(?P<mark>[=:\[\]{},\n])"
    r"|(?P<bare>[^\s=:\[\]{},\#\"']+)",
    re.DOTALL,
)
#: Bare words that no secret is.
_CONSTANTS = frozenset(("true", "false", "null"))
_OPTION = re.compile(r"--?[A-Za-z][\w-]*")


class _Level:
    """One pair of brackets: what it holds, and whether all of it is secret."""

    def __init__(self, *, keyed: bool, secret: bool) -> None:
        self.keyed = keyed
        self.secret = secret
        #: The string before this one in a list: an option's name, maybe.
        self.before = ""


class _Reader:
    """Goes through the words once; `secret` is whether the value that comes now is one."""

    def __init__(self, text: str, kind: str) -> None:
        self.text = text
        self.kind = kind
        self.sign = "=" if kind == "toml" else ":"
        self.levels = [_Level(keyed=kind == "toml", secret=False)]
        self.in_key = kind == "toml"
        self.in_header = False
        self.key: list[str] = []
        self.secret = False

    def edits(self) -> Iterator[Edit]:
        for found in _WORD.finditer(self.text):
            kind, word = str(found.lastgroup), found[0]
            if kind == "mark":
                self._turn(word)
                continue
            changed = conceal_text(word) if kind == "comment" else self._word(word, kind)
            if changed != word:
                yield Edit(found.start(), found.end(), changed)

    def _turn(self, mark: str) -> None:
        level = self.levels[-1]
        bottom = len(self.levels) == 1 and self.kind == "toml"
        if mark == "\n":
            if bottom:
                self._end_line()
        elif bottom and self.in_key and mark in "[]":
            self.in_header = True
        elif mark == self.sign and self.in_key:
            self.in_key = False
            self.secret = level.secret or self._is_secret()
        elif mark in "[{":
            secret = level.secret or self.secret
            self.levels.append(_Level(keyed=mark == "{", secret=secret))
            self._begin(self.levels[-1])
        elif mark in "]}":
            if len(self.levels) > 1:
                self.levels.pop()
        elif mark == ",":
            self._begin(level)

    def _begin(self, level: _Level) -> None:
        self.in_key = level.keyed
        self.key = []
        self.secret = level.secret

    def _end_line(self) -> None:
        if self.in_header:
            self.levels[0].secret = self._is_secret()
            self.in_header = False
        self._begin(self.levels[0])
        self.in_key = True

    def _is_secret(self) -> bool:
        return any(is_secret_key(part) for part in self.key)

    def _word(self, word: str, kind: str) -> str:
        if self.in_key:
            self.key.append(word)
            return conceal_string(word, self.kind) if kind == "string" else word
        level = self.levels[-1]
        secret = self.secret or is_secret_key(level.before)
        level.before = ""
        if kind == "string":
            plain = _content(word, self.kind)
            if not level.keyed and plain and _OPTION.fullmatch(plain):
                level.before = plain
            return conceal_string(word, self.kind, secret)
        return f'"{MASK}"' if secret and word not in _CONSTANTS else word


def _content(word: str, kind: str) -> str | None:
    """Return what a string literal stands for; None if it is malformed."""
    try:
        if kind == "toml":
            return str(tomllib.loads(f"x={word}")["x"])
        return str(json.loads(word))
    except ValueError:
        return None


def conceal_string(word: str, kind: str, secret: bool = False) -> str:
    """Return a string literal as it may be shown, in its own quotes where that goes."""
    content = _content(word, kind)
    if content is None:
        return f'"{MASK}"' if secret else conceal_text(word)
    shown = conceal(content, secret)
    if shown == content:
        return word
    quote = word[0] * (3 if word.startswith((word[0] * 3,)) and len(word) > 5 else 1)
    kept = quote + conceal(word[len(quote) : -len(quote)], secret) + quote
    if _content(kept, kind) == shown:
        return kept
    return json.dumps(shown, ensure_ascii=False).replace("\x7f", "\\u007f")


def word_edits(text: str, kind: str) -> Iterator[Edit]:
    """Yield what must change in a text of TOML or JSON."""
    return _Reader(text, kind).edits()
