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
from .remembered import Remembered

#: The last two are what an answer is made of, for those who draw it.
__all__ = ["Answer", "Cluster", "UnknownNode", "resolve", "CommandReply", "NodeRecord"]

#: Share of the timeout that asking the registry may take before the nodes are asked.
_REGISTRY_SHARE = 0.5
#: How Celery's beat names itself: it has a mailbox, and answers `ping` alone.
_BEAT = "celerybeat@"


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
        if not word:
            text = f"no node is left; registered: {', '.join(known) or 'none'}"
        super().__init__(text)


class Answer(msgspec.Struct, kw_only=True):
    """What a question to the fleet brought.

    `replies` are ordered by node name; `missing` are the nodes that were expected and silent,
    with the seconds since they were last seen (None for those of which nothing is known).
    `unnamed` is how many more listened to the question without answering it.
    """

    replies: list[CommandReply]
    missing: dict[str, float | None]
    seconds: float
    unnamed: int = 0

    def by_node(self) -> dict[str, Any]:
        """Return the values by node name; of several nodes of one name the last has the name,
        the others follow as `name#pid`."""
        found = {reply.node: reply.value for reply in self.replies}
        last = {reply.node: number for number, reply in enumerate(self.replies)}
        for number, (name, reply) in enumerate(zip(self.names(), self.replies, strict=True)):
            if last[reply.node] != number:
                found[name] = reply.value
        return found

    def names(self) -> list[str]:
        """Return a name for each reply that no other has: `name#pid` where two are called alike."""
        total = Counter(reply.node for reply in self.replies)
        taken: Counter[str] = Counter()
        names = []
        for reply in self.replies:
            name = reply.node
            if total[name] > 1:
                taken[name] += 1
                name = f"{name}#{reply.pid or taken[name]}"
            names.append(name)
        return names

    def duplicates(self) -> dict[str, list[int]]:
        """Return the names under which more than one node answered, with the pids they said."""
        total = Counter(reply.node for reply in self.replies)
        return {
            name: [one.pid for one in self.replies if one.node == name and one.pid is not None]
            for name, count in sorted(total.items())
            if count > 1
        }


class Cluster:
    """Asks nodes, and knows when all have answered.

    Ours are in the registry.  Celery's are those that ours know of, and those that answered
    lately, if that is `remembered`; and where the broker counts who listens, as Redis does,
    nobody is overlooked.
    """

    def __init__(self, connection: Connection, mailbox: ClientMailbox) -> None:
        self.connection = connection
        self.mailbox = mailbox
        #: What is known of Celery's nodes; a program that may keep a cache puts it here.
        self.remembered: Remembered | None = None

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
        of these after `!` to leave it out.  Without it all that live are expected; if nobody is
        known, or with `wait_for_all`, and the broker cannot tell who listens, the whole time is
        waited.

        Raises UnknownNode for a word that fits no node or too many.
        """
        began = time.monotonic()
        deadline = began + timeout
        known = self.nodes(timeout * _REGISTRY_SHARE if timeout > 0 else timeout)
        foreign = _neighbours(known) | self._foreign(method, known, deadline)
        named = None
        if destination is not None:
            named = resolve(list(destination), [*known, *_as_records(foreign)])
        question = _Question(known, foreign, named, wait_for_all)
        collected = self.mailbox.call(
            method,
            arguments,
            destination=named,
            timeout=max(0.01, deadline - time.monotonic()),
            enough=question.is_answered,
            callback=callback,
        )
        replies = sorted(collected.replies, key=lambda reply: (reply.node, reply.pid or 0))
        missing = question.missing(replies)
        unnamed = question.unnamed(replies, collected.reach)
        if unnamed:
            strangers = self._strangers(replies, missing, deadline)
            if len(strangers) <= unnamed:
                unnamed -= len(strangers)
                missing |= dict.fromkeys(strangers)
        self._remember(replies, known)
        return Answer(
            replies=replies,
            missing=dict(sorted(missing.items())),
            seconds=time.monotonic() - began,
            unnamed=unnamed,
        )

    # --- nodes that do not register -----------------------------------------------------------

    def _foreign(
        self, method: str, known: Sequence[NodeRecord], deadline: float
    ) -> dict[str, float]:
        """Return the nodes of Celery's that should answer, and how long ago they last did."""
        remembered = self.remembered
        ours = {node.name for node in known}
        ages = {} if remembered is None else remembered.ages()
        ages = {name: age for name, age in ages.items() if name not in ours}
        if remembered is None or not ages:
            return {}
        listening = set(self.mailbox.foreign_nodes(deadline - time.monotonic()))
        remembered.note((), gone=[name for name in ages if name not in listening])
        return {
            name: age
            for name, age in ages.items()
            if name in listening and (method == "ping" or not name.startswith(_BEAT))
        }

    def _strangers(
        self, replies: Sequence[CommandReply], missing: Mapping[str, Any], deadline: float
    ) -> list[str]:
        """Return those who have a mailbox, and neither answered nor were missed so far."""
        heard = {reply.node for reply in replies}
        found = self.mailbox.foreign_nodes(deadline - time.monotonic())
        return [name for name in found if name not in heard and name not in missing]

    def _remember(self, replies: Sequence[CommandReply], known: Sequence[NodeRecord]) -> None:
        ours = {node.name for node in known}
        foreign = [r.node for r in replies if r.pid is None and r.node not in ours]
        if foreign and self.remembered is not None:
            self.remembered.note(foreign)


class _Question:
    """Whom one question is for, and when it is answered."""

    def __init__(
        self,
        known: Sequence[NodeRecord],
        foreign: Mapping[str, float],
        named: Sequence[str] | None,
        wait_for_all: bool,
    ) -> None:
        self.known = known
        self.foreign = foreign
        self.named = named
        self.wait_for_all = wait_for_all
        alive = Counter(node.name for node in known if node.alive) + Counter(foreign.keys())
        # Each of two nodes of one name is expected; a name nobody has seen, once.
        self.expected = alive if named is None else Counter({n: alive[n] or 1 for n in named})

    def is_answered(self, replies: Sequence[CommandReply], reach: int | None) -> bool:
        """Return whether nobody else will answer; `reach` is how many were asked."""
        if not self.expected <= Counter(reply.node for reply in replies):
            return False
        if self.named is not None:
            return bool(self.expected)
        if reach is not None:
            return len(replies) >= reach
        return bool(self.expected) and not self.wait_for_all

    def missing(self, replies: Sequence[CommandReply]) -> dict[str, float | None]:
        """Return who should have answered and did not, and how long ago each was seen."""
        ages: dict[str, float | None] = dict(self.foreign)
        wanted = self.expected
        if self.named is None:
            lost = _lost(self.known)
            wanted = wanted | Counter({n: 1 for n in [*lost, *(one.name for one in self.known)]})
            ages |= lost
        # The youngest record of a name comes last, and stays.
        ages |= {node.name: node.age for node in sorted(self.known, key=lambda one: -one.age)}
        answered = Counter(reply.node for reply in replies)
        return {name: ages.get(name) for name in wanted - answered}

    def unnamed(self, replies: Sequence[CommandReply], reach: int | None) -> int:
        """Return how many listened and did not answer, of whom no name is known."""
        if reach is None or self.named is not None:
            return 0
        answered = Counter(reply.node for reply in replies)
        return max(0, reach - len(replies) - (self.expected - answered).total())


def _lost(known: Sequence[NodeRecord]) -> dict[str, float]:
    """Return nodes that others have taken over from lately, and that did not come back."""
    here = {node.name for node in known}
    found: dict[str, float] = {}
    for node in known:
        for name, age in (node.record.get("lost") or {}).items():
            if name not in here:
                found[name] = min(age + node.age, found.get(name, age + node.age))
    return found


def _neighbours(known: Sequence[NodeRecord]) -> dict[str, float]:
    """Return the nodes of Celery's that live ones of ours know of, and how old the news is."""
    ours = {node.name for node in known}
    found: dict[str, float] = {}
    for node in known:
        for name in node.record.get("neighbours") or () if node.alive else ():
            if name not in ours:
                found[name] = min(node.age, found.get(name, node.age))
    return found


def _as_records(foreign: Mapping[str, float]) -> list[NodeRecord]:
    return [
        NodeRecord(name=name, owner=name, record={}, age=age, alive=True)
        for name, age in foreign.items()
    ]


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
        names = list(dict.fromkeys(node.name for node in known))
    for word in [w[1:] for w in flat if w.startswith("!")]:
        out = set(_fitting(word, known))
        names = [name for name in names if name not in out]
    if not names:
        # On the wire an empty list of nodes is all of them.
        raise UnknownNode("", [], list(dict.fromkeys(node.name for node in known)))
    return names


def _fitting(word: str, known: Sequence[NodeRecord]) -> list[str]:
    everyone = list(dict.fromkeys(node.name for node in known))
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
    return list(dict.fromkeys(found))
