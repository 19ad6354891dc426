"""Settings as text, in and out: explained, listed, and as the project file has them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from .redact import mask
from .settings_source import Origin
from .settings_table import SETTINGS, Setting
from .settings_types import describe

#: Keys of `[tool.taskctl]` that are options of the command line, not settings.
PROJECT_OPTIONS = frozenset(
    "app loader config workdir color output quiet verbose skip_checks celery_compat".split()
)


class Explanation(NamedTuple):
    """All there is to say of one setting; secrets are masked."""

    key: str
    value: Any
    origin: Origin
    default: Any
    type: str
    help: str
    old: tuple[str, ...]
    note: str
    celery_default: Any


def explain(row: Setting, value: Any, default: Any, origin: Origin) -> Explanation:
    """Return what there is to say of a setting."""
    return Explanation(
        row.name, mask(value, row.name), origin, default, describe(row), row.help, row.old,
        row.note, None if row.own else row.celery_default(),
    )  # fmt: skip


def as_text(table: Mapping[str, Any], *, exactly: bool = False) -> str:
    """Return `key: value` lines, as Celery's humanize; tuples and dicts begin on the next line.

    `exactly` loses the first brace of a dict, as Celery does, so that the texts can be compared.
    """
    write = _pretty_as_celery if exactly else _pretty
    return "\n".join(f"{key}: {write(value)}" for key, value in table.items())


def _pretty(value: Any) -> str:
    from pprint import pformat  # 5 ms, which no client needs at start

    if isinstance(value, dict | tuple):
        return "\n" + "\n".join("    " + line for line in pformat(value, width=76).splitlines())
    return pformat(value, width=50)


def _pretty_as_celery(value: Any) -> str:
    """Source: Celery 5.7 utils/text.py, pretty."""
    from pprint import pformat  # as above

    if isinstance(value, dict):
        return "\n " + pformat(value, indent=4, width=80)[1:]
    if isinstance(value, tuple):
        return "\n    " + pformat(value, width=80)
    return pformat(value, width=50)


def project_entries(values: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any, Origin]]:
    """Yield name, value and place of each setting in `[tool.taskctl]` (a file at `path`).

    A table `[tool.taskctl.worker]` holds the settings that begin with `worker_`.
    """
    lines = _read_lines(path)
    for name, value in values.items():
        if name in PROJECT_OPTIONS:
            continue
        if isinstance(value, Mapping) and name not in SETTINGS:
            for rest, inner in value.items():
                yield f"{name}_{rest}", inner, Origin("toml", path, _line(lines, rest, name))
        else:
            yield name, value, Origin("toml", path, _line(lines, name, ""))


def _read_lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()
    except (OSError, ValueError):
        return []


def _line(lines: list[str], key: str, table: str) -> int | None:
    """Return the number of the line that sets a key in a table of our section."""
    wanted = re.compile(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=")
    inside = not table
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("["):
            inside = line.strip(" []\t").endswith(table or "taskctl")
        elif inside and wanted.match(line):
            return number
    return None
