"""From a command line to nodes: their names, what each is told, and where its files are."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from taskctl.commands.worker_options import GLOBAL_OPTIONS
from taskctl.core.errors import ImproperlyConfigured, TemplateError
from taskctl.core.health import default_health_file
from taskctl.core.places import log_folder, run_folder
from taskctl.core.privileges import owner
from taskctl.core.templates import (
    escape,
    expand,
    expand_path,
    hostname_letters,
    multi_letters,
    worker_letters,
)

from .grammar import Line, Setting, UsageError

_GLOBALS = frozenset(option.name for option in GLOBAL_OPTIONS)
_DEFAULT_COMMAND = ("-m", "taskctl", "worker")

#: By name of the option: how it was spelled, and its value (None for a flag).
Options = dict[str, tuple[str, str | None]]
_ABSENT = ("", None)


@dataclass(frozen=True)
class Spec:
    """All that decides a node's command line; kept in its record and used again."""

    settings: tuple[tuple[str, str | None], ...] = ()
    rest: tuple[str, ...] = ()
    command: tuple[str, ...] = _DEFAULT_COMMAND
    append: str | None = None
    cwd: str = field(default_factory=os.getcwd)


@dataclass(frozen=True)
class Node:
    """One node: its full name, its command line, and its files as absolute paths.

    `env`: variables of an earlier start, for those that are not set now.
    """

    name: str
    spec: Spec
    argv: tuple[str, ...]
    pidfile: str
    logfile: str
    healthfile: str
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def owner(self) -> tuple[int, int] | None:
        """User and group id the node will run as, None for ours.

        Raises ImproperlyConfigured for a name that does not exist.
        """
        values = {_name(spelling): value for spelling, value in self.spec.settings}
        return owner(values.get("--uid"), values.get("--gid"))

    @property
    def short_name(self) -> str:
        return self.name.partition("@")[0]


def node_names(line: Line, words: Sequence[str]) -> list[str]:
    """Return the full names of the nodes that the words of a line stand for.

    Raises UsageError for none, for two of one name, and for a name that cannot be one.
    """
    if is_count(words):
        prefix = line.own.get("--range-prefix") or "celery"
        shorts = [f"{prefix}{number}" for number in range(1, int(words[0]) + 1)]
        names = [f"{short}@{_host(line)}" for short in shorts]
    else:
        prefix = line.own.get("--prefix") or ""
        names = [
            _expand_name(word) if "@" in word else f"{prefix}{word}@{_host(line)}" for word in words
        ]
    if not names:
        what = "got 0" if words else "got nothing"
        raise UsageError(
            f"multi {line.command} wants names of nodes or a number of them, {what}",
            f"example: taskctl multi {line.command} 3",
        )
    for position, name in enumerate(names):
        _check_name(name)
        if name in names[:position]:
            raise UsageError(f"two nodes of one name: {name}")
    return names


def is_count(words: Sequence[str]) -> bool:
    """Return whether the words are one number: so many nodes."""
    return len(words) == 1 and words[0].isdecimal() and words[0].isascii()


def settings_by_node(
    line: Line, words: Sequence[str], names: Sequence[str]
) -> tuple[dict[str, list[Setting]], list[str]]:
    """Return the options of each node, its own over those for all, and warnings.

    Raises UsageError for a scope that names no node.
    """
    warnings: list[str] = []
    chosen: dict[str, dict[str, Setting]] = {name: {} for name in names}
    for setting in line.settings:
        if setting.scope is None:
            for options in chosen.values():
                options[setting.option.name] = setting
    for setting in line.settings:
        if setting.scope is not None:
            for name in _in_scope(setting, words, names, warnings):
                chosen[name][setting.option.name] = setting
    return {name: list(options.values()) for name, options in chosen.items()}, warnings


def spec_of(line: Line, settings: Iterable[Setting]) -> Spec:
    """Return the spec of a node that gets these options from this line."""
    command = line.own.get("--cmd")
    return Spec(
        settings=tuple((setting.spelling, setting.value) for setting in settings),
        rest=tuple(line.rest),
        command=_split_command(command) if command else _DEFAULT_COMMAND,
        append=line.own.get("--append"),
    )


def overlay(recorded: Spec, given: Spec) -> Spec:
    """Return the spec of a restart: what is given now, over what was recorded.

    A line that names the app is whole, as every line of Celery's is, and replaces the record.
    Without the app, each option given replaces the recorded one and the others stand.
    """
    if any(_name(spelling) == "--app" for spelling, _ in given.settings):
        return given
    merged = {_name(spelling): (spelling, value) for spelling, value in recorded.settings}
    merged.update({_name(spelling): (spelling, value) for spelling, value in given.settings})
    return Spec(
        settings=tuple(merged.values()),
        rest=given.rest or recorded.rest,
        command=recorded.command if given.command == _DEFAULT_COMMAND else given.command,
        append=recorded.append if given.append is None else given.append,
        cwd=recorded.cwd,
    )


def build(name: str, spec: Spec, env: Mapping[str, str] | None = None) -> Node:
    """Return the node of that name and spec; `env` as in Node.

    Raises UsageError for a template with an unknown letter.
    """
    options: Options = {}
    try:
        for spelling, value in spec.settings:
            options[_name(spelling)] = spelling, _expand_value(name, spec.cwd, spelling, value)
        # The worker expands -n and its paths once more, so they are written for that.
        options["--hostname"] = "-n", escape(name)
        for option, value in _defaults(env or {}).items():
            if option not in options:
                options[option] = option, _expand_value(name, spec.cwd, option, value)
        append = spec.append
        if append is not None:
            append = expand(append, multi_letters(name), option="--append")
        pidfile, logfile = (
            _final_path(name, spec.cwd, options, option) for option in ("--pidfile", "--logfile")
        )
        healthfile = default_health_file(name)
        if "--health-file" in options:
            healthfile = _final_path(name, spec.cwd, options, "--health-file")
        owner(options.get("--uid", _ABSENT)[1], options.get("--gid", _ABSENT)[1])
    except (TemplateError, ImproperlyConfigured) as exc:
        raise UsageError(str(exc)) from exc
    rest = [*spec.rest, *([] if append is None else [append])]
    argv = _command_line(spec.command, options, rest)
    return Node(name, spec, argv, pidfile, logfile, healthfile, env or {})


def _defaults(env: Mapping[str, str]) -> dict[str, str]:
    """Return the options nobody gave; a node on record stays in the folders it was given."""
    run = _folder_of_then(env, "TASKCTL_RUN_DIR") or run_folder()
    log = _folder_of_then(env, "TASKCTL_LOG_DIR") or log_folder()
    return {
        "--pidfile": os.path.join(escape(run), "%n.pid"),
        "--logfile": os.path.join(escape(log), "%n%I.log"),
        "--executable": sys.executable,
    }


def _folder_of_then(env: Mapping[str, str], variable: str) -> str | None:
    value = None if variable in os.environ else env.get(variable)
    return value and os.path.abspath(os.path.expanduser(value))


def _expand_value(name: str, cwd: str, spelling: str, value: str | None) -> str | None:
    if value is None:
        return None
    option = Setting(spelling, value).option
    if option.template:
        # %i and %I are left to the worker; what a name holds must survive its expansion.
        letters = {
            letter: text if letter in "iI%" else escape(text)
            for letter, text in multi_letters(name).items()
        }
        return expand_path(value, letters, option=option.name)
    if option.name == "--workdir":
        return os.path.normpath(os.path.join(cwd, os.path.expanduser(value)))
    return os.path.expanduser(value) if option.name == "--executable" else value


def _final_path(name: str, cwd: str, options: Options, option: str) -> str:
    """Return where the worker's own file will be: expanded as it will expand it."""
    folder = options.get("--workdir", _ABSENT)[1] or _workdir(cwd)
    value = options[option][1] or ""
    return os.path.join(folder, expand_path(value, worker_letters(name), option=option))


def _workdir(cwd: str) -> str:
    """Return the folder the worker will change to if no option tells it."""
    value = os.environ.get("TASKCTL_WORKDIR") or os.environ.get("CELERY_WORKDIR") or ""
    return os.path.join(cwd, os.path.expanduser(value)) if value else cwd


def _command_line(command: Sequence[str], options: Options, rest: Sequence[str]) -> tuple[str, ...]:
    """Return the argv of a node; global options stand in front of the word `worker`."""
    in_front: list[str] = []
    behind: list[str] = []
    for option, (spelling, value) in options.items():
        place = in_front if option in _GLOBALS else behind
        if value is None:
            place.append(spelling)
        elif spelling.startswith("--"):
            place.append(f"{spelling}={value}")
        else:
            place.extend((spelling, value))
    executable = options["--executable"][1] or sys.executable
    split = command.index("worker") if "worker" in command else len(command)
    return executable, *command[:split], *in_front, *command[split:], *behind, *rest


def _in_scope(
    setting: Setting, words: Sequence[str], names: Sequence[str], warnings: list[str]
) -> list[str]:
    found: list[str] = []
    what = f"{setting.spelling}:{setting.scope}"
    for part in (setting.scope or "").split(","):
        low, dash, high = part.partition("-")
        if name := _named(part, words, names):
            found.append(name)
        elif part.isdecimal():
            if not 1 <= int(part) <= len(names):
                raise UsageError(f"{what}: no node {part}: positions go from 1 to {len(names)}")
            found.append(names[int(part) - 1])
        elif dash and low.isdecimal() and high.isdecimal():
            found.extend(_in_range(what, int(low), int(high), words, names, warnings))
        else:
            known = ", ".join(name.partition("@")[0] for name in names)
            raise UsageError(f"{what}: no node {part!r}: there are {known}")
    return found


def _in_range(
    what: str,
    low: int,
    high: int,
    words: Sequence[str],
    names: Sequence[str],
    warnings: list[str],
) -> list[str]:
    if not is_count(words):
        raise UsageError(
            f"{what}: ranges go with a number of nodes, not with names",
            f"write the positions one by one: {','.join(map(str, range(low, high + 1)[:9]))}",
        )
    if not 1 <= low <= high:
        raise UsageError(f"{what}: a range goes from a low position, at least 1, to a higher one")
    if high > len(names):
        warnings.append(f"{what}: there are only {len(names)} nodes; the others are left out")
    return list(names[low - 1 : high])


def _named(part: str, words: Sequence[str], names: Sequence[str]) -> str | None:
    """Return the node that was typed so, or has this name, short or full."""
    if not is_count(words) and part in words:
        return names[list(words).index(part)] if len(words) == len(names) else None
    return next((name for name in names if part in (name, name.partition("@")[0])), None)


def _host(line: Line) -> str:
    host = line.own.get("--hostname") or socket.gethostname()
    suffix = line.own.get("--suffix") or host
    # '""' is how Celery's own scripts say "no suffix".
    return "" if suffix in ('""', "''") else _expand_name(suffix)


def _expand_name(template: str) -> str:
    try:
        return expand(template, hostname_letters(), option="node name")
    except TemplateError as exc:
        raise UsageError(str(exc)) from exc


def _check_name(name: str) -> None:
    short = name.partition("@")[0]
    if not short or short.startswith((".", "-")) or not name.isprintable() or "/" in name:
        raise UsageError(
            f"{name!r} cannot be the name of a node",
            "a name has no slash and does not begin with a dot or a dash",
        )


def _split_command(command: str) -> tuple[str, ...]:
    try:
        words = shlex.split(command)
    except ValueError as exc:
        raise UsageError(f"--cmd {command}: {str(exc).lower()}") from exc
    if not words:
        raise UsageError("--cmd is empty", "example: --cmd '-m taskctl worker'")
    return tuple(words)


def _name(spelling: str) -> str:
    return Setting(spelling, None).option.name
