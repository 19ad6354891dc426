"""The words of a `multi` command line: what belongs to multi, what to every node, what to some.

    taskctl multi start 3 -A proj -Q:1-2 images -Q:3 video -- setting=value

No word is ever joined with another or split, so blanks, quotes and percent signs in values reach
the worker as they were typed. Whether an option takes a value is read from the worker's table.
"""

from __future__ import annotations

import difflib
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from taskctl.commands.worker_options import GLOBAL_OPTIONS, WORKER_OPTIONS, Option

STARTING = frozenset({"start", "restart"})
STOPPING = frozenset({"stop", "stopwait", "restart"})
COMMANDS = (
    "start",
    "stop",
    "stopwait",
    "restart",
    "kill",
    "status",
    "show",
    "names",
    "expand",
    "get",
    "logs",
    "forget",
    "help",
)
ALIASES = {"stop_verify": "stopwait"}
_EVERY = frozenset(COMMANDS)


class UsageError(Exception):
    """Raised for a command line that makes no sense; `hint` is the cure, if known."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UnknownOption(UsageError):
    """Raised for an option that neither multi nor the worker knows."""


@dataclass(frozen=True)
class OwnOption:
    """An option of multi itself; `commands` are the sub-commands that know it.

    One with `absent` may stand without its value, and means that value then.
    """

    names: tuple[str, ...]
    takes_value: bool
    help: str
    commands: frozenset[str] = _EVERY
    metavar: str = "VALUE"
    absent: str | None = None

    @property
    def name(self) -> str:
        return self.names[-1]


_LISTS = frozenset({"status"})
OWN_OPTIONS = (
    OwnOption(("-n", "--hostname"), True, "host part of the names", metavar="HOST"),
    OwnOption(("--prefix",), True, "put before each name", metavar="TEXT"),
    OwnOption(("--suffix",), True, "host part of the names, over --hostname", metavar="TEXT"),
    OwnOption(("--range-prefix",), True, "name of counted nodes (celery)", metavar="TEXT"),
    OwnOption(("--cmd",), True, "run this in place of '-m taskctl worker'", metavar="TEXT"),
    OwnOption(("--append",), True, "last argument of every node", metavar="TEXT"),
    OwnOption(("--parallel",), True, "start at most N nodes at a time (all)", STARTING, "N"),
    OwnOption(("--ready-timeout",), True, "wait S for a node to be ready (30)", STARTING, "S"),
    OwnOption(("--no-wait",), False, "do not wait until nodes are ready", STARTING),
    OwnOption(("--signal",), True, "send this (TERM); also -9, -INT, -SIGINT", STOPPING, "SIG"),
    OwnOption(("--wait",), False, "wait until the nodes are down", frozenset({"stop"})),
    OwnOption(("--timeout",), True, "wait at most S until nodes are down", STOPPING, "S"),
    OwnOption(("--then-kill",), False, "kill what is not down by then", STOPPING),
    OwnOption(("--rolling",), False, "one node after another", frozenset({"restart"})),
    OwnOption(
        ("--max-down",), True, "with --rolling: N at a time (1)", frozenset({"restart"}), "N"
    ),
    OwnOption(("--dry-run",), False, "only say what would be killed", frozenset({"kill"})),
    OwnOption(("-y", "--yes"), False, "do not ask"),
    OwnOption(("--follow",), False, "-f: go on as the logs grow", frozenset({"logs"})),
    OwnOption(("--lines",), True, "-n N: this many last lines (20)", frozenset({"logs"}), "N"),
    OwnOption(
        ("--since",), True, "lines from then on: 10m, 14:30, 2026-01-31", frozenset({"logs"}), "T"
    ),
    OwnOption(("-w", "--watch"), True, "again every S seconds (2)", _LISTS, "[S]", absent="2"),
    OwnOption(("--where",), True, "rows that meet it: 'state != ready'", _LISTS, "CONDITION"),
    OwnOption(("--sort",), True, "order by a key; -KEY: highest first", _LISTS, "KEY"),
    OwnOption(("--fields",), True, "show these columns or keys only", _LISTS, "LIST"),
    OwnOption(("--no-header",), False, "no line of titles", _LISTS),
    OwnOption(("--no-censor",), False, "show secrets", frozenset({"show", "get"})),
    OwnOption(("-o", "--output"), True, "table, plain, name, json, jsonl or celery", metavar="F"),
    OwnOption(("-j", "--json"), False, "the same as -o json"),
    OwnOption(("-q", "--quiet"), False, "no banner, notes and summaries"),
    OwnOption(("-v", "--verbose"), False, "print each command line that is run"),
    OwnOption(("--nosplash",), False, "no banner"),
    OwnOption(("-h", "--help"), False, "this help"),
)
#: Options of the whole program, which have variables of their own (TASKCTL_OUTPUT ...).
_PROGRAM = frozenset({"--output", "--json", "--quiet", "--verbose", "--yes", "--help"})

#: Options of `worker` that mean nothing here: multi names the nodes and detaches them itself.
_NOT_FOR_NODES = frozenset({"--hostname", "--detach", "--check"})
_SPELLINGS: dict[str, Option | OwnOption] = {
    spelling: option
    for option in (*GLOBAL_OPTIONS, *WORKER_OPTIONS)
    if option.name not in _NOT_FOR_NODES
    for spelling in option.names
}
_SPELLINGS.update({spelling: option for option in OWN_OPTIONS for spelling in option.names})
#: -L stands for -l in Celery's own examples, -p for --pidfile in its code.
_OLD_SPELLINGS = {"-L": "-l", "-p": "--pidfile"}
#: In `multi logs` these two mean what they mean to `tail`.
_LOGS_SPELLINGS = {"-f": "--follow", "-n": "--lines"}
_DETACH = frozenset({"-D", "--detach"})


@dataclass(frozen=True)
class Setting:
    """One option for nodes as it was typed; `scope` is what stood after the colon, or None."""

    spelling: str
    value: str | None
    scope: str | None = None
    of_app: Option | None = None

    @property
    def option(self) -> Option:
        option = self.of_app or _SPELLINGS.get(self.spelling)
        if isinstance(option, Option):
            return option
        # One of the app's own, read from a record: its table is not at hand, nor needed.
        kind = "flag" if self.value is None else "text"
        names = (self.spelling, f"--{self.spelling.lstrip('-')}")
        return Option(names, kind, "Options of the app", "an option of the app's own")


@dataclass
class Line:
    """A command line, understood."""

    command: str = ""
    words: list[str] = field(default_factory=list)
    settings: list[Setting] = field(default_factory=list)
    own: dict[str, str | None] = field(default_factory=dict)
    rest: list[str] = field(default_factory=list)
    signal: int | None = None
    spellings: dict[str, Option | OwnOption] = field(default_factory=lambda: _SPELLINGS)

    def number(self, option: str, default: float) -> float:
        """Return the value of an option of multi as a number above 0."""
        value = self.own.get(option)
        if value is None:
            return default
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise UsageError(f"{option} {value}: number above 0 expected")
        return number

    def whole(self, option: str, default: int) -> int:
        """Return the value of an option of multi as a whole number above 0."""
        value = self.own.get(option)
        if value is None:
            return default
        if not (value.isascii() and value.isdecimal() and int(value)):
            raise UsageError(f"{option} {value}: whole number above 0 expected")
        return int(value)


#: Finds the options that the user's app adds to its worker, given the words of a line.
AppOptions = Callable[[Sequence[str]], Sequence[Option]]


def parse(
    argv: Sequence[str],
    global_args: Sequence[str] = (),
    *,
    app_options: AppOptions | None = None,
) -> Line:
    """Return what a command line says; `global_args` stood in front of `multi`.

    `app_options` is asked once, and only if there is an option that nobody here knows.
    Raises UsageError for an unknown sub-command or option and for a missing value.
    """
    words = [*global_args, *argv]
    try:
        return _parse(words, Line())
    except UnknownOption:
        found = app_options(words) if app_options is not None else ()
        if not found:
            raise
    known = {spelling: option for option in found for spelling in option.names}
    return _parse(words, Line(spellings={**known, **_SPELLINGS}))


def _parse(words: Sequence[str], line: Line) -> Line:
    position = 0
    while position < len(words):
        if words[position] == "--":
            line.rest = list(words[position:])
            break
        position += _take(line, words, position)
    _take_environment(line, os.environ)
    _check(line)
    return line


def _take(line: Line, words: Sequence[str], position: int) -> int:
    """Take in one word, or an option with its value; return how many words that were."""
    word = words[position]
    if not word.startswith("-") or word == "-":
        _take_word(line, word)
        return 1
    if line.command in STOPPING and (number := _signal_number(word[1:])):
        line.signal = number
        return 1
    if word.startswith("--") or word[2:3] == ":":
        head, equals, value = word.partition("=")
        attached = value if equals else None
    else:
        head, attached = word[:2], word[2:] or None
    spelling, colon, scope = head.partition(":")
    spelling = _OLD_SPELLINGS.get(spelling, spelling)
    if line.command == "logs":
        spelling = _LOGS_SPELLINGS.get(spelling, spelling)
    if spelling in _DETACH:
        return 1
    option = _lookup(line, spelling)
    if not option.takes_value:
        _add(line, option, spelling, None, scope if colon else None)
        if attached is None:
            return 1
        if word.startswith("--") or colon:
            raise UsageError(f"{word}: {spelling} takes no value")
        # Short flags may stand together, the last one may have a value: -EB, -Ec 4.
        return _take(line, [f"-{attached}", *words[position + 1 :]], 0)
    used = 1
    if attached is None and isinstance(option, OwnOption) and option.absent is not None:
        following = words[position + 1] if position + 1 < len(words) else ""
        attached, used = (following, 2) if _is_number(following) else (option.absent, 1)
    elif attached is None:
        attached, used = _next_value(line, words, position + 1, head, option), 2
    _add(line, option, spelling, attached, scope if colon else None)
    return used


def _take_word(line: Line, word: str) -> None:
    if line.command:
        line.words.append(word)
        return
    line.command = ALIASES.get(word, word)
    if line.command not in COMMANDS:
        nearest = difflib.get_close_matches(word, COMMANDS, 1)
        hint = f"did you mean: taskctl multi {nearest[0]}" if nearest else ""
        raise UsageError(f"unknown sub-command {word!r}: choose from {' '.join(COMMANDS)}", hint)


def _next_value(
    line: Line, words: Sequence[str], position: int, head: str, option: Option | OwnOption
) -> str:
    cure = f"write {option.name}=VALUE if the value begins with a dash"
    if position >= len(words):
        raise UsageError(f"{head} needs a value")
    value = words[position]
    spelling = value.partition("=")[0].partition(":")[0]
    if value == "--" or _OLD_SPELLINGS.get(spelling, spelling) in line.spellings:
        raise UsageError(f"{head} needs a value, but option {value} follows", cure)
    return value


def _add(
    line: Line, option: Option | OwnOption, spelling: str, value: str | None, scope: str | None
) -> None:
    if isinstance(option, Option):
        of_app = None if spelling in _SPELLINGS else option
        line.settings.append(Setting(spelling, value, scope, of_app))
    elif scope is not None:
        raise UsageError(f"{spelling}:{scope}: {spelling} is for all nodes")
    else:
        line.own[option.name] = value


def _lookup(line: Line, spelling: str) -> Option | OwnOption:
    try:
        return line.spellings[spelling]
    except KeyError:
        known = line.spellings
        nearest = difflib.get_close_matches(spelling, known, 1) if len(spelling) > 2 else []
        raise UnknownOption(
            f"unknown option {spelling}",
            f"did you mean: {nearest[0]}" if nearest else "see: taskctl multi help",
        ) from None


def _is_number(text: str) -> bool:
    try:
        return float(text) > 0
    except ValueError:
        return False


def variables() -> dict[str, OwnOption]:
    """Return the options of multi's own by their variables, TASKCTL_MULTI_OPTION."""
    return {
        f"TASKCTL_MULTI_{option.name[2:].upper().replace('-', '_')}": option
        for option in OWN_OPTIONS
        if option.name not in _PROGRAM
    }


def _take_environment(line: Line, environ: Mapping[str, str]) -> None:
    """Take options of multi's own from TASKCTL_MULTI_OPTION, else CELERY_MULTI_OPTION.

    A variable holds for every call, so it is no error where the sub-command does not know it.
    """
    for name, option in variables().items():
        if option.name in line.own or line.command not in option.commands:
            continue
        if option.name == "--signal" and line.signal:
            continue
        value = environ.get(name) or environ.get(name.replace("TASKCTL", "CELERY", 1))
        if not value:
            continue
        if option.takes_value:
            line.own[option.name] = value
        elif value.strip().lower() not in ("0", "false", "no", "off"):
            line.own[option.name] = None


def _check(line: Line) -> None:
    """See that each option of multi belongs to the sub-command, and make the signal a number."""
    if not line.command:
        if "--help" in line.own:
            line.command = "help"
            return
        raise UsageError("multi wants a sub-command", "see: taskctl multi help")
    for option in OWN_OPTIONS:
        if option.name in line.own and line.command not in option.commands:
            known = " ".join(name for name in COMMANDS if name in option.commands)
            raise UsageError(
                f"{option.name} is not an option of multi {line.command}, but of: {known}"
            )
    if (name := line.own.get("--signal")) is not None:
        line.signal = _signal_number(name)
        if line.signal is None:
            raise UsageError(f"--signal {name}: no such signal", "example: --signal INT")


def _signal_number(text: str) -> int | None:
    """Return the number of 9, INT or SIGINT; None if that is no signal."""
    if text.isdecimal() and text.isascii():
        return int(text) if int(text) in signal.valid_signals() else None
    if not text.isupper():
        return None
    name = text if text.startswith("SIG") else f"SIG{text}"
    found = getattr(signal, name, None)
    return int(found) if isinstance(found, signal.Signals) else None
