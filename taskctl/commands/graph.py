"""`taskctl graph`: the parts of a worker, or the fleet, in the DOT language of Graphviz."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from taskctl.apps import client_app, user_app
from taskctl.command import Argument, Command, Group
from taskctl.console import Console
from taskctl.context import Context
from taskctl.core.app import App
from taskctl.core.redact import mask_text, mask_url
from taskctl.failures import OK, usage
from taskctl.remote import Asking, Fleet, by_name, content, error_of, remote_options
from taskctl.views.graph import Vertex, dot_lines

from .graph_parts import PARTS, vertices

_FORMATS = ("table", "wide", "plain", "json", "celery")
_WORDS = ("nodes", "threads", "backend", "broker", "generic", "enumerate", "wmax", "tmax")
_SMALL = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@click.pass_obj
def _bootsteps(context: Context, halves: tuple[str, ...]) -> int:
    wanted = [half.lower() for half in halves] or list(PARTS)
    for half in wanted:
        if half not in PARTS:
            raise usage(f"graph bootsteps: no {half!r} here", "choose worker, consumer, or both")
    console = context.console(piped="celery", formats=_FORMATS)
    app = user_app(context) if context.app_spec else client_app(context)
    found = vertices([half for half in PARTS if half in wanted], app)
    return _draw(console, "graph.bootsteps", found, root=found[0].name)


@click.pass_obj
def _workers(context: Context, /, words: tuple[str, ...], **options: Any) -> int:
    given = _read(words)
    console = context.console(piped="celery", formats=_FORMATS)
    app = client_app(context)
    if "nodes" in given:
        names = _listed(given["nodes"])
        counts = [_count("threads", text) for text in _listed(given.get("threads", ""))]
    else:
        names, counts = _ask(console, app, Asking(**options))
    broker = given.get("broker") or app.broker_urls()[0]
    backend = given.get("backend", app.conf.result_backend)
    found = _fleet(given, names, counts, _shown(broker), _shown(backend) if backend else None)
    return _draw(console, "graph.workers", found)


def _ask(console: Console, app: App, asking: Asking) -> tuple[list[str], list[int]]:
    """Return the live nodes and the sizes of their pools."""
    answer = Fleet(app, asking).ask("stats")
    names, counts = [], []
    for name, value in sorted(by_name(answer).items()):
        if (message := error_of(value)) is not None:
            console.warn(f"{name}: {message}")
            continue
        names.append(name)
        counts.append(int(content(value)["pool"]["max-concurrency"]))
    for name in answer.missing:
        console.warn(f"{name} did not answer and is not drawn")
    return names, counts


def _fleet(
    given: Mapping[str, str],
    names: Sequence[str],
    counts: Sequence[int],
    broker: str,
    backend: str | None,
) -> list[Vertex]:
    """Return brokers, nodes and children; of many only the first and the last, as in Celery."""
    generic = "generic" in given
    most = _count("wmax", given.get("wmax") or "4")
    most_children = _count("tmax", given.get("tmax") or "3")
    broker = _generic("Broker", broker) if generic else broker
    found = [Vertex(broker, kind="broker")]
    needs = [broker]
    if backend:
        backend = _generic("Backend", backend) if generic else backend
        found.append(Vertex(backend, kind="backend"))
        needs.append(backend)
    shown = _abbreviated(names, "Worker", most, "enumerate" in given)
    if len(shown) < len(names) and counts:
        counts = [*counts[: len(shown) - 1], counts[-1]]
    number = 0
    for position, name in enumerate(shown):
        found.append(Vertex(name, tuple(needs), kind="worker"))
        count = counts[position] if position < len(counts) else 0
        children = list(map(str, range(count)))
        for label in _abbreviated(children, "P", most_children, "enumerate" in given):
            number += 1
            found.append(Vertex(f"thr-{number}", (name,), "child", label))
    return found


def _abbreviated(names: Sequence[str], kind: str, most: int, enumerated: bool) -> list[str]:
    """Return at most so many names (0: all); the last but one stands for those left out."""
    count = len(names)
    shown = [f"{kind}{_small(n + 1)}" for n in range(count)] if enumerated else list(names)
    if most and count > most:
        shown = [*shown[: most - 1], shown[-1]]
        if most > 1:
            shown[most - 2] = f"{kind[0]}⎨…{_small(count - most + 1)}⎬"
    return shown


def _small(number: int) -> str:
    return str(number).translate(_SMALL)


def _generic(kind: str, url: str) -> str:
    return f"{kind} ({url.partition('://')[0]}://)"


def _shown(url: str) -> str:
    return mask_url(url) if "://" in url else mask_text(url)


def _read(words: Sequence[str]) -> dict[str, str]:
    """Return Celery's `name:value` words."""
    given = {}
    for word in words:
        name, _, value = word.partition(":")
        if name not in _WORDS:
            raise usage(
                f"graph workers: no {name!r} here: choose from {', '.join(_WORDS)}",
                "example: taskctl graph workers nodes:w1,w2 threads:2,3",
            )
        given[name] = value
    if "threads" in given and "nodes" not in given:
        raise usage("graph workers: threads goes with nodes", "example: nodes:w1,w2 threads:2,3")
    return given


def _listed(text: str) -> list[str]:
    return [part for part in text.split(",") if part]


def _count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise usage(f"graph workers: {name}:{text}: whole number expected")
    return int(text)


def _draw(console: Console, schema: str, found: Sequence[Vertex], root: str = "None") -> int:
    if console.format == "json":
        items = [
            {"name": one.name, "kind": one.kind, "label": one.label, "needs": list(one.needs)}
            for one in found
        ]
        console.document(schema, ok=True, items=items)
    else:
        for line in dot_lines(found, root):
            console.line(line)
    return OK


command = Group(
    "graph",
    commands={
        "bootsteps": Command(
            "bootsteps",
            callback=_bootsteps,
            params=[click.Argument(["halves"], nargs=-1, metavar="[worker] [consumer]")],
            help="Draw the parts of a worker, each with an arrow to what starts before it.",
            examples=(
                "taskctl graph bootsteps | dot -Tsvg >worker.svg",
                "taskctl -A proj graph bootsteps consumer",
            ),
        ),
        "workers": Command(
            "workers",
            callback=_workers,
            params=[
                Argument(
                    "words", nargs=-1, metavar="[NAME:VALUE]...",
                    help="nodes:A,B and threads:2,3 draw these, and ask nobody; broker:URL,"
                    " backend:URL; wmax:N, tmax:N most nodes and children; generic, enumerate",
                ),
                *remote_options(),
            ],
            help="Draw broker, nodes and their children; without nodes: whoever is there.",
            examples=(
                "taskctl -A proj graph workers | dot -Tsvg >fleet.svg",
                "taskctl graph workers nodes:w1,w2 threads:2,3 wmax:10",
            ),
        ),
    },
    help="Draw the worker or the fleet as a graph.",
    examples=(
        "taskctl graph bootsteps | dot -Tsvg >worker.svg",
        "taskctl -A proj graph workers",
    ),
)  # fmt: skip
