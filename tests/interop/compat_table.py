"""Write the table of Celery's modules into docs/celery-compat.md: what is ours, what is refused.

python -m tests.interop.compat_table
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from taskctl.compat import finder, names

PAGE = Path(__file__).resolve().parents[2] / "docs" / "celery-compat.md"
BEGIN, END = "<!-- table of modules: begin -->", "<!-- table of modules: end -->"


def rows() -> Iterator[str]:
    """Yield the lines of the table."""
    public = finder.public_names()
    held = {module: set(finder.holdings(module)) | set(_values(module)) for module in public}
    ours = sum(name in held[module] for module, found in public.items() for name in found)
    total = sum(map(len, public.values()))
    yield f"Celery 5.7 has {total} public names in {len(public)} modules: {ours} are taskctl's own"
    yield f"objects, {total - ours} are refused with a reason."
    yield ""
    yield "| Module | Here | Refused | Why, and what instead |"
    yield "|---|--:|--:|---|"
    for module, found in public.items():
        if not found:
            continue
        here = sum(name in held[module] for name in found)
        reason, _, instead = finder.reason_of(module).partition(" | ")
        why = "" if here == len(found) else "; ".join(filter(None, (reason, instead)))
        yield f"| `{module}` | {here} | {len(found) - here} | {why} |"


def _values(module: str) -> set[str]:
    values = set(names.VALUES.get(module, ()))
    if module in names.WHOLE:
        values |= set(finder.public_names()[module])
    return values


def with_table(page: str) -> str:
    """Return the page with its table as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return "\n".join([before + BEGIN, "", *rows(), "", END]) + after


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text()))
    print(next(rows()), file=sys.stderr)
