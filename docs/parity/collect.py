"""Write down what Celery 5.7 has: docs/parity/celery-5.7.json, by asking an installed Celery.

    python docs/parity/collect.py            writes it
    python docs/parity/collect.py --check    exit code 1 if it is not that

Every public name of every module with its signature, the public members of every class, all
settings, signals, commands with options, remote commands, events with fields, and the names of
brokers, result backends, pools, serializers and compressions.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FILE = HERE / "celery-5.7.json"
#: The public names by module, read from Celery's source text (tests/interop/celery_names.py).
NAMES = ROOT / "taskctl" / "compat" / "celery_names.json"

#: What Celery's "API Reference" documents; all other modules are in its "Internals".
DOCUMENTED = """
    celery celery.app celery.app.amqp celery.app.autoretry celery.app.backends celery.app.base
    celery.app.builtins celery.app.control celery.app.defaults celery.app.events celery.app.log
    celery.app.registry celery.app.task celery.app.utils celery.apps.beat celery.apps.multi
    celery.apps.worker celery.beat celery.bootsteps celery.canvas celery.contrib.abortable
    celery.contrib.django.task celery.contrib.migrate celery.contrib.pytest celery.contrib.rdb
    celery.contrib.sphinx celery.contrib.testing.app celery.contrib.testing.manager
    celery.contrib.testing.mocks celery.contrib.testing.tasks celery.contrib.testing.worker
    celery.events celery.events.dispatcher celery.events.event celery.events.receiver
    celery.events.state celery.exceptions celery.loaders celery.loaders.app celery.loaders.base
    celery.loaders.default celery.result celery.schedules celery.security celery.signals
    celery.states celery.utils.debug celery.worker celery.worker.consumer celery.worker.request
    celery.worker.state celery.worker.strategy celery.worker.worker
""".split()
#: Modules, and packages with a dot, that need drivers or tools that need not be installed.
_OF_DRIVERS = tuple(
    f"celery.{name}"
    for name in """
    backends.arangodb backends.azureblockblob backends.cassandra backends.consul
    backends.cosmosdbsql backends.couchbase backends.couchdb backends.dynamodb
    backends.elasticsearch backends.gcs backends.mongodb backends.s3 backends.database
    concurrency.eventlet concurrency.gevent contrib.sphinx contrib.django
    """.split()
)
#: Commands that other packages add to Celery's.
_PLUGINS = frozenset(("flower",))
#: What differs between machines and runs is not written down.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def everything() -> dict[str, Any]:
    """Return all of it."""
    import celery

    return {
        "version": celery.__version__.partition("b")[0],
        "modules": dict(modules()),
        "settings": settings(),
        "signals": signals(),
        "commands": dict(commands()),
        "remote": remote(),
        "call_options": call_options(),
        "events": events(),
        "kinds": kinds(),
    }


# --- names ----------------------------------------------------------------------------------------


def modules() -> Iterator[tuple[str, Any]]:
    """Yield each module and what it holds."""
    for module, names in json.loads(NAMES.read_text()).items():
        if not names or module == "celery.__main__":
            continue
        if module.startswith(_OF_DRIVERS):
            # Whether it can be imported differs from machine to machine.
            yield module, {name: {"kind": "unknown"} for name in names}
            continue
        found = importlib.import_module(module)
        yield module, {name: described(found, name, module) for name in names}


def described(holder: Any, name: str, module: str) -> dict[str, Any]:
    """Return what is to be said of one name of a module; of members only what is documented."""
    try:
        found = getattr(holder, name)
    except Exception:
        return {"kind": "unknown"}
    home = getattr(found, "__module__", module)
    if home != module and home in DOCUMENTED and getattr(found, "__qualname__", "") == name:
        return {"kind": "same", "as": f"{home}.{name}"}
    if inspect.isclass(found):
        made = {"kind": "class", "call": call_of(found)}
        shown = module in DOCUMENTED and not issubclass(found, BaseException)
        return {**made, "members": dict(members(found))} if shown else made
    if callable(found) and type(found).__name__ not in ("Proxy", "PromiseProxy"):
        # (A proxy would be asked for a current app.)
        return {"kind": "function", "call": call_of(found)}
    return {"kind": "value"}


def members(cls: type) -> Iterator[tuple[str, list[str] | None]]:
    """Yield the public members of a class with their parameters; None for what is not called."""
    for name in sorted(dir(cls)):
        home = next((base for base in cls.__mro__ if name in vars(base)), None)
        ours = home is not None and home.__module__.partition(".")[0] in ("celery", "kombu")
        if name.startswith("_") or not ours:
            continue
        found = inspect.getattr_static(cls, name)
        found = getattr(found, "__func__", found)
        yield name, call_of(found, bound=True) if inspect.isroutine(found) else None


def call_of(found: Any, bound: bool = False) -> list[str] | None:
    """Return the parameters as they are written, without defaults; None if nobody can tell."""
    try:
        parameters = list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):
        return None
    if bound and parameters and parameters[0].name in ("self", "cls"):
        parameters = parameters[1:]
    marks = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    words = []
    for parameter in parameters:
        word = marks.get(parameter.kind, "") + parameter.name
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            word = f"{parameter.name}="
        words.append(word)
    return words


# --- tables ---------------------------------------------------------------------------------------


def settings() -> dict[str, Any]:
    """Return every setting: its type, its default, its names of old."""
    from celery.app.defaults import NAMESPACES, flatten

    return {
        name: {
            "type": getattr(option.type, "__name__", option.type),
            "default": _ADDRESS.sub("", repr(option.default)),
            "old": sorted(map(str, option.old)),
        }
        for name, option in sorted(flatten(NAMESPACES))
    }


def signals() -> dict[str, list[str]]:
    """Return every signal, and the arguments its receivers get."""
    import celery.signals as module
    from celery.utils.dispatch import Signal

    found = {n: s for n, s in vars(module).items() if isinstance(s, Signal)}
    return {name: sorted(signal.providing_args) for name, signal in sorted(found.items())}


def commands() -> Iterator[tuple[str, Any]]:
    """Yield every command with its options and arguments."""
    from celery.bin.celery import celery as program

    yield from _commands("celery", program)


def _commands(path: str, command: Any) -> Iterator[tuple[str, Any]]:
    options = [p for p in command.params if p.param_type_name == "option"]
    yield (
        path,
        {
            "options": sorted(
                {word for one in options for word in (*one.opts, *one.secondary_opts)}
            ),
            "arguments": [p.name for p in command.params if p.param_type_name == "argument"],
        },
    )
    for name, child in sorted(getattr(command, "commands", {}).items()):
        if name in _PLUGINS:
            continue
        yield from _commands(f"{path} {name}", child)


def remote() -> dict[str, Any]:
    """Return the commands a worker obeys: their kind and arguments."""
    import celery.worker.control  # registers them
    from celery.worker.control import Panel

    assert celery.worker.control
    found = {}
    for name, meta in sorted(Panel.meta.items()):
        method = Panel.data[name]
        call = [p for p in call_of(inspect.unwrap(method)) or () if p != "state"]
        found[name] = {"kind": meta.type, "call": call, "alias": meta.alias}
    return found


def call_options() -> list[str]:
    """Return what `apply_async` and `send_task` take by name."""
    from celery import Celery, Task
    from celery.app.amqp import AMQP

    found = {
        word.strip("=")
        for call in (Task.apply_async, Celery.send_task, AMQP.as_task_v2)
        for word in call_of(call, bound=True) or ()
        if not word.startswith("*")
    }
    # As documented in "Calling Tasks", for the broker.
    return sorted(found | {"delivery_mode", "exchange", "queue", "routing_key"})


def events() -> dict[str, list[str]]:
    """Return every event that Celery sends, and its fields, as they were captured on its wire."""
    found = {}
    for path in sorted((ROOT / "tests" / "golden").glob("event_*.json")):
        name = path.stem.removeprefix("event_")
        if name != "task-progress":  # a capture of an event of a user's own
            found[name] = sorted(json.loads(path.read_text())["redis"]["fields"])
    return found


def kinds() -> dict[str, list[str]]:
    """Return the names of what can be chosen by name."""
    from celery.app.backends import BACKEND_ALIASES
    from celery.concurrency import ALIASES
    from kombu.compression import _aliases
    from kombu.serialization import registry
    from kombu.transport import TRANSPORT_ALIASES

    return {
        "brokers": sorted(TRANSPORT_ALIASES),
        "compressions": sorted(_aliases),
        "pools": sorted({*ALIASES, "custom"}),
        "result backends": sorted(BACKEND_ALIASES),
        "serializers": sorted({*registry._encoders, "auth"}),
    }


def text() -> str:
    """Return the file as it should be: a line for each thing, so that a change shows."""
    parts = []
    for part, held in everything().items():
        if isinstance(held, str):
            parts.append(f"{json.dumps(part)}: {json.dumps(held)}")
        elif part == "modules":
            inside = [
                f"{json.dumps(name)}: {{\n{_lines(names)}\n}}" for name, names in held.items()
            ]
            parts.append(f"{json.dumps(part)}: {{\n" + ",\n".join(inside) + "\n}")
        elif isinstance(held, dict):
            parts.append(f"{json.dumps(part)}: {{\n{_lines(held)}\n}}")
        else:
            parts.append(f"{json.dumps(part)}: {json.dumps(held)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _lines(held: dict[str, Any]) -> str:
    return ",\n".join(f"{json.dumps(key)}: {json.dumps(held[key])}" for key in sorted(held))


def main(words: list[str]) -> int:
    if words == ["--check"]:
        return int(FILE.read_text() != text())
    FILE.write_text(text())
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
