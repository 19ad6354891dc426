"""`python -m benchmarks [NAME ...]`: take figures, print a table for each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

from . import commands, drain, idle, publish, rabbitmq, sleeps, startup
from .report import DOCUMENT, Figure, rewritten, surroundings
from .stand import Stand

FIGURES: dict[str, Callable[[Stand, int], Figure]] = {
    "drain": drain.without_results,
    "results": drain.with_results,
    "publish": publish.publish,
    "sleeps": sleeps.sleeps,
    "rabbitmq": rabbitmq.rabbitmq,
    "startup": startup.startup,
    "idle": idle.idle,
    "commands": commands.commands,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if every promise was kept, else 1."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Take figures of taskctl beside Celery; each round takes both in turn.",
        epilog="Figures: " + ", ".join(FIGURES),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures to take (default: all)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--write", action="store_true", help=f"renew them in docs/{DOCUMENT.name}")
    given = parser.parse_args(argv)
    for name in given.names:
        if name not in FIGURES:
            parser.error(f"no figure {name!r}: choose {', '.join(FIGURES)}")
    if given.rounds < 1:
        parser.error(f"--rounds {given.rounds}: at least 1 is needed")
    figures = _take(given.names or list(FIGURES), given.rounds)
    if given.write:
        DOCUMENT.write_text(rewritten(DOCUMENT.read_text(), figures))
    return 0 if all(claim.kept for figure in figures for claim in figure.claims) else 1


def _take(names: Sequence[str], rounds: int) -> list[Figure]:
    print(surroundings(), end="\n\n")
    figures = []
    with Stand() as stand:
        for name in names:
            print(f"{name} ...", file=sys.stderr)
            figures.append(FIGURES[name](stand, rounds))
            print(figures[-1].text(), flush=True)
    return figures


if __name__ == "__main__":
    sys.exit(main())
