"""All pages, by the names of their files in man/."""

from __future__ import annotations

from collections.abc import Callable

from . import topics
from .commands import pages as command_pages
from .page import Page


def library() -> dict[str, Callable[[], Page]]:
    """Return how to make each page."""
    return {**command_pages(), **topics.PAGES}


def names() -> list[str]:
    """Return the names of all pages, in order."""
    return sorted(library())


def find(word: str) -> Page | None:
    """Return the page that a reader means: `worker`, `taskctl-worker`, `exit-codes`, `json.7`."""
    pages = library()
    for name in (word, f"taskctl-{word}", f"taskctl.{word}"):
        for known, make in pages.items():
            if name in (known, known.rpartition(".")[0]):
                return make()
    return None
