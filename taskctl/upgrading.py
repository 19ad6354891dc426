"""Old names of settings in a text, replaced by today's; everything else stays as it is.

A name counts where it stands alone, so `MY_BROKER_URL` is none. What is looked up in the
environment (`os.environ["BROKER_URL"]`) keeps its name: renaming it here would not rename it there.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from taskctl.core.settings_table import NEW_NAMES

_WORD = re.compile(r"(?<![\w.])[A-Z][A-Z0-9_]+(?!\w)|(?<=\.)[A-Z][A-Z0-9_]+(?!\w)")
#: What stands before a name that belongs to the environment.
_LOOKUP = re.compile(r"(environ(\.get|\.pop|\.setdefault)?|getenv|env|config)\s*[\[(]\s*['\"]$")


class Change(NamedTuple):
    """One name on one line, counted from 1."""

    line: int
    old: str
    new: str


def upgrade(text: str, *, compat: bool = False) -> tuple[str, list[Change]]:
    """Return a text with new names, and what was changed.

    With `compat` the new names are upper case and begin with CELERY_, as Django projects and
    `namespace="CELERY"` want them.
    """
    lines, changes = [], []
    for number, line in enumerate(text.splitlines(keepends=True), 1):

        def rename(found: re.Match[str], number: int = number) -> str:
            new = _new_name(found[0], compat)
            if new is None or _LOOKUP.search(found.string[: found.start()]):
                return found[0]
            changes.append(Change(number, found[0], new))
            return new

        lines.append(_WORD.sub(rename, line))
    return "".join(lines), changes


def _new_name(old: str, compat: bool) -> str | None:
    new = NEW_NAMES.get(old)
    if new is None or not compat:
        return new
    new = new.upper()
    new = new if new.startswith("CELERY") else f"CELERY_{new}"
    return None if new == old else new
