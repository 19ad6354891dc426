"""What commands about queues share: the app whose broker it is, and how its absence is told."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Collection, Iterable, Iterator

from .apps import client_app, unreachable, user_app
from .context import Context
from .core.app import App
from .core.errors import BrokerConnectionError
from .failures import CommandError


def settled_app(context: Context) -> App:
    """Return the user's app if one is named, since its settings matter; else one for the broker."""
    return user_app(context) if context.app_spec else client_app(context)


@contextlib.contextmanager
def reaching(app: App) -> Iterator[None]:
    """Tell of a broker that is away, and who named it."""
    try:
        yield
    except BrokerConnectionError as exc:
        raise unreachable(app, exc) from exc


def no_queue(name: str, known: Collection[str]) -> CommandError:
    """Return the error for a queue that the broker does not have."""
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean: {near[0]}" if near else "all there are: taskctl queue ls"
    return CommandError(f"there is no queue {name!r}", hint)


def refuse_unknown(names: Iterable[str], known: Collection[str]) -> None:
    """Refuse a queue that does not exist: a slip would look like an OK."""
    for name in names:
        if name not in known:
            raise no_queue(name, known)


def foreign_takers(app: App, queues: Collection[str], timeout: float) -> dict[str, list[str]]:
    """Return the nodes of Celery's that take from these queues, by queue: they do not register.

    Only a broker that Celery speaks can have some.
    """
    if app.shared_connection().url.partition(":")[0] in ("sqlite", "memory"):
        return {}
    answer = app.control.cluster.ask("active_queues", timeout=timeout)
    ours = {node.name for node in app.control.cluster.nodes(timeout)}
    found: dict[str, list[str]] = {}
    for reply in answer.replies:
        taken = reply.value if isinstance(reply.value, list) else []
        for queue in taken:
            name = queue.get("name") if isinstance(queue, dict) else None
            if isinstance(name, str) and name in queues and reply.node not in ours:
                found.setdefault(name, []).append(reply.node)
    return found
