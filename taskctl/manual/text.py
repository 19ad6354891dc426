"""A page as plain text, for where there is no man(1) and for pipes."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from .page import Block, Code, Heading, Page, Terms

_INDENT = " " * 7
_BELOW = " " * 11


def render(page: Page, width: int = 80) -> str:
    """Return a page, at most `width` columns wide but for lines of code."""
    return "\n".join(_lines(page, width)).rstrip() + "\n"


def _lines(page: Page, width: int) -> Iterator[str]:
    yield f"{page.name}({page.number})"
    yield ""
    yield "NAME"
    yield from _filled(f"{page.name} - {page.title}", width, _INDENT)
    for name, blocks in page.sections.items():
        yield ""
        yield name
        for number, block in enumerate(blocks):
            yield from [""] if number else []
            yield from _block(block, width)


def _block(block: Block, width: int) -> Iterator[str]:
    match block:
        case Heading(text=text):
            yield f"   {text}"
        case Terms(items=items):
            for term, text in items:
                yield f"{_INDENT}{term}"
                yield from _filled(text, width, _BELOW)
        case Code(lines=lines):
            for line in lines:
                yield f"{_BELOW}{line}".rstrip()
        case str():
            yield from _filled(block, width, _INDENT)


def _filled(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
