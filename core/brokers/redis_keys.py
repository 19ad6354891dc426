"""Names in Redis: Celery's keys and channels, and taskctl's own beside them.

Source of everything that is Celery's: kombu 5.7 `transport/redis.py` and `virtual/exchange.py`, as
observed on the wire.  A name that differs by one byte makes a queue that Celery does not see.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Iterable

from ..wire.queues import topic_regex
from .redis_options import Options

#: How long a private queue's binding is kept after its owner last spoke (ms), and the least.
#: Must equal kombu 5.7 BINDING_EXPIRES_FACTOR and MIN_BINDING_TTL, or its sweep wins over ours.
BINDING_EXPIRES_FACTOR = 2
MIN_BINDING_TTL_MS = 3_600_000

BINDING = "_kombu.binding."
PERMANENT_BINDING = "_kombu.binding_permanent."
BINDING_DEADLINES = "_kombu.binding_deadlines"


class Keys:
    """The names one broker uses, prefix included, as bytes."""

    def __init__(self, options: Options, db: int) -> None:
        self.options = options
        self.prefix = options.global_keyprefix.encode()
        self._steps = sorted(options.priority_steps)
        self._channel_prefix = options.global_keyprefix + options.channel_prefix(db)
        #: kombu before 5.4 never filled in the database at a sentinel's.
        self._old_prefix = options.global_keyprefix + options.raw_channel_prefix
        self._speaks_old = options.sentinel_fanout_compat and "{db}" in options.raw_channel_prefix
        self._lists: dict[tuple[str, int], bytes] = {}
        self.unacked = self.key(options.unacked_key)
        self.unacked_index = self.key(options.unacked_index_key)
        self.unacked_mutex = self.key(options.unacked_mutex_key)
        self.binding_deadlines = self.key(BINDING_DEADLINES)
        #: owner -> when its lease ends, by the server's clock.
        self.leases = self.key("taskctl.leases")
        #: owner -> its node record.
        self.nodes = self.key("taskctl.nodes")
        #: names of queues that were declared to stay.
        self.queues = self.key("taskctl.queues")
        #: queue -> since when nobody shall take from it.
        self.paused = self.key("taskctl.paused")
        #: what is revoked -> until when, by the server's clock.
        self.revoked = self.key("taskctl.revoked")
        #: held messages: member -> due time; -> record; by task id; list key -> how many.
        self.due = self.key("taskctl.due")
        self.due_messages = self.key("taskctl.due.messages")
        self.due_tasks = self.key("taskctl.due.tasks")
        self.due_counts = self.key("taskctl.due.counts")

    def key(self, name: str) -> bytes:
        """Return the key of that name."""
        return self.prefix + name.encode("utf-8", "surrogatepass")

    def owned(self, owner: str) -> bytes:
        """Return the hash of an owner's loans: tag -> where it came from."""
        return self.key("taskctl.owned." + owner)

    def started(self, owner: str) -> bytes:
        """Return the set of an owner's loans that have begun to run."""
        return self.key("taskctl.started." + owner)

    # --- lists ------------------------------------------------------------------------------

    def list_of(self, queue: str, priority: int = 0) -> bytes:
        """Return the list that messages of this priority wait in."""
        found = self._lists.get((queue, priority))
        if found is None:
            step = self._steps[max(bisect(self._steps, max(0, min(9, priority))) - 1, 0)]
            found = self._lists[queue, priority] = self._list(queue, step)
            if len(self._lists) > 10_000:  # names made up by the thousand, such as reply queues
                self._lists.clear()
        return found

    def _list(self, queue: str, step: int) -> bytes:
        return self.key(f"{queue}{self.options.sep}{step}" if step else queue)

    def lists(self, queue: str) -> list[bytes]:
        """Return all lists of a queue, the one served first first."""
        return [self._list(queue, step) for step in self._steps]

    def lists_by_step(self, queues: Iterable[str]) -> list[bytes]:
        """Return the lists of some queues: the first step of each, then the second, ..."""
        names = list(queues)
        return [self._list(queue, step) for step in self._steps for queue in names]

    def queue_of(self, list_key: bytes) -> str:
        """Return the queue a list belongs to."""
        name = list_key[len(self.prefix) :].decode("utf-8", "surrogatepass")
        queue, separator, step = name.rpartition(self.options.sep)
        return queue if separator and step.isdigit() else name

    # --- bindings ---------------------------------------------------------------------------

    def binding(self, exchange: str) -> bytes:
        """Return the set of an exchange's bindings."""
        return self.key(BINDING + exchange)

    def permanent_binding(self, exchange: str) -> bytes:
        """Return the set of those bindings that protects the table from the sweep."""
        return self.key(PERMANENT_BINDING + exchange)

    def member(self, exchange_type: str, routing_key: str, queue: str) -> bytes:
        """Return the text of one binding."""
        pattern = topic_regex(routing_key) if exchange_type == "topic" else ""
        return self.options.sep.join([routing_key, pattern, queue]).encode("utf-8", "surrogatepass")

    def routed(self, members: Iterable[bytes], exchange_type: str, routing_key: str) -> list[str]:
        """Return the queues, ordered by name, whose binding takes this routing key.

        An exchange of unknown type ("") takes each binding for what it is: with a pattern, or
        without.
        """
        queues = set()
        for member in members:
            parts = member.decode("utf-8", "surrogatepass").split(self.options.sep)
            if len(parts) != 3:
                continue  # somebody else's set; Celery cannot route by it either
            key, pattern, queue = parts
            if exchange_type == "topic" or (pattern and not exchange_type):
                if pattern and re.match(pattern, routing_key):
                    queues.add(queue)
            elif key == routing_key:
                queues.add(queue)
        return sorted(queues)

    # --- channels ---------------------------------------------------------------------------

    @property
    def prefixes(self) -> tuple[str, ...]:
        """What channels begin with: one way, or two beside a kombu before 5.4 at sentinels."""
        old = (self._old_prefix,) if self._speaks_old else ()
        return (self._channel_prefix, *old)

    def channel(self, exchange: str, routing_key: str) -> bytes:
        """Return the pub/sub channel of a broadcast."""
        return self.channels(exchange, routing_key)[0]

    def channels(self, exchange: str, routing_key: str) -> list[bytes]:
        """Return all channels that a broadcast goes out on."""
        keyed = routing_key and self.options.fanout_patterns
        name = f"{exchange}/{routing_key}" if keyed else exchange
        return [(prefix + name).encode() for prefix in self.prefixes]

    def globs(self, exchange: str, pattern: str) -> list[bytes]:
        """Return what to PSUBSCRIBE to, to hear a topic pattern; it may match a little more."""
        return [glob for prefix in self.prefixes for glob in self._globs(prefix, exchange, pattern)]

    def _globs(self, prefix: str, exchange: str, pattern: str) -> list[bytes]:
        bare = _escape_glob(prefix + exchange)
        if not pattern or not self.options.fanout_patterns:
            return [bare.encode()]
        keyed = f"{bare}/{'*'.join(_escape_glob(part) for part in re.split('[#*]', pattern))}"
        return [keyed.encode(), bare.encode()] if pattern == "#" else [keyed.encode()]

    def heard_on(self, channel: bytes) -> tuple[str, str]:
        """Return the (exchange, routing key) that a channel's name holds."""
        name = channel.decode("utf-8", "replace")
        for prefix in self.prefixes:
            if name.startswith(prefix):
                name = name[len(prefix) :]
                break
        if not self.options.fanout_patterns:
            return name, ""
        exchange, _, routing_key = name.partition("/")
        return exchange, routing_key


def _escape_glob(text: str) -> str:
    return re.sub(r"([][*?\\^])", r"\\\1", text)
