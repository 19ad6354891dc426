"""A page in roff, with the macros of man(7), which man-db and mandoc both read."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from taskctl.core.version import RELEASED, __version__

from .page import Block, Code, Heading, Page, Terms

_TITLES = {1: "User Commands", 5: "File Formats", 7: "Miscellaneous Information"}
_PLAIN = str.maketrans(
    {
        "\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti",
        "…": "...", "–": r"\(en", "·": r"\(pc", "→": "->",
    }
)  # fmt: skip


def render(page: Page) -> str:
    """Return the source of a page."""
    return "\n".join(_lines(page)) + "\n"


def _lines(page: Page) -> Iterator[str]:
    title = page.name.upper().replace("-", r"\-")
    yield r".\" Made by docs/generate.py from the command tree: change that, and run it again."
    yield f'.TH {title} {page.number} {RELEASED} "taskctl {__version__}" "{_TITLES[page.number]}"'
    # Flush right, a line without a blank in it cannot be; ragged is also easier to read.
    yield ".ad l"
    yield ".SH NAME"
    yield f"{_text(page.name)} \\- {_text(page.title)}"
    for name, blocks in page.sections.items():
        yield f'.SH "{name}"' if " " in name else f".SH {name}"
        yield from _section(blocks)


def _section(blocks: list[Block]) -> Iterator[str]:
    first = True
    for block in blocks:
        match block:
            case Heading(text=text):
                yield f'.SS "{_text(text)}"'
                first = True
                continue
            case Terms(items=items):
                for term, text in items:
                    yield ".TP"
                    yield f"\\fB{_text(term)}\\fR"
                    yield from _filled(text)
            case Code(lines=lines):
                yield from ([] if first else [".PP"])
                yield ".RS 4"
                yield ".nf"
                yield from (_line(line) for line in lines)
                yield ".fi"
                yield ".RE"
            case str():
                yield from ([] if first else [".PP"])
                yield from _filled(block)
        first = False


def _text(text: str) -> str:
    return text.translate(_PLAIN)


def _filled(text: str) -> list[str]:
    """Return running text in lines of a length that editors and mandoc like."""
    lines = textwrap.wrap(_text(text), 78, break_on_hyphens=False, break_long_words=False)
    return [_guarded(line) for line in lines]


def _line(text: str) -> str:
    return _guarded(_text(text))


def _guarded(escaped: str) -> str:
    """Return a text line; one that begins with a dot or is empty would be read as a request."""
    return rf"\&{escaped}" if escaped.startswith((".", r"\(aq")) or not escaped else escaped
