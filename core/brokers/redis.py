"""The Redis broker: Celery's queues on a Redis server, with leases beside them.

Every step that must not be torn is one script (`redis_scripts`), names are in `redis_keys`, the
connection in `redis_line`, who wakes us in `redis_bell`, routing in `redis_routing`, giving
back in `redis_recovery`.  This file is the contract's order of verbs.

Messages with a due time are published like others, since Celery peers look nowhere else; the
worker parks them.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from ..errors import BrokerConnectionError, BrokerError
from ..wire.message import Publication
from ..wire.queues import PrivateQueue, Queue
from . import redis_diagnosis as diagnosis
from . import redis_inspection as inspection
from . import redis_revoked as revocations
from . import redis_scripts as scripts
from .base import Binding, Broker, Delivery, Heard, NodeRecord, QueueStat, Waiting
from .leading import Leadership
from .redis_address import check_files, clean_tls, read_url
from .redis_bell import Bell
from .redis_fanout import BroadcastQueues
from .redis_greeting import check_server, facts, version
from .redis_keys import Keys
from .redis_leading import RedisLeadership
from .redis_line import Line, command, pack
from .redis_options import ROUND_ROBIN, SORTED, idle_options, read_options
from .redis_recovery import Recovery, history
from .redis_routing import Routing
from .redis_sentinel import Finder

#: Lease of an owner that receives without having registered (seconds).
UNREGISTERED_LEASE = 60.0
#: How often to look when nobody rings (seconds), and when the server cannot ring.
IDLE_POLL, BLIND_POLL = 5.0, 0.1
#: How many registrations after a lost answer still look for loans nobody knows of: a server that
#: was frozen may carry out the old fetch after it has answered on the new line.
STRAY_CHECKS = 3


class RedisBroker(Broker):
    """Celery's Redis transport, spoken with leases."""

    _line: Line | None = None
    _bell: Bell
    _recovery: Recovery

    holds_due = False
    highest_priority_first = False

    def __init__(
        self, url: str, *, options: Mapping[str, Any] | None = None, owner: str | None = None
    ) -> None:
        super().__init__(url, options=options, owner=owner)
        self._address = read_url(url)
        self._settings = read_options(self.options)
        check_files(clean_tls({**(self._settings.ssl or {}), **self._address.tls_options}))
        self._in_turn = self._settings.queue_order_strategy == ROUND_ROBIN
        self._finder = Finder(self._address, self._settings)
        self._keys = Keys(self._settings, self._address.db)
        self._routing = Routing(self._keys)
        self._lease = UNREGISTERED_LEASE
        self._word = uuid4().hex
        self._fetches = 0
        self._pid = 0
        #: tags that the caller knows of, and whether there may be others
        self._held: set[str] = set()
        self._astray = False
        self._stray_checks = 0
        self._forget_line()

    def _forget_line(self) -> None:
        """Start anew: what belonged to a connection ends with it."""
        self._queues: list[str] = []
        self._lists: list[bytes] = []
        self._fetch_head = self._fetch_tail = b""
        self._turn = 0
        self._fanout = BroadcastQueues()
        self._next_due: float | None = None

    # --- the line ---------------------------------------------------------------------------

    def open(self, timeout: float = 4.0) -> None:
        if self._line is not None and self._pid == os.getpid() and self._usable():
            return
        self.close()
        address = self._finder.find(timeout)
        line = Line(address, self._settings, timeout, self._keys)
        try:
            check_server(line, self._keys, consumer=self.owner is not None)
        except BrokerError:
            line.close()
            raise
        self._pid = os.getpid()
        self._line = line
        self._bell = Bell(line, self._keys, address, timeout)
        self._recovery = Recovery(line, self._keys, self._routing)

    def idle_options(self) -> dict[str, str]:
        return idle_options(self.options, self.url.partition("://")[0].lower())

    def _usable(self) -> bool:
        return self._line is not None and self._line.alive and self._bell.alive

    def close(self) -> None:
        if self._line is not None:
            self._bell.close()
            self._line.close()
            self._line = None
        self._forget_line()

    def fileno(self) -> int:
        self._ready()
        return self._bell.fileno()

    def poll_interval(self) -> float:
        if self._queues and self._line is not None and not self._bell.works:
            return BLIND_POLL
        idle = max(BLIND_POLL, self._settings.polling_interval or IDLE_POLL)
        if self._next_due is None:
            return idle
        return min(idle, max(0.0, self._next_due - time.monotonic()))

    def server_version(self) -> str:
        return version(facts(self._ready()))

    def diagnose(self) -> dict[str, Any]:
        return diagnosis.examine(self._ready(), self._keys)

    def _ready(self) -> Line:
        """Return the open line; refuse if there is none, or if it is the parent's."""
        if self._line is None:
            raise BrokerConnectionError(f"the line to {self._address.shown} is closed: open it")
        if self._pid != os.getpid():
            raise BrokerError("this broker was opened before the fork: open another one")
        return self._line

    # --- queues -----------------------------------------------------------------------------

    def declare(self, queue: Queue) -> None:
        self._routing.declare(self._ready(), queue)

    def delete(self, queue: str) -> int:
        line = self._ready()
        lists = self._keys.lists(queue)
        self._bell.forget(lists)
        private = self._routing.expires_ms(queue)
        self._routing.unbind(line, queue)
        dropped = int(line.run(scripts.PURGE, lists, []))
        if not private:  # replies are never held, and clients delete their queues all the time
            dropped += int(line.run(scripts.DROP_HELD, [*self._due_keys(), *lists], []))
        return dropped

    def delete_empty(self, queue: str) -> bool:
        """As the contract says; what comes in this moment stays on its list, bound or not."""
        line, lists = self._ready(), self._keys.lists(queue)
        if any(line.ask_all([command(b"LLEN", key) for key in lists])):
            return False
        if any(line.ask(b"HMGET", self._keys.due_counts, *lists)):
            return False
        self._routing.unbind(line, queue)
        return True

    def queues(self) -> list[QueueStat]:
        """As the contract says; it scans the database, so do not call it every second."""
        return inspection.queue_stats(self._ready(), self._keys, self._routing)

    def exists(self, queue: str) -> bool:
        return inspection.exists(self._ready(), self._keys, self._routing, queue)

    def bindings(self) -> list[Binding]:
        return inspection.bindings(self._ready(), self._keys, self._routing)

    def size(self, queue: str) -> int:
        return sum(self._ready().ask_all([command(b"LLEN", k) for k in self._keys.lists(queue)]))

    def browse(self, queue: str, limit: int = 50) -> list[Waiting]:
        found = inspection.waiting(self._ready(), self._keys, queue, limit)
        return [Waiting(envelope=envelope, redelivered=history(envelope)[1]) for envelope in found]

    def swap(self, queue: str, envelope: bytes, publications: Sequence[Publication] = ()) -> bool:
        line = self._ready()
        targets = self._routing.targets(line, publications)
        sent = [part for target in targets for part in target]
        return bool(line.run(scripts.SWAP, self._keys.lists(queue), [envelope, *sent]))

    def purge(self, queue: str) -> int:
        return int(self._ready().run(scripts.PURGE, self._keys.lists(queue), []))

    def pause(self, queue: str) -> None:
        self._ready().ask(b"HSETNX", self._keys.paused, queue, f"{time.time():.3f}")

    def resume(self, queue: str) -> bool:
        return bool(self._ready().ask(b"HDEL", self._keys.paused, queue))

    def paused(self) -> dict[str, float]:
        return inspection.paused(self._ready(), self._keys)

    # --- messages ---------------------------------------------------------------------------

    def publish(self, publications: Sequence[Publication]) -> None:
        line = self._ready()
        targets = self._routing.targets(line, publications)
        if targets:
            answers = self._routing.answers(publications)
            line.transact([*self._routing.pushes(targets), *answers])

    def subscribe(self, queue: Queue) -> None:
        """Declare `queue` and let `receive` take from it.

        A queue of a fanout exchange hears what is published from now on, as in Celery; such
        deliveries are nobody's loan: they cannot be lost, given back or parked.
        """
        self._routing.declare_consumed(self._ready(), queue)
        self._fanout.add(self._bell, queue)
        # Celery's senders do not know that an exchange is a fanout one, and push to the lists of
        # all queues bound to it: so there is a list to take from, too.
        if queue.name not in self._queues:
            self._queues.append(queue.name)
            if self._settings.queue_order_strategy == SORTED:
                self._queues.sort()
            self._prepare_fetch()

    def unsubscribe(self, queue: str) -> None:
        self._fanout.remove(self._bell, queue)
        self._routing.end_broadcast(self._ready(), queue)
        if queue in self._queues:
            self._queues.remove(queue)
            self._bell.forget(self._keys.lists(queue))
            self._prepare_fetch()

    def _prepare_fetch(self) -> None:
        """Pack what stays the same from one fetch to the next."""
        keys, owner = self._keys, self.owner or ""
        self._lists = keys.lists_by_step(self._queues)
        self._turn = 0
        table = [*self._loan_keys(owner), *self._due_keys(), *self._lists]
        ends: list[str | float] = [owner, self._lease, len(self._queues)]
        for queue in self._queues:
            ends += [f', "", {json.dumps(queue)}]', self._routing.expires_ms(queue)]
        head: list[bytes | int] = [b"EVALSHA", scripts.FETCH.sha, len(table), *table]
        self._fetch_head = b"*%d\r\n%b" % (len(head) + 3 + len(ends), pack(head))
        self._fetch_tail = pack(ends)

    def _loan_keys(self, owner: str) -> list[bytes]:
        return self._recovery.of_owner(owner)

    def _due_keys(self) -> list[bytes]:
        keys = self._keys
        return [keys.due, keys.due_messages, keys.due_tasks, keys.due_counts]

    def receive(self, limit: int) -> list[Delivery]:
        """As the contract says; `receive(0)` takes nothing and quiets the descriptor."""
        self._owner_needed("receive")
        self._ready()
        bell = self._bell
        bell.pump()
        deliveries = self._fanout.take(limit)
        bell.answered()
        bell.settle()
        if self._queues and len(deliveries) < limit:
            if self._astray:
                self._give_back_strays()
                self._stray_checks = STRAY_CHECKS
            self._astray = True
            deliveries += self._fetch(limit - len(deliveries))
            # From the moment of the look every change rings; what came before it rings now.
            if len(deliveries) < limit and not bell.arm(self._lists, [self._keys.due]):
                if deliveries:
                    bell.ring(self._lists[0])
                else:
                    deliveries = self._fetch(limit)
            self._astray = False
        self._held.update([delivery.tag for delivery in deliveries])
        return deliveries

    def _give_back_strays(self) -> None:
        """Put back what a fetch took whose answer never came, or never reached the caller."""
        owner = self._owner_needed("receive")
        owned = self._ready().ask(b"HKEYS", self._keys.owned(owner))
        strays = [tag for tag in owned if tag.decode("ascii", "replace") not in self._held]
        self._recovery.give_back(owner, self._lease, strays, lost=False)

    def _fetch(self, limit: int) -> list[Delivery]:
        self._fetches += 1
        word = f"{self._word}.{self._fetches}"
        turn = self._turn if self._in_turn else -1
        packed = self._fetch_head + pack((limit, turn, word)) + self._fetch_tail
        reply: bytes = self._ready().run_packed(scripts.FETCH, packed)
        end = reply.index(b"\n")
        due, *numbers = reply[:end].split(b" ")
        self._next_due = None if due == b"-1" else time.monotonic() + float(due)
        at = end + 1
        deliveries: list[Delivery] = []
        places = iter(map(int, numbers))
        place = -1
        for place, tag_size, size in zip(places, places, places, strict=True):
            middle = at + tag_size
            envelope = reply[middle : middle + size]
            deliveries_before, redelivered = history(envelope)
            deliveries.append(
                Delivery(
                    tag=reply[at:middle].decode("ascii"),
                    queue=self._queues[place],
                    envelope=envelope,
                    deliveries=deliveries_before,
                    redelivered=redelivered,
                )
            )
            at = middle + size
        self._turn = (place + 1) % len(self._queues) if deliveries else self._turn
        return deliveries

    def ack(self, tags: Sequence[str], publications: Sequence[Publication] = ()) -> None:
        line = self._ready()
        targets = self._routing.targets(line, publications) if publications else []
        if self.owner is None:
            if targets:
                line.transact(self._routing.pushes(targets))
            return
        if not tags and not targets:
            return
        arguments: list[Any] = [self.owner, self._lease, len(tags), *tags]
        for target in targets:
            arguments += target
        line.run(scripts.ACK, self._loan_keys(self.owner), arguments)
        self._held.difference_update(tags)
        expiries = self._routing.expiries({key for verb, key, _ in targets if verb == b"LPUSH"})
        if expiries:
            line.ask_all(expiries)

    def reject(self, tags: Sequence[str], *, requeue: bool, lost: bool = False) -> None:
        if not requeue:
            self.ack(tags)
        elif self.owner is not None:
            known = [tag.encode("utf-8", "surrogatepass") for tag in tags]
            self._recovery.give_back(self.owner, self._lease, known, lost=lost)
            self._held.difference_update(tags)

    def park(self, tag: str, due: float, task_id: str) -> None:
        owner = self._owner_needed("park")
        reply = self._ready().run(
            scripts.PARK,
            [*self._loan_keys(owner)[:4], *self._due_keys()],
            [tag, repr(float(due)), task_id],
        )
        self._held.discard(tag)
        if reply is not None:
            soonest = time.monotonic() + float(reply)
            self._next_due = min(soonest, self._next_due or soonest)

    def parked(
        self, limit: int = 1000, queues: Sequence[str] | None = None
    ) -> list[tuple[float, bytes]]:
        wanted = self._queues if queues is None else queues
        return inspection.held(self._ready(), self._keys, wanted, limit)

    def cancel_parked(self, task_ids: Iterable[str]) -> list[bytes]:
        wanted = list(task_ids)
        if not wanted:
            return []
        return list(self._ready().run(scripts.CANCEL_PARKED, self._due_keys(), wanted))

    def cancel_waiting(self, task_ids: Iterable[str]) -> list[bytes]:
        """As the contract says, in queues that taskctl declared."""
        line = self._ready()
        queues = [name.decode("utf-8") for name in line.ask(b"SMEMBERS", self._keys.queues)]
        return revocations.cancel_waiting(line, self._keys, sorted(queues), list(task_ids))

    # --- revocations --------------------------------------------------------------------------

    def note_revoked(self, marks: Iterable[str], seconds: float) -> None:
        revocations.note(self._ready(), self._keys, list(marks), seconds)

    def revoked_marks(self) -> dict[str, float]:
        return revocations.marks(self._ready(), self._keys)

    def take(self, queue: str, limit: int = 100) -> list[bytes]:
        """As the contract says; the descriptor becomes readable when another message comes."""
        line, bell, lists = self._ready(), self._bell, self._keys.lists(queue)
        self._routing.keep_alive(line)
        bell.pump()
        bell.answered(lists)
        taken = self._pop(lists, limit)
        if len(taken) < limit and not bell.arm(lists):
            taken += self._pop(lists, limit - len(taken))
        expiries = self._routing.expiries(set(lists))
        if expiries:
            line.ask_all(expiries)
        bell.settle()
        return taken

    def _pop(self, lists: Sequence[bytes], limit: int) -> list[bytes]:
        taken: list[bytes] = []
        for key in lists:
            if len(taken) < limit:
                taken += self._ready().ask(b"RPOP", key, limit - len(taken)) or ()
        return taken

    # --- broadcasts ---------------------------------------------------------------------------

    def broadcast(self, exchange: str, routing_key: str, envelope: bytes) -> int | None:
        self._routing.declare_fanout(exchange)
        channels = self._keys.channels(exchange, routing_key)
        published = [command(b"PUBLISH", channel, envelope) for channel in channels]
        # Who listens on both channels counts on each.
        return max(map(int, self._ready().ask_all(published)))

    def foreign_listeners(self, exchange: str) -> list[str]:
        return inspection.bound_queues(self._ready(), self._keys, exchange)

    def listen(self, exchange: str, pattern: str = "", queue: PrivateQueue | None = None) -> None:
        self._ready()
        self._routing.declare_fanout(exchange)
        self._bell.listen(exchange, pattern, self._bell.heard)

    def hear(self, limit: int = 100) -> list[Heard]:
        self._ready()
        self._bell.pump()
        waiting = self._bell.heard
        heard = [waiting.popleft() for _ in range(min(limit, len(waiting)))]
        self._bell.settle()
        return heard

    # --- leases -------------------------------------------------------------------------------

    def register(self, name: str, record: Mapping[str, Any], lease: float) -> None:
        owner = self._owner_needed("register")
        line = self._ready()
        if lease != self._lease:
            self._lease = lease
            self._prepare_fetch()
        text = json.dumps({"name": name, "record": dict(record)})
        keys = [*self._loan_keys(owner), self._keys.nodes]
        line.run(scripts.REGISTER, keys, [owner, lease, text])
        self._routing.keep_alive(line)
        if self._stray_checks:
            self._stray_checks -= 1
            self._give_back_strays()
        self._bell.probe()

    def retire(self) -> None:
        """As the contract says; the last owner also puts held messages back on their lists,
        where a fleet of Celery workers finds them."""
        owner = self._owner_needed("retire")
        self._recovery.give_back_all(owner, self._lease)
        self._held.clear()
        for queue in self._fanout.names:
            self._routing.end_broadcast(self._ready(), queue)
        _, living = self._recovery.bury(owner, "own")
        if not living:
            while self._ready().run(scripts.RELEASE, self._due_keys(), [500]):
                self._next_due = None

    def nodes(self) -> list[NodeRecord]:
        return inspection.nodes(self._ready(), self._keys)

    def started(self, tags: Sequence[str]) -> None:
        """As the contract says; the server's answer is read with the next command's."""
        owner = self._owner_needed("start")
        if tags:
            self._ready().post(b"SADD", self._keys.started(owner), *tags)

    def reclaim(self) -> list[str]:
        self._ready()
        return self._recovery.reclaim()

    # --- leading ------------------------------------------------------------------------------

    def leadership(self, name: str, candidate: str) -> Leadership:
        return RedisLeadership(name, candidate, self._ready, self._keys, self._routing)
