"""`celery.utils.text`: small helpers for text.  Behaviour: Celery 5.7 utils/text.py."""

from __future__ import annotations

import io
import re
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pprint import pformat
from typing import Any

StringIO = io.StringIO

_PLACE = re.compile(r"%(\w)")


class WhateverIO(io.StringIO):
    """Text in memory that takes bytes too."""

    def __init__(self, v: str | bytes | None = None, *args: Any, **kwargs: Any) -> None:
        super().__init__(_decoded(v or ""), *args, **kwargs)

    def write(self, data: str | bytes) -> int:
        return super().write(_decoded(data))


def _decoded(data: str | bytes) -> str:
    return data.decode() if isinstance(data, bytes) else data


def str_to_list(s: Any) -> Any:
    """Return the parts of a comma list; anything else as it is."""
    return s.split(",") if isinstance(s, str) else s


def dedent_initial(s: str, n: int = 4) -> str:
    """Return text without its first `n` characters, if they are blanks."""
    return s[n:] if s[:n] == " " * n else s


def dedent(s: str, sep: str = "\n") -> str:
    """Return text with four blanks taken from the head of each line."""
    return sep.join(dedent_initial(line) for line in s.splitlines())


def fill_paragraphs(s: str, width: int, sep: str = "\n") -> str:
    """Return text with each paragraph wrapped at `width`."""
    return sep.join(textwrap.fill(part, width) for part in s.split(sep))


def join(lines: Iterable[str], sep: str = "\n") -> str:
    """Return the lines that are not empty, with `sep` between them."""
    return sep.join(filter(None, lines))


def ensure_sep(sep: str, s: str, n: int = 2) -> str:
    """Return text that ends in `n` times `sep`."""
    return s + sep * (n - s.count(sep))


def ensure_newlines(s: str, n: int = 2, sep: str = "\n") -> str:
    """Return text that has `n` newlines."""
    return ensure_sep(sep, s, n)


def abbr(S: str | None, max: int, ellipsis: str | bool = "...") -> str:
    """Return text cut to `max` characters, the ellipsis among them."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    if not isinstance(ellipsis, str) or not ellipsis:
        return S[:max]
    return S[: max - len(ellipsis)] + ellipsis


def abbrtask(S: str | None, max: int) -> str:
    """Return the name of a task, its module cut so that it fits into `max` characters."""
    if S is None:
        return "???"
    if len(S) <= max:
        return S
    module, _, name = S.rpartition(".")
    module = abbr(module, max - len(name) - 3, False)
    return f"{module}[.]{name}"


def indent(t: str, indent: int = 0, sep: str = "\n") -> str:
    """Return text with blanks before each line."""
    return sep.join(" " * indent + line for line in t.split(sep))


def truncate(s: str, maxlen: int = 128, suffix: str = "...") -> str:
    """Return text cut to `maxlen` characters at the end of a word, with a suffix."""
    if maxlen and len(s) >= maxlen:
        return s[:maxlen].rsplit(" ", 1)[0] + suffix
    return s


def pluralize(n: float, text: str, suffix: str = "s") -> str:
    """Return a word with its suffix unless there is one of it."""
    return text + suffix if n != 1 else text


def pretty(
    value: str | Any, width: int = 80, nl_width: int = 80, sep: str = "\n", **kw: Any
) -> str:
    """Return a value over several lines; a dict with its first brace cut, as Celery shows it."""
    if isinstance(value, dict):
        return f"{sep} {pformat(value, 4, nl_width)[1:]}"
    if isinstance(value, tuple):
        return f"{sep}{' ' * 4}{pformat(value, width=nl_width, **kw)}"
    return pformat(value, width=width, **kw)


def match_case(s: str, other: str) -> str:
    """Return text in the case of another: upper or lower."""
    return s.upper() if other.isupper() else s.lower()


def simple_format(
    s: str, keys: dict[str, str | Callable[[], str]], pattern: re.Pattern[str] = _PLACE,
    expand: str = r"\1",
) -> str:  # fmt: skip
    """Return text with `%letter` replaced by what `keys` has for it; `%%` is a percent sign."""
    if not s:
        return s
    known = {**keys, "%": "%"}

    def put(match: re.Match[str]) -> str:
        letter = match.expand(expand)
        if letter not in known:
            raise ValueError(
                f"unknown letter %{letter} in {s!r}: there are "
                f"{', '.join('%' + k for k in sorted(known))}"
            )
        found = known[letter]
        return found() if callable(found) else found

    return re.sub(r"%(\w|%)" if pattern is _PLACE else pattern, put, s)


def remove_repeating_from_task(task_name: str, s: str) -> str:
    """Return text with the module of a task left out where it comes again."""
    module = f"{task_name.rpartition('.')[0]}."
    return remove_repeating(module, s)


def remove_repeating(substr: str, s: str) -> str:
    """Return text in which a part stands only where it comes first."""
    first = s.find(substr)
    if first < 0:
        return s
    end = first + len(substr)
    return s[:end] + s[end:].replace(substr, "")


__all__: Sequence[str] = (
    "StringIO", "WhateverIO", "abbr", "abbrtask", "dedent", "dedent_initial", "ensure_newlines",
    "ensure_sep", "fill_paragraphs", "indent", "join", "match_case", "pluralize", "pretty",
    "remove_repeating", "remove_repeating_from_task", "simple_format", "str_to_list", "truncate",
)  # fmt: skip
