"""Which rows and columns of a list to show: `--where`, `--sort`, `--fields`, `--no-header`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import click

from .command import Option
from .conditions import Condition, look_up
from .failures import usage

#: Heading of these options in help.
LISTS = "List options"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Selection:
    """What was asked for; nothing asked for changes nothing."""

    where: str | None = None
    sort: str | None = None
    fields: tuple[str, ...] = ()
    header: bool = True

    def rows(self, rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
        """Return the rows that are wanted, in the order that is wanted.

        `keys` are those the rows of this command have, also when there are no rows.
        Raises CommandError for a key that does not exist.
        """
        found = list(rows)
        if self.where is not None:
            condition = Condition(self.where, keys, "--where")
            found = [row for row in found if condition.holds(row)]
        if self.sort is not None:
            found = _sorted(found, self.sort, keys)
        return found

    def pick(self, row: Row) -> Row:
        """Return a row with the wanted keys alone."""
        return {key: look_up(row, key) for key in self.fields} if self.fields else row

    def check_fields(self, keys: Sequence[str]) -> None:
        """Refuse fields that do not exist."""
        for name in self.fields:
            _known(name, keys, "--fields")


def list_options() -> list[click.Parameter]:
    """Return the options of commands that show lists; take them back with `take_selection`."""
    return [
        Option(
            ["--where"], metavar="CONDITION", group=LISTS,
            help="rows that meet it: 'queue == images and attempts > 2'",
        ),
        Option(["--sort"], metavar="KEY", group=LISTS, help="order by a key; -KEY: highest first"),
        Option(["--fields"], metavar="LIST", group=LISTS, help="show these columns or keys only"),
        Option(["--no-header"], is_flag=True, group=LISTS, help="no line of titles"),
    ]  # fmt: skip


def take_selection(options: dict[str, Any]) -> Selection:
    """Take the list options out of a command's options."""
    fields = str(options.pop("fields", None) or "")
    return Selection(
        where=options.pop("where", None),
        sort=options.pop("sort", None),
        fields=tuple(name.strip() for name in fields.split(",") if name.strip()),
        header=not options.pop("no_header", False),
    )


def _sorted(rows: list[Row], wanted: str, keys: Sequence[str]) -> list[Row]:
    key = wanted.removeprefix("-")
    _known(key, keys, "--sort")
    known = [row for row in rows if look_up(row, key) is not None]
    unknown = [row for row in rows if look_up(row, key) is None]
    try:
        known.sort(key=lambda row: look_up(row, key), reverse=wanted.startswith("-"))
    except TypeError:  # values of several kinds
        known.sort(key=lambda row: str(look_up(row, key)), reverse=wanted.startswith("-"))
    return known + unknown


def _known(name: str, keys: Sequence[str], option: str) -> None:
    if name in keys or name.partition(".")[0] in keys:
        return
    near = difflib.get_close_matches(name, list(keys), 1)
    raise usage(
        f"{option} {name}: there is no such key",
        f"did you mean: {near[0]}" if near else f"there are: {', '.join(keys)}",
    )
