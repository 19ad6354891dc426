"""What the keys of the live view mean: selection, order, filter, questions. No terminal here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from taskctl.conditions import look_up

from .rows import STARTED, Picture, Row

#: The states of a task that has ended; nothing can be revoked of it.
_ENDED = ("SUCCESS", "FAILURE", "REVOKED", "REJECTED")
#: Keys that tasks can be sorted by, and the word for each; None keeps the list's own order.
SORTS = (
    ("since", "time"), ("running_seconds", "running"), ("name", "task"), ("node", "node"),
    ("state", "state"),
)  # fmt: skip
#: Where a filter looks.
_SEARCHED = ("id", "name", "state", "node", "queue", "args", "kwargs", "exception")

TASKS, FAILURES = "tasks", "failures"


class Action(NamedTuple):
    """What the program shall do: quit, revoke, terminate, enable; `row` is the task."""

    what: str
    row: Row | None = None


@dataclass
class View:
    """What the user looks at. `panes` are shown, in this order; `read_only` changes nothing."""

    panes: Sequence[str] = ("nodes", "queues", TASKS, FAILURES)
    read_only: bool = False
    mode: str = "list"
    sort: int = 0
    reverse: bool = False
    filter: str = ""
    paused: bool = False
    message: str = ""
    opened: Row | None = None
    asking: Action | None = None
    scroll: int = 0
    _selected: tuple[str, Any] | None = None
    _position: int = 0
    _typed: str = field(default="", repr=False)

    # -- what is shown

    @property
    def typed(self) -> str:
        """The filter as far as it is typed."""
        return self._typed

    @property
    def sorted_by(self) -> str:
        """The word for the order of tasks."""
        return SORTS[self.sort][1] + (" (reversed)" if self.reverse else "")

    def tasks(self, picture: Picture) -> list[Row]:
        """Return the tasks that are shown, in order."""
        key = SORTS[self.sort][0]
        rows = self._filtered(picture.tasks)
        known = [row for row in rows if row[key] is not None]
        unknown = [row for row in rows if row[key] is None]
        # What ran longest or changed last stands at the top, names in the order of letters.
        falling = key in ("since", "running_seconds")
        known.sort(key=lambda row: str(row["id"]))
        known.sort(key=lambda row: row[key], reverse=falling != self.reverse)
        return known + unknown

    def failures(self, picture: Picture) -> list[Row]:
        """Return the failures that are shown."""
        return self._filtered(picture.failures) if FAILURES in self.panes else []

    def _filtered(self, rows: Sequence[Row]) -> list[Row]:
        word = (self._typed if self.mode == "filter" else self.filter).lower()
        if not word:
            return list(rows)
        return [
            row
            for row in rows
            if any(word in str(value).lower() for k in _SEARCHED if (value := look_up(row, k)))
        ]

    def _choices(self, picture: Picture) -> list[tuple[tuple[str, Any], Row]]:
        tasks = [((TASKS, row["id"]), row) for row in self.tasks(picture)]
        return tasks + [((FAILURES, row["id"]), row) for row in self.failures(picture)]

    def selected(self, picture: Picture) -> tuple[str, int] | None:
        """Return pane and position of the selected row; the row keeps its selection as it moves,
        and hands it to its neighbour when it goes."""
        choices = self._choices(picture)
        if not choices:
            return None
        keys = [key for key, _ in choices]
        if self._selected in keys:
            self._position = keys.index(self._selected)
        self._position = min(self._position, len(keys) - 1)
        self._selected = keys[self._position]
        pane = self._selected[0]
        first = next(number for number, key in enumerate(keys) if key[0] == pane)
        return pane, self._position - first

    def selected_row(self, picture: Picture) -> Row | None:
        """Return the selected task."""
        if self.selected(picture) is None:
            return None
        return dict(self._choices(picture))[self._selected]  # type: ignore[index]

    def refresh(self, picture: Picture) -> None:
        """Bring an opened task up to date."""
        if self.opened is not None:
            wanted = self.opened["id"]
            rows = [*picture.tasks, *picture.failures]
            self.opened = next((row for row in rows if row["id"] == wanted), self.opened)

    # -- keys

    def press(self, key: str, picture: Picture) -> Action | None:
        """Take in a key; return what the program shall do, if anything."""
        self.message = ""
        match self.mode:
            case "filter":
                self._type(key)
                return None
            case "confirm":
                return self._answer(key)
            case "help":
                self.mode = "list"
                return None
            case "detail":
                return self._press_in_detail(key)
        return self._press_in_list(key, picture)

    def _press_in_list(self, key: str, picture: Picture) -> Action | None:
        match key:
            case "q":
                return Action("quit")
            case "up" | "k":
                self._move(-1, picture)
            case "down" | "j":
                self._move(1, picture)
            case "pgup":
                self._move(-10, picture)
            case "pgdn":
                self._move(10, picture)
            case "home" | "g":
                self._move(-len(self._choices(picture)), picture)
            case "end" | "G":
                self._move(len(self._choices(picture)), picture)
            case "enter" | "i":
                self._open(picture)
            case "s":
                self.sort = (self.sort + 1) % len(SORTS)
                self.message = f"sorted by {self.sorted_by}"
            case "r":
                self.reverse = not self.reverse
                self.message = f"sorted by {self.sorted_by}"
            case "/":
                self.mode, self._typed = "filter", self.filter
            case "esc":
                self.filter = ""
            case "p" | " ":
                self.paused = not self.paused
            case "?" | "h":
                self.mode = "help"
            case "e" if not self.read_only:
                return Action("enable")
            case "x" | "X" | "c" if not self.read_only:
                self._ask(key, self.selected_row(picture))
        return None

    def _press_in_detail(self, key: str) -> Action | None:
        match key:
            case "q" | "esc" | "enter" | "left":
                self.mode, self.opened = "list", None
            case "up" | "k":
                self.scroll = max(0, self.scroll - 1)
            case "down" | "j":
                self.scroll += 1
            case "pgup":
                self.scroll = max(0, self.scroll - 10)
            case "pgdn":
                self.scroll += 10
            case "x" | "X" | "c" if not self.read_only:
                self._ask(key, self.opened)
        return None

    def _move(self, steps: int, picture: Picture) -> None:
        choices = self._choices(picture)
        if self.selected(picture) is not None:
            self._position = max(0, min(self._position + steps, len(choices) - 1))
            self._selected = choices[self._position][0]

    def _open(self, picture: Picture) -> None:
        self.opened = self.selected_row(picture)
        if self.opened is not None:
            self.mode, self.scroll = "detail", 0

    def _ask(self, key: str, row: Row | None) -> None:
        what = "terminate" if key == "X" else "revoke"
        if row is None:
            self.message = "no task is selected"
        elif row["state"] in _ENDED:
            self.message = f"it has ended: {row['state']}"
        elif what == "terminate" and row["state"] != STARTED:
            self.message = "it does not run; x revokes it"
        else:
            self.asking, self.mode = Action(what, row), "confirm"

    def _answer(self, key: str) -> Action | None:
        asked, self.asking = self.asking, None
        self.mode = "list" if self.opened is None else "detail"
        if key in ("y", "Y"):
            return asked
        self.message = "nothing was done"
        return None

    def _type(self, key: str) -> None:
        match key:
            case "enter":
                self.mode, self.filter = "list", self._typed
            case "esc":
                self.mode = "list"
            case "backspace":
                self._typed = self._typed[:-1]
            case "clear":
                self._typed = ""
            case _ if len(key) == 1:
                self._typed += key
