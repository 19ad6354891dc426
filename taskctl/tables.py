"""Tables that fit: names shrink in the middle, numbers and states never; whole columns go.

Pure text: nothing here asks the terminal.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GAP = "  "
#: Narrower than this a name says nothing any more.
NARROWEST = 8
#: Stands for what is not known or does not apply.
NOTHING = "–"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Column:
    """One column of a list.

    `key` finds the value in a row. `show` makes the text of a table from it (the plain formats
    write the value itself); `of_row` does so from the whole row. `shrinks`: may be cut in the
    middle. `need`: columns with the lowest go first when the terminal is too narrow; None never
    goes.
    """

    key: str
    title: str
    show: Callable[[Any], str] = lambda value: NOTHING if value is None else str(value)
    right: bool = False
    shrinks: bool = False
    need: int | None = None
    of_row: Callable[[Row], str] | None = None

    def text(self, row: Row) -> str:
        """Return what a table shows of this row; nothing if the row has no such key."""
        if self.of_row is not None:
            return self.of_row(row)
        return self.show(row[self.key]) if self.key in row else ""


@dataclass(frozen=True)
class Layout:
    """A table laid out: its lines, cell by cell, and the titles of columns left out."""

    columns: list[Column]
    lines: list[list[str]]
    dropped: list[str]


def width_of(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def shorten(text: str, width: int) -> str:
    """Return a text cut in the middle to `width` columns: `a-ver…web4`."""
    if width_of(text) <= width:
        return text
    tail = (width - 1) // 2
    cut = _fitting(text, width - 1 - tail) + "…" + _fitting(text[::-1], tail)[::-1]
    return cut + " " * (width - width_of(cut))


def _fitting(text: str, width: int) -> str:
    """Return as much of the beginning as fits."""
    taken = 0
    for position, char in enumerate(text):
        taken += width_of(char)
        if taken > width:
            return text[:position]
    return text


def lay_out(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> Layout:
    """Return the padded cells of a table, title line first; `width` None is unlimited."""
    kept = list(columns)
    cells = {c.key: [c.title, *(_clean(c.text(row)) for row in rows)] for c in columns}
    widths = {key: max(map(width_of, column)) for key, column in cells.items()}
    dropped: list[str] = []
    while width is not None and _total(kept, widths) > width:
        over = _total(kept, widths) - width
        if _shrink(kept, widths, over):
            break
        victim = min((c for c in kept if c.need is not None), key=_need, default=None)
        if victim is None:
            break
        kept.remove(victim)
        dropped.append(victim.title)
    lines = [
        [_pad(column, cells[column.key][number], widths[column.key]) for column in kept]
        for number in range(len(rows) + 1)
    ]
    return Layout(kept, lines, dropped)


def _need(column: Column) -> int:
    return column.need or 0


def _total(columns: Sequence[Column], widths: Mapping[str, int]) -> int:
    return sum(widths[c.key] for c in columns) + len(GAP) * (len(columns) - 1)


def _shrink(columns: Sequence[Column], widths: dict[str, int], over: int) -> bool:
    """Take `over` columns of the terminal from what may shrink, the widest first."""
    shrinking = [c for c in columns if c.shrinks]
    floor = {c.key: max(NARROWEST, width_of(c.title)) for c in shrinking}
    if sum(max(0, widths[c.key] - floor[c.key]) for c in shrinking) < over:
        return False
    for _ in range(over):
        widest = max(
            (c for c in shrinking if widths[c.key] > floor[c.key]), key=lambda c: widths[c.key]
        )
        widths[widest.key] -= 1
    return True


def _pad(column: Column, text: str, width: int) -> str:
    text = shorten(text, width)
    padding = " " * (width - width_of(text))
    return padding + text if column.right else text + padding


def _clean(text: str) -> str:
    """Return a text that stays on its line and in its cell, whatever is in it."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def folded(text: str, width: int | None, indent: int) -> list[str]:
    """Return the lines of a sentence on a terminal that is `width` wide, `indent` of it taken.

    Words stay whole, so that a name or an address can be copied; None is unlimited.
    """
    if width is None or width_of(text) + indent <= width:
        return [text]
    import textwrap  # 1 ms for the few texts that are too long

    room = max(20, width - indent)
    return textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]


# -- how values read


def number(value: Any) -> str:
    """Return 1204 as `1,204`."""
    return NOTHING if value is None else f"{value:,}"


def seconds(value: float | None) -> str:
    """Return a short length of time: `8.1 s`, from a minute on as `up`."""
    if value is None:
        return NOTHING
    return f"{value:.1f} s" if value < 60 else up(value)


def up(value: float | None) -> str:
    """Return a length of time as `8 s`, `12 m 5 s`, `3 h 12 m` or `2 d 4 h`."""
    if value is None:
        return NOTHING
    whole = int(value)
    for unit, size, lower, smaller in (
        ("d", 86400, "h", 3600),
        ("h", 3600, "m", 60),
        ("m", 60, "s", 1),
    ):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // smaller} {lower}"
    return f"{whole} s"


def short_id(value: str | None) -> str:
    """Return the first eight characters of an id."""
    return NOTHING if value is None else value[:8]


def joined(value: Sequence[str] | None) -> str:
    """Return names with commas between them."""
    return ",".join(value) if value else NOTHING
