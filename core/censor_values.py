"""What becomes of one value, or one comment, of a settings text that is censored."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from .redact import MASK, mask, mask_text

#: Stands for a value that is kept elsewhere: ${NAME}, $NAME, $(command), {name}, %s, %(name)s.
_REFERENCE = re.compile(
    r"\$\{[^}\n]*\}|\$\([^)\n]*\)|\$[A-Za-z_]\w*|\{[^{}\n]*\}|%\([\w.]*\)[sdr]|%[sdr]"
)


class Edit(NamedTuple):
    """One stretch of a text, and what stands there instead."""

    start: int
    end: int
    text: str


def conceal(value: str, secret: bool = False) -> str:
    """Return a value as it may be shown; `secret` says that its key names a secret.

    References are no secrets: a value that is safe once they are filled in stays as it is.
    """
    if not value or value == MASK:
        return value
    settled = _REFERENCE.sub(MASK, value)
    if secret:
        return value if settled == MASK else MASK
    return value if mask(settled) == settled else str(mask(value))


def has_reference(value: str) -> bool:
    """Return whether a text is a template that is filled in elsewhere."""
    return bool(_REFERENCE.search(value))


def conceal_text(text: str) -> str:
    """Return a text of whatever kind, or a comment, as it may be shown."""
    settled = _REFERENCE.sub(MASK, text)
    return text if mask_text(settled) == settled else mask_text(text)


def apply(text: str, edits: Iterable[Edit]) -> str:
    """Return a text with stretches replaced; they do not overlap."""
    for edit in sorted(edits, reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text
