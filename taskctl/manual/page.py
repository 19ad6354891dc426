"""What a manual page is: sections of paragraphs, lists and lines of code, without any markup."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Terms:
    """A list of words and what each means."""

    items: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Code:
    """Lines as they are typed or shown."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Heading:
    """A heading below that of the section."""

    text: str


#: A block of a page: a paragraph is its text.
Block = str | Terms | Code | Heading


@dataclass(frozen=True)
class Page:
    """One page; `sections` hold their blocks under the section's name, in order.

    `number` is the section of the manual: 1 commands, 5 files, 7 everything else.
    """

    name: str
    number: int
    title: str
    sections: dict[str, list[Block]] = field(default_factory=dict)

    @property
    def file(self) -> str:
        """Its name in man/."""
        return f"{self.name}.{self.number}"


def reference(page: str) -> str:
    """Return how a page is named in SEE ALSO: `taskctl-worker(1)`."""
    name, _, number = page.rpartition(".")
    return f"{name}({number})"
