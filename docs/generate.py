"""Write the files that are made from the program's own tables.

docs/settings.md, the manual pages in man/, and the completion scripts in completions/. Run as
`python docs/generate.py`; with `--check` nothing is written, and the exit code is 1 if a file is
not what it would write.  tests/house/ checks the same.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

from taskctl.core import settings_table as tables
from taskctl.core.settings_table import SETTINGS, Setting
from taskctl.core.settings_types import describe
from taskctl.manual import roff
from taskctl.manual.library import library
from taskctl.shells import FILES, SCRIPTS

ROOT = Path(__file__).resolve().parents[1]

#: Heading of each part of the settings page, and the rows of the table that it holds.
PARTS: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("General", tables.GENERAL),
    ("Tasks", tables.TASK),
    ("Workers", tables.WORKER),
    ("Broker", tables.BROKER),
    ("Results", tables.RESULT),
    ("Periodic tasks", tables.BEAT),
    ("Remote control and events", tables.CONTROL_AND_EVENT),
    ("Redis", tables.REDIS),
    ("Signed messages", tables.SECURITY),
    ("SQL databases", tables.DATABASE),
    ("Other result backends", tables.FOREIGN),
)

SETTINGS_INTRO = """\
# Settings

<!-- Made by docs/generate.py from core/settings_table.py: change that, and run it again. -->

taskctl knows {count} settings: Celery 5.7's, under Celery's names, and {own} of its own, marked
**new**. Where a default differs from Celery's on purpose, Celery's stands beside it. A setting
with a note is read and checked, and does nothing for the reason given; `taskctl config check`
names those that you set.

Set them on the app (`app.conf.task_acks_late = False`), in a module
(`app.config_from_object("proj.config")`), or in `[tool.taskctl]` of `pyproject.toml` or
`taskctl.toml`. Upper-case names with a namespace (`CELERY_TASK_ACKS_LATE`) and the names from
before Celery 4 are understood too. A wrong type or an unknown name is an error that says which
file and line it came from.
"""


def settings_page() -> str:
    """Return docs/settings.md."""
    own = sum(row.own for row in SETTINGS.values())
    lines = [SETTINGS_INTRO.format(count=len(SETTINGS), own=own)]
    for title, rows in PARTS:
        lines += [f"## {title}", ""]
        for row in rows:
            lines += _entry(SETTINGS[row.name])
    return "\n".join(lines)


def _entry(row: Setting) -> Iterable[str]:
    marks = " (**new**)" if row.own else ""
    yield f"### `{row.name}`{marks}"
    yield ""
    yield row.help
    yield ""
    facts = [f"Takes {describe(row)}", f"default `{_shown(row.default)}`"]
    if row.celery_default() != row.default and not row.own:
        facts.append(f"Celery's default `{_shown(row.celery_default())}`")
    if row.minimum is not None:
        facts.append(f"at least {row.minimum:g}")
    yield "; ".join(facts) + "."
    if row.old:
        yield f"Old name: {', '.join(f'`{old}`' for old in row.old)}."
    if row.note:
        yield f"**Without effect:** {row.note}."
    yield ""


def _shown(value: Any) -> str:
    if isinstance(value, timedelta):
        return f"timedelta(seconds={value.total_seconds():.0f})"
    return repr(value).replace("`", "'")


def files() -> dict[str, Callable[[], str]]:
    """Return how to make each file, by its path in the source."""
    made: dict[str, Callable[[], str]] = {"docs/settings.md": settings_page}
    for name, page in library().items():
        made[f"man/{name}"] = lambda page=page: roff.render(page())
    for shell, name in FILES.items():
        made[f"completions/{name}"] = lambda shell=shell: SCRIPTS[shell]
    return made


def stale() -> list[str]:
    """Return the files that are not what they would be if written now, and those in the way."""
    wrong = [
        path
        for path, make in files().items()
        if not (ROOT / path).is_file() or (ROOT / path).read_text() != make()
    ]
    present = {f"man/{path.name}" for path in (ROOT / "man").iterdir()}
    return wrong + sorted(present - set(files()))


def main(words: list[str]) -> int:
    if words == ["--check"]:
        for path in stale():
            print(f"{path} is stale: run python docs/generate.py", file=sys.stderr)
        return bool(stale())
    if words:
        print("usage: python docs/generate.py [--check]", file=sys.stderr)
        return 2
    for path, make in files().items():
        (ROOT / path).parent.mkdir(exist_ok=True)
        (ROOT / path).write_text(make())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
