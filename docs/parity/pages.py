"""Write docs/celery-api.md: what Celery 5.7 has, and whether taskctl has it.

python docs/parity/pages.py            writes the page
python docs/parity/pages.py --check    exit code 1 if it is stale, if anything that is missing
                                       is not listed, or if a listed verdict is out of date
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import judge
from judge import DIFFERENT, MISSING, SUPPORTED, UNLISTED, Item

PAGE = Path(__file__).resolve().parents[1] / "celery-api.md"

INTRO = """\
# Celery's interface, item by item

<!-- Made by docs/parity/pages.py: change docs/parity/verdicts.json, or the program, and run it. -->

Everything that Celery {version} has under a public name, and what became of it. The list
([celery-5.7.json](parity/celery-5.7.json)) is read off an installed Celery: {count} items, which
are the names of its modules, the members of its documented classes, the parameters of its calls
that are not taken alike, settings, signals, commands with their options, remote commands, options
of calls, events, and what is chosen by name. **Supported** was found by importing it from taskctl
under Celery's name and comparing parameters; that it also means the same is what the tests prove
that run both side by side (tests/interop). For what is **different** on purpose or **missing** the
reason stands beside it. Behaviour that differs is in [Coming from Celery](celery-parity.md).

"""


def page(items: Sequence[Item]) -> str:
    """Return the page."""
    documented = [item for item in items if item.part in judge.DOCUMENTED]
    inside = [i for i in items if i.part.startswith("celery") and i.part not in judge.DOCUMENTED]
    tables = [item for item in items if not item.part.startswith("celery")]
    lines = [
        INTRO.format(version="5.7", count=f"{len(items):,}"),
        *_summary(documented, inside, tables),
    ]
    lines += [
        "## Missing",
        "",
        *_reasons((i for i in items if i.verdict == MISSING), whole=True),
        "",
    ]
    for part in dict.fromkeys(item.part for item in tables):
        lines += _part(part, [item for item in tables if item.part == part])
    lines += [
        "## Documented modules",
        "",
        "The modules of Celery's API Reference.",
        "",
    ]
    for part in dict.fromkeys(item.part for item in documented):
        lines += _part(f"`{part}`", [i for i in documented if i.part == part], level="###")
    lines += ["## Celery's inside", "", *_inside(inside)]
    return "\n".join(lines).rstrip() + "\n"


def _summary(
    documented: Sequence[Item], inside: Sequence[Item], tables: Sequence[Item]
) -> Iterator[str]:
    yield "| | Supported | Different | Missing |"
    yield "|---|--:|--:|--:|"
    for part in dict.fromkeys(item.part for item in tables):
        yield _counts(part, [item for item in tables if item.part == part])
    yield _counts("Names, members, parameters of documented modules", documented)
    yield _counts("Names of Celery's inside", inside)
    yield ""


def _counts(title: str, items: Sequence[Item]) -> str:
    numbers = [sum(i.verdict == one for i in items) for one in (SUPPORTED, DIFFERENT, MISSING)]
    return f"| {title} | {' | '.join(map(str, numbers))} |"


def _part(title: str, items: Sequence[Item], level: str = "##") -> Iterator[str]:
    """Yield one part: what is supported in a line, the rest by its reason."""
    yield f"{level} {title}"
    yield ""
    good = [_short(item) for item in items if item.verdict == SUPPORTED]
    if good:
        yield f"Supported: {_listed(good)}."
        yield ""
    for verdict in (DIFFERENT, MISSING, UNLISTED):
        rows = [item for item in items if item.verdict == verdict]
        if rows:
            yield f"{verdict.capitalize()}:"
            yield ""
            yield from _reasons(rows)
            yield ""


def _reasons(items: Iterable[Item], whole: bool = False) -> Iterator[str]:
    """Yield a line for each reason, with all that it holds for, by its whole name if asked."""
    grouped: dict[str, list[str]] = defaultdict(list)
    for item in items:
        grouped[item.why].append(item.name if whole else _short(item))
    for why, names in grouped.items():
        yield f"- {_listed(names)}: {why or 'nobody has said why'}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in dict.fromkeys(names))


def _short(item: Item) -> str:
    """Return a name without the part it stands in."""
    if item.part.startswith("celery"):
        return item.name.removeprefix(f"{item.part}.")
    first, _, rest = item.name.partition(" ")
    return item.name if first == "celery" or not rest else rest.removeprefix("backend ")


def _inside(items: Sequence[Item]) -> Iterator[str]:
    """Yield the table of modules that Celery does not document."""
    yield "What Celery does not document, by module."
    yield ""
    yield "| Module | Supported | Different | Missing | Why |"
    yield "|---|--:|--:|--:|---|"
    for part in dict.fromkeys(item.part for item in items):
        rows = [item for item in items if item.part == part]
        whys = dict.fromkeys(i.why.replace("|", ",") for i in rows if i.verdict != SUPPORTED)
        yield f"{_counts(f'`{part}`', rows)} {'; '.join(filter(None, whys))} |"


def main(words: list[str]) -> int:
    items, unused = judge.everything()
    wrong = [f"unlisted: {item.name}" for item in items if item.verdict == UNLISTED]
    wrong += [f"listed in verdicts.json, and nothing needs it: {pattern}" for pattern in unused]
    made = page(items)
    if words == ["--check"]:
        stale = not PAGE.is_file() or PAGE.read_text() != made
        wrong += ["docs/celery-api.md is stale: run python docs/parity/pages.py"] if stale else []
    else:
        PAGE.write_text(made)
    for line in wrong:
        print(line, file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
