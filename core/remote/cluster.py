"""The fleet as seen from outside: whom to expect, who answered, who did not."""

from __future__ import annotations

import fnmatch
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..brokers.base import NodeRecord
from ..errors import TaskctlError
from ..messaging.connection import Connection
from ..messaging.mailbox import ClientMailbox
from ..messaging.nodes import live_nodes
from ..wire.command_message import CommandReply

#: The last two are what an answer is made of, for those who draw it.
__all__ = ["Answer", "Cluster", "UnknownNode", "resolve", "CommandReply", "NodeRecord"]

#: Share of the timeout that asking the registry may take before the nodes are asked.
_REGISTRY_SHARE = 0.5


class UnknownNode(TaskctlError):
    """Raised when a destination names no node, or several; `candidates` are their names."""

    def __init__(self, word: str, candidates: Sequence[str], known: Sequence[str]) -> None:
        self.word = word
        self.candidates = list(candidates)
        self.known = list(known)
        if candidates:
            text = f"{word!r} could be {', '.join(candidates)}: write one in full"
        elif known:
            text = f"no node {word!r}; registered: {', '.join(known)}"
        else:
            text = f"no node {word!r}: none is registered; write NAME@HOST in full"
        super().__init__(text)


class Answer(msgspec.Struct, kw_only=True):
    """What a question to the fleet brought.

    `replies` are ordered by node name; `missing` are the nodes that were expected and silent,
    with the seconds since they were last seen (None for those the registry does not know).
    """

    replies: list[CommandReply]
    missing: dict[str, float | None]
    seconds: float

    def by_node(self) -> dict[str, Any]:
        """Return the values by node name; the later of two nodes of one name wins."""
        return {reply.node: reply.value for reply in self.replies}

    def duplicates(self) -> list[str]:
        """Return the names under which more than one node answered."""
        names = [reply.node for reply in self.replies]
        return sorted({name for name in names if names.count(name) > 1})


class Cluster:
    """Asks nodes, and knows from the registry when all have answered."""

    def __init__(self, connection: Connection, mailbox: ClientMailbox) -> None:
        self.connection = connection
        self.mailbox = mailbox

    def nodes(self, timeout: float = 1.0) -> list[NodeRecord]:
        """Return the registered nodes, live or silent; Celery's nodes do not register."""
        return live_nodes(self.connection, timeout=timeout)

    def ask(
        self,
        method: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        destination: Iterable[str] | None = None,
        timeout: float = 1.0,
        wait_for_all: bool = False,
        callback: Callable[[CommandReply], Any] | None = None,
    ) -> Answer:
        """Ask, and return once every expected node has answered, or after `timeout` seconds.

        `destination` are words: a full name, a short name, a glob, `@host`, `queue:NAME`, or one
        of these after `!` to leave it out.  Without it all registered nodes are expected; if none
        is registered, or with `wait_for_all`, the whole time is waited, since nodes of Celery
        answer too but do not register.

        Raises UnknownNode for a word that fits no node or too many.
        """
        began = time.monotonic()
        known = self.nodes(timeout * _REGISTRY_SHARE if timeout > 0 else timeout)
        named = None if destination is None else resolve(list(destination), known)
        alive = Counter(node.name for node in known if node.alive)
        # Each of two nodes of one name is expected; a name nobody has seen, once.
        expected = alive if named is None else Counter({n: alive[n] or 1 for n in named})
        exact = named is not None
        replies = self.mailbox.call(
            method,
            arguments,
            destination=named,
            timeout=max(0.01, timeout - (time.monotonic() - began)),
            enough=lambda got: (
                bool(expected)
                and (exact or not wait_for_all)
                and expected <= Counter(reply.node for reply in got)
            ),
            callback=callback,
        )
        replies.sort(key=lambda reply: reply.node)
        answered = Counter(reply.node for reply in replies)
        ages = {node.name: node.age for node in known}
        wanted = expected | Counter({n.name: 1 for n in known} if named is None else ())
        return Answer(
            replies=replies,
            missing={name: ages.get(name) for name in sorted(wanted - answered)},
            seconds=time.monotonic() - began,
        )


def resolve(words: Sequence[str], known: Sequence[NodeRecord]) -> list[str]:
    """Return the full node names that destination words stand for.

    Full names are taken as they are, also of nodes nobody has seen.
    Raises UnknownNode.
    """
    flat = [part.strip() for word in words for part in word.split(",") if part.strip()]
    names: list[str] = []
    for word in [w for w in flat if not w.startswith("!")]:
        names.extend(name for name in _fitting(word, known) if name not in names)
    if flat and all(word.startswith("!") for word in flat):
        names = [node.name for node in known]
    for word in [w[1:] for w in flat if w.startswith("!")]:
        out = set(_fitting(word, known))
        names = [name for name in names if name not in out]
    return names


def _fitting(word: str, known: Sequence[NodeRecord]) -> list[str]:
    everyone = [node.name for node in known]
    if word.startswith("queue:"):
        queue = word.removeprefix("queue:")
        found = [n.name for n in known if queue in (n.record.get("queues") or ())]
    elif any(char in word for char in "*?["):
        found = fnmatch.filter(everyone, word)
    elif word.startswith("@"):
        found = [name for name in everyone if name.endswith(word)]
    elif "@" in word:
        return [word]
    else:
        found = [name for name in everyone if name.partition("@")[0] == word]
        if len(found) > 1:
            raise UnknownNode(word, found, everyone)
    if not found:
        raise UnknownNode(word, [], everyone)
    return found
