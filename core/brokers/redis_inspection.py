"""Looking without taking: numbers of queues, waiting and held messages, nodes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container

from .base import Binding, NodeRecord, QueueStat
from .redis_keys import Keys
from .redis_line import Line, command
from .redis_recovery import name_in
from .redis_routing import Routing, is_private

#: How many records one question asks for.
PAGE = 500


def queue_stats(line: Line, keys: Keys, routing: Routing) -> list[QueueStat]:
    """Return the numbers of every task queue; the age of a message is not known in Redis."""
    unacked, due = _unacked_by_queue(line, keys), _due_by_queue(line, keys)
    names = sorted({*routing.queue_names(line), *unacked, *due})
    steps = len(keys.lists(""))
    commands = [command(b"LLEN", key) for name in names for key in keys.lists(name)]
    sizes = line.ask_all(commands) if commands else []
    return [
        QueueStat(
            name=name,
            ready=sum(sizes[steps * n : steps * (n + 1)]),
            unacked=unacked[name],
            due=due[name],
        )
        for n, name in enumerate(names)
    ]


def exists(line: Line, keys: Keys, routing: Routing, queue: str) -> bool:
    """Return whether a queue is known; only one that nobody ever declared costs a scan."""
    found = line.ask_all(
        [
            command(b"EXISTS", *keys.lists(queue)),
            command(b"SISMEMBER", keys.queues, queue),
            command(b"SISMEMBER", keys.binding(queue), keys.member("direct", queue, queue)),
        ]
    )
    return any(found) or any(stat.name == queue for stat in queue_stats(line, keys, routing))


def bindings(line: Line, keys: Keys, routing: Routing) -> list[Binding]:
    """Return the bindings of task queues; Redis itself keeps no types of exchanges."""
    found = []
    for exchange, members in routing.bindings(line).items():
        if is_private(exchange):
            continue
        for member in members:
            parts = member.decode("utf-8", "surrogatepass").split(keys.options.sep)
            if len(parts) == 3 and parts[2] and not is_private(parts[2]):
                key, pattern, queue = parts
                type_ = "topic" if pattern else routing.type_of(exchange)
                found.append(Binding(queue=queue, exchange=exchange, routing_key=key, type=type_))
    return sorted(found)


def paused(line: Line, keys: Keys) -> dict[str, float]:
    """Return the paused queues, and since when."""
    found = line.ask(b"HGETALL", keys.paused)
    pairs = zip(found[::2], found[1::2], strict=True)
    return {queue.decode("utf-8", "surrogatepass"): float(at) for queue, at in sorted(pairs)}


def _unacked_by_queue(line: Line, keys: Keys) -> Counter[str]:
    counts: Counter[str] = Counter()
    known: set[bytes] = set()
    for owner in line.ask(b"ZRANGE", keys.leases, 0, -1):
        held = line.ask(b"HGETALL", keys.owned("") + owner)
        known.update(held[::2])
        counts.update(keys.queue_of(origin.split(b" ", 3)[3]) for origin in held[1::2])
    others = [tag for tag in line.ask(b"HKEYS", keys.unacked) if tag not in known]
    for start in range(0, len(others), PAGE):
        for entry in line.ask(b"HMGET", keys.unacked, *others[start : start + PAGE]):
            counts.update(_target_of(entry))
    return counts


def _target_of(entry: bytes | None) -> list[str]:
    """Return the queue of a loan that a Celery worker holds, if its entry tells."""
    try:
        _, exchange, routing_key = json.loads(entry or b"")
    except (ValueError, TypeError):
        return []
    return [routing_key or exchange] if isinstance(routing_key or exchange, str) else []


def _due_by_queue(line: Line, keys: Keys) -> Counter[str]:
    found = line.ask(b"HGETALL", keys.due_counts)
    counts: Counter[str] = Counter()
    for key, count in zip(found[::2], found[1::2], strict=True):
        counts[keys.queue_of(key)] += int(count)
    return counts


def waiting(line: Line, keys: Keys, queue: str, limit: int) -> list[bytes]:
    """Return up to `limit` waiting envelopes, the next one first."""
    shown: list[bytes] = []
    for key in keys.lists(queue):
        if len(shown) < limit:
            shown += line.ask(b"LRANGE", key, len(shown) - limit, -1)[::-1]
    return shown


def held(line: Line, keys: Keys, queues: Container[str], limit: int) -> list[tuple[float, bytes]]:
    """Return up to `limit` held messages of these queues as (due, envelope), soonest first."""
    found: list[tuple[float, bytes]] = []
    start = 0
    while len(found) < limit:
        page = line.ask(b"ZRANGE", keys.due, start, start + PAGE - 1, b"WITHSCORES")
        if not page:
            break
        records = line.ask(b"HMGET", keys.due_messages, *page[::2])
        for due, record in zip(page[1::2], records, strict=True):
            if record is not None:  # else it was due between the two questions
                list_key, envelope = _parts(record)
                if keys.queue_of(list_key) in queues:
                    found.append((float(due), envelope))
        start += PAGE
    return found[:limit]


def _parts(record: bytes) -> tuple[bytes, bytes]:
    """Return (list, envelope) of a held message's record, as `redis_scripts.PARK` writes it."""
    head, _, rest = record.partition(b"\n")
    list_size, task_size = map(int, head.split(b" "))
    return rest[:list_size], rest[list_size + task_size :]


def nodes(line: Line, keys: Keys) -> list[NodeRecord]:
    """Return all registered nodes, ordered by name."""
    clock, records, leases = line.ask_all(
        [
            command(b"TIME"),
            command(b"HGETALL", keys.nodes),
            command(b"ZRANGE", keys.leases, 0, -1, b"WITHSCORES"),
        ]
    )
    now = int(clock[0]) + int(clock[1]) / 1e6
    deadlines = dict(zip(leases[::2], map(float, leases[1::2]), strict=True))
    found = []
    for owner, text in zip(records[::2], records[1::2], strict=True):
        said, _, body = text.partition(b"\n")
        found.append(
            NodeRecord(
                name=name_in(text),
                owner=owner.decode("utf-8", "surrogatepass"),
                record=json.loads(body)["record"],
                age=max(0.0, now - float(said)),
                alive=deadlines.get(owner, 0.0) >= now,
            )
        )
    return sorted(found, key=lambda node: node.name)


def bound_queues(line: Line, keys: Keys, exchange: str) -> list[str]:
    """Return the queues bound to an exchange, ordered by name; ours listen without one."""
    separator = keys.options.sep.encode()
    members = line.ask(b"SMEMBERS", keys.binding(exchange))
    return sorted(bytes(one).rpartition(separator)[2].decode("utf-8", "replace") for one in members)
