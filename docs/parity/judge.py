"""Say of everything in docs/parity/celery-5.7.json whether taskctl has it.

What is there is found by importing it under Celery's names (taskctl.compat) and comparing
parameters; what the program itself refuses or marks as without effect brings its own reason; for
the rest a person has written one into docs/parity/verdicts.json.  What has neither is `unlisted`.

Run in a process in which Celery was not imported.
"""

from __future__ import annotations

import fnmatch
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from collect import DOCUMENTED, FILE, call_of  # noqa: E402  (beside this file)

VERDICTS = HERE / "verdicts.json"
SUPPORTED, DIFFERENT, MISSING, UNLISTED = "supported", "different", "missing", "unlisted"
#: How a note on a setting begins that speaks of something that is not there.
_NO_SUCH = ("there is no", "there are no", "tracebacks come as text")
#: Said of what Celery does not document and taskctl does not hold.
INSIDE = "it is a part of Celery's inside"


class Item(NamedTuple):
    """One thing that Celery has: its part of the page, its name, the verdict, and why."""

    part: str
    name: str
    verdict: str
    why: str = ""


class Judge:
    """Holds the written verdicts, and which of them were needed."""

    def __init__(self) -> None:
        held = json.loads(VERDICTS.read_text())
        self.written = [
            (pattern, kind, why) for kind in held for pattern, why in held[kind].items()
        ]
        self.used: set[str] = set()

    def say(self, part: str, name: str, found: bool, reason: str = "") -> Item:
        """Return the verdict: what is found is supported unless a person knows better."""
        for pattern, kind, why in self.written:
            # With a star it speaks of what was not found; a full name wins over what was.
            if fnmatch.fnmatchcase(name, pattern) and not (found and "*" in pattern):
                self.used.add(pattern)
                return Item(part, name, kind, why or reason)
        if found:
            return Item(part, name, SUPPORTED)
        return Item(part, name, DIFFERENT if reason else UNLISTED, reason)


def everything() -> tuple[list[Item], list[str]]:
    """Return all verdicts, and the patterns written that nothing needs any more."""
    import taskctl.compat

    taskctl.compat.install()
    importlib.import_module("celery")
    celery, judge = json.loads(FILE.read_text()), Judge()
    items = [
        *names(judge, celery["modules"]),
        *settings(judge, celery["settings"]),
        *signals(judge, celery["signals"]),
        *commands(judge, celery["commands"]),
        *remote(judge, celery["remote"]),
        *call_options(judge, celery["call_options"]),
        *events(judge, celery["events"]),
        *kinds(judge, celery["kinds"]),
    ]
    unused = [pattern for pattern, _, _ in judge.written if pattern not in judge.used]
    return items, unused


# --- names ----------------------------------------------------------------------------------------


def names(judge: Judge, modules: dict[str, Any]) -> Iterator[Item]:
    """Judge every name, and what belongs to it."""
    from taskctl.compat import finder
    from taskctl.core.errors import UnsupportedFeature

    for module, held in modules.items():
        for name, what in held.items():
            full = f"{module}.{name}"
            reason = finder.reason_of(module, name).replace(" | ", ": ")
            if module not in DOCUMENTED and not reason:
                reason = INSIDE
            try:
                ours = getattr(importlib.import_module(module), name)
            except (UnsupportedFeature, AttributeError):
                yield judge.say(module, full, False, reason)
                continue
            yield judge.say(module, full, True)
            yield from _below(judge, module, full, what, ours)


def _below(judge: Judge, module: str, full: str, what: dict[str, Any], ours: Any) -> Iterator[Item]:
    """Judge parameters and members of what is there."""
    yield from _parameters(judge, module, full, what.get("call"), ours)
    for member, call in what.get("members", {}).items():
        name = f"{full}.{member}"
        if not _has(ours, member):
            yield judge.say(module, name, False, _absence(ours, member))
            continue
        yield judge.say(module, name, True)
        routine = inspect.getattr_static(ours, member, None)
        routine = getattr(routine, "__func__", routine)
        if inspect.isroutine(routine):
            yield from _parameters(judge, module, name, call, routine, bound=True)


def _parameters(
    judge: Judge, part: str, name: str, theirs: Sequence[str] | None, ours: Any, bound: bool = False
) -> Iterator[Item]:
    """Judge each parameter that ours does not take by its name."""
    mine = call_of(ours, bound=bound) if callable(ours) else None
    if theirs is None or mine is None or any(word.startswith("**") for word in mine):
        return
    known = {word.strip("*=") for word in mine}
    places = [word for word in mine if not word.startswith("**") and not word.endswith("=")]
    for place, word in enumerate(theirs):
        if word.startswith("*") or word.strip("=") in known:
            continue
        here = places[place] if place < len(places) else ""
        said = f"it is called {here} here: give it by position" if here.strip("*") else ""
        if here.startswith("*"):
            said = "it is taken by position alone"
        yield judge.say(part, f"{name}({word.strip('=')}=)", False, said)


def _context() -> Any:
    from taskctl.core.tasks.context import Context

    return Context({"id": "1", "task": "t"})


def _conf() -> Any:
    from taskctl.core.app import App

    return App("parity", set_as_current=False).conf


#: Classes whose members are found by asking an object.
_OBJECTS: dict[str, Any] = {"Context": _context, "Settings": _conf}


def _has(ours: Any, member: str) -> bool:
    if hasattr(ours, member):
        return True
    made = _OBJECTS.get(getattr(ours, "__name__", ""))
    if made is not None and hasattr(made(), member):
        return True
    mro = getattr(ours, "__mro__", ())
    return any(member in vars(cls).get("__annotations__", {}) or _sets(cls, member) for cls in mro)


def _sets(cls: type, member: str) -> bool:
    return re.search(rf"\bself\.{member}\b[^=\n(]*=[^=]", _source(cls)) is not None


@cache
def _source(cls: type) -> str:
    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        return ""


def _absence(ours: Any, member: str) -> str:
    """Return why the program refuses a member, if it does."""
    from taskctl.compat.absences import _ABSENT

    for absent in _ABSENT:
        if absent.holder() in getattr(ours, "__mro__", ()) and member in absent.reasons:
            return absent.reasons[member].replace(" | ", ": ")
    return ""


# --- tables ---------------------------------------------------------------------------------------


def settings(judge: Judge, theirs: dict[str, Any]) -> Iterator[Item]:
    """Judge settings; one without effect brings its own note."""
    from taskctl.core.settings_table import SETTINGS

    for name in theirs:
        row = SETTINGS.get(name)
        if row is not None and row.note:
            verdict = MISSING if row.note.startswith(_NO_SUCH) else DIFFERENT
            yield Item("Settings", f"setting {name}", verdict, row.note)
        else:
            yield judge.say("Settings", f"setting {name}", row is not None)


def signals(judge: Judge, theirs: dict[str, list[str]]) -> Iterator[Item]:
    """Judge signals, and the arguments their receivers get."""
    from taskctl.core import signals as ours

    for name, arguments in theirs.items():
        signal = getattr(ours, name, None)
        yield judge.say("Signals", f"signal {name}", signal is not None)
        given = set(getattr(signal, "providing_args", arguments))
        for argument in arguments:
            if argument not in given:
                yield judge.say("Signals", f"signal {name}({argument}=)", False)


def commands(judge: Judge, theirs: dict[str, Any]) -> Iterator[Item]:
    """Judge commands and their options."""
    for path, what in theirs.items():
        known = _options_of(path.split()[1:])
        yield judge.say("Commands", path, known is not None)
        for option in what["options"] if known is not None else ():
            yield judge.say("Commands", f"{path} {option}", option in (known or ()))


def _options_of(words: Sequence[str]) -> set[str] | None:
    """Return the options of a command of ours, None if it is not there."""
    import click

    from taskctl.program import Program

    command: Any = Program()
    given = {word for one in command.params for word in (*one.opts, *one.secondary_opts)}
    for word in words:
        look = getattr(command, "get_command", None)
        command = look(click.Context(command), word) if look is not None else None
        if command is None:
            return None
        if getattr(command, "ignore_unknown_options", False):
            return _Anything()
    own = {word for one in command.params for word in (*one.opts, *one.secondary_opts)}
    # `--help` is click's, global options count before and after a command.
    return own | given | {"--help", "-h"}


class _Anything(set[str]):
    """The options of a command that hands on what it is given."""

    def __contains__(self, word: object) -> bool:
        return True


def remote(judge: Judge, theirs: dict[str, Any]) -> Iterator[Item]:
    """Judge remote commands and their arguments."""
    from taskctl.core.remote.vocabulary import find
    from taskctl.core.worker.commands import Commands

    for name, what in theirs.items():
        command = find(name)
        yield judge.say("Remote control", f"remote {name}", command is not None)
        if command is None:
            continue
        method = getattr(Commands, command.name)
        yield from _parameters(judge, "Remote control", f"remote {name}", what["call"], method)


def call_options(judge: Judge, theirs: list[str]) -> Iterator[Item]:
    """Judge what a call takes: words that the sources of the way out know."""
    from taskctl.core.messaging import producer, routes, timing
    from taskctl.core.tasks import task

    parts = [producer, routes, timing, task, importlib.import_module("taskctl.core.app")]
    words = set(re.findall(r"[a-z_]+", "\n".join(inspect.getsource(one) for one in parts)))
    for option in theirs:
        yield judge.say("Call options", f"option {option}", option in words)


def events(judge: Judge, theirs: dict[str, list[str]]) -> Iterator[Item]:
    """Judge events; that their fields are the same is proved beside Celery (tests/interop)."""
    sources = "".join(
        path.read_text()
        for room in ("worker", "messaging", "remote")
        for path in (HERE.parents[1] / "core" / room).glob("*.py")
    )
    for name in theirs:
        yield judge.say("Events", f"event {name}", f'"{name}"' in sources)


def kinds(judge: Judge, theirs: dict[str, list[str]]) -> Iterator[Item]:
    """Judge what is chosen by name."""
    from taskctl.core import brokers, pool
    from taskctl.core.backends import _choose
    from taskctl.core.wire import codecs, compression

    options = {"sentinel": {"master_name": "m"}}
    ours: dict[str, Any] = {
        "brokers": lambda name: brokers.open_broker(
            f"{name}://localhost", options=options.get(name)
        ),
        "compressions": compression.compression_named,
        "pools": lambda name: pool._POOLS[name],
        "result backends": lambda name: _choose(f"{name}://", {}),
        "serializers": lambda name: name == codecs.AUTH or codecs.codec_named(name),
    }
    for kind, held in theirs.items():
        for name in held:
            yield judge.say(
                kind.capitalize(), f"{kind.removesuffix('s')} {name}", _works(ours[kind], name)
            )


def _works(find: Any, name: str) -> bool:
    try:
        return bool(find(name))
    except Exception:
        return False
