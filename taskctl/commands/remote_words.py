"""The words behind `inspect` and `control`: a command of the vocabulary and its arguments.

They are checked before anything is sent.
"""

from __future__ import annotations

import contextlib
import difflib
import json
import signal
from collections.abc import Mapping, Sequence
from typing import Any

from taskctl.core.remote.panel import Panel
from taskctl.core.remote.vocabulary import ALIASES, COMMANDS, Argument, Command
from taskctl.core.settings_table import SETTINGS
from taskctl.core.settings_types import coerce
from taskctl.failures import usage

_TRUE, _FALSE = ("1", "true", "yes", "on", "y", "t"), ("0", "false", "no", "off", "n", "f")
_WHAT: Mapping[Any, str] = {
    int: "a whole number", float: "a number of seconds", bool: "yes or no",
}  # fmt: skip


def visible(kind: str) -> dict[str, Command]:
    """Return the commands of a kind that people may give, by name: ours, and those that the app
    has registered, if it was imported."""
    everyone = {**COMMANDS, **Panel.commands()}
    return {n: c for n, c in sorted(everyone.items()) if c.kind == kind and not c.hidden}


def find(kind: str, word: str) -> Command | None:
    """Return the command of that kind a word stands for, if there is one."""
    if (entry := Panel.find(word)) is not None and entry.command.kind == kind:
        return entry.command
    return visible(kind).get(ALIASES.get(word, word))


def choose(kind: str, word: str | None) -> Command:
    """Return the command a word stands for.

    Raises CommandError with the nearest one, or all.
    """
    choices = visible(kind)
    if word is None:
        raise usage(
            f"{kind} wants a command, got nothing; nothing was sent",
            f"choose from {', '.join(choices)}",
        )
    if (found := find(kind, word)) is not None:
        return found
    other = "control" if kind == "inspect" else "inspect"
    if find(other, word) is not None:
        raise usage(f"{word} is no {kind} command", f"did you mean: taskctl {other} {word}")
    near = difflib.get_close_matches(word, choices, 1)
    hint = f"did you mean: {near[0]}" if near else f"choose from {', '.join(choices)}"
    raise usage(f"no {kind} command {word!r}; nothing was sent", hint)


def arguments(command: Command, words: Sequence[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a command by name, converted and checked.

    `options` are those of the command line that only some commands know; None is not given.
    Raises CommandError naming what is wrong.
    """
    takes = command.positional
    _refuse_options(command, options)
    found: dict[str, Any] = {}
    left = list(words)
    for argument in takes:
        if argument.variadic:
            if left or argument.required:
                found[argument.name] = [_convert(command, argument, word) for word in left]
            left = []
        elif left:
            found[argument.name] = _convert(command, argument, left.pop(0))
    if left or any(a.required and found.get(a.name) in (None, []) for a in takes):
        raise _wrong_count(command, words)
    found.update({name: value for name, value in options.items() if value is not None})
    _check(command, found)
    return found


def _refuse_options(command: Command, options: Mapping[str, Any]) -> None:
    known = {argument.name for argument in command.arguments if argument.option}
    for name, value in options.items():
        if value is not None and name not in known:
            raise usage(f"--{name} goes with control revoke, not with {command.name}")


def _convert(command: Command, argument: Argument, word: str) -> Any:
    try:
        value = _bool(word) if argument.type is bool else argument.type(word)
    except (ValueError, TypeError) as exc:
        wanted = _WHAT.get(argument.type, f"what {argument.type!r} takes ({exc})")
        raise usage(
            f"{command.kind} {command.name}: {argument.name} must be {wanted}, "
            f"got {word!r}; nothing was sent",
            _example(command),
        ) from None
    if argument.type in (int, float) and not 0 <= value < float("inf"):
        raise usage(
            f"{command.kind} {command.name}: {argument.name} must be 0 or more, got {word}; "
            "nothing was sent"
        )
    return value


def _bool(word: str) -> bool:
    lower = word.lower().partition("=")[2] if "=" in word else word.lower()
    if lower not in (*_TRUE, *_FALSE):
        raise ValueError(word)
    return lower in _TRUE


def _check(command: Command, found: dict[str, Any]) -> None:
    """Look at values that a node would refuse."""
    match command.name:
        case "rate_limit":
            _check_rate(command, found["rate_limit"])
        case "autoscale" if found.get("min", 0) > found.get("max", float("inf")):
            raise _refused(command, f"max {found['max']} is below min {found['min']}")
        case "time_limit" if found.get("hard") is not None and found["soft"] > found["hard"]:
            raise _refused(command, f"soft {found['soft']:g} is above hard {found['hard']:g}")
        case "revoke_by_stamped_headers":
            for text in found["headers"]:
                if not text.partition("=")[0] or "=" not in text:
                    raise _refused(command, f"{text!r} is no stamp: write KEY=VALUE")
        case "election":
            _check_election(command, found)
    if "signal" in found:
        _check_signal(str(found["signal"]))


def _check_rate(command: Command, rate: str) -> None:
    try:
        coerce(SETTINGS["task_default_rate_limit"], rate, text=True)
    except ValueError as exc:
        reason = str(exc).replace("task_default_rate_limit", "the rate")
        raise _refused(command, reason) from exc


def _check_election(command: Command, found: dict[str, Any]) -> None:
    """Make a signature of what shall be done."""
    if found["topic"] != "task":
        raise _refused(command, f"no topic {found['topic']!r}: there is task")
    action = found.get("action")
    if action is None:
        raise _refused(command, "the topic task wants an ACTION")
    signature: Any = None
    with contextlib.suppress(ValueError):
        signature = json.loads(action)
    if signature is None and action.isprintable() and "{" not in action:
        signature = {"task": action}
    if not isinstance(signature, dict) or not isinstance(signature.get("task"), str):
        raise _refused(command, f"{action!r} is neither a task name nor a signature in JSON")
    empty: dict[str, Any] = {
        "args": [],
        "kwargs": {},
        "options": {},
        "subtask_type": None,
        "immutable": False,
    }
    found["action"] = {**empty, **signature}


def _check_signal(word: str) -> None:
    name = "SIG" + word.upper().removeprefix("SIG")
    numbers = {str(int(number)) for number in signal.Signals}
    if word not in numbers and name not in signal.Signals.__members__:
        raise usage(f"no signal {word!r}: write TERM, KILL, USR1 or a number; nothing was sent")


def _refused(command: Command, reason: str) -> Exception:
    return usage(
        f"{command.kind} {command.name}: {reason}; nothing was sent", _example(command)
    )  # fmt: skip


def _wrong_count(command: Command, words: Sequence[str]) -> Exception:
    wanted = command.words() or "no arguments"
    got = " ".join(words) or "nothing"
    return usage(
        f"{command.kind} {command.name} wants {wanted}, got {got}; nothing was sent",
        _example(command),
    )


def _example(command: Command) -> str:
    return f"example: {command.example}" if command.example else ""
