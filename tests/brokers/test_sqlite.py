"""The SQLite broker: the contract, and what is its own."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskctl.core.brokers import open_broker
from taskctl.core.brokers.base import Broker
from taskctl.core.brokers.sqlite import SqliteBroker
from taskctl.core.errors import BrokerConnectionError, BrokerError, ImproperlyConfigured
from taskctl.core.wire.queues import Exchange, Queue, direct_queue

from ..support.waiting import eventually
from . import peer
from .contract import BrokerContract, MakeBroker, collect, stat, tags, texts
from .peer import envelope, publication, text_of, wait_readable


def bells(path: Path) -> list[str]:
    return os.listdir(f"{path}-bells")


class TestSqlite(BrokerContract):
    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        return tmp_path / "queue.db"

    @pytest.fixture
    def broker_url(self, path: Path) -> str:
        return f"sqlite:///{path}"

    # --- the file ---------------------------------------------------------------------------

    def test_a_file_of_something_else_is_refused(self, path: Path, broker_url: str) -> None:
        path.write_text("my diary, " * 1000)

        with pytest.raises(BrokerError, match=r"queue\.db is not a SQLite database; name another"):
            open_broker(broker_url).open()

    def test_many_processes_may_open_a_new_file_at_once(
        self, broker_url: str, start_peer: Callable[..., Any], make_broker: MakeBroker
    ) -> None:
        peers = [start_peer("publish", f"text{n}") for n in range(5)]

        assert [peer.heard_from(process) for process in peers] == [1] * 5
        assert make_broker().size("q") == 5

    def test_a_full_disk_loses_nothing_and_work_goes_on_afterwards(self, broker: Broker) -> None:
        assert isinstance(broker, SqliteBroker)
        broker.publish([publication("a")])
        loans = collect(broker, 1)
        with broker._file.read() as db:
            pages = db.execute("PRAGMA page_count").fetchone()[0]
            db.execute(f"PRAGMA max_page_count={pages}")

        with pytest.raises(BrokerConnectionError, match=r"no space left on the disk of .*queue.db"):
            broker.ack(tags(loans), [publication("b" * 1_000_000)])

        assert stat(broker) == (0, 1, 0)
        with broker._file.read() as db:
            db.execute("PRAGMA max_page_count=1000000")
        broker.ack(tags(loans), [publication("c")])
        assert texts(collect(broker, 1)) == ["c"]

    def test_a_failed_step_leaves_no_trace_in_what_the_broker_knows(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        """The number a new queue would have had is given to another one afterwards."""
        bad = publication("bad", "fresh")
        bad.envelope = object()  # type: ignore[assignment]
        with pytest.raises(BrokerError):
            broker.publish([bad])

        make_broker().publish([publication("a", "other")])
        broker.publish([publication("b", "fresh")])

        assert [text_of(e) for e in broker.peek("other")] == ["a"]
        assert [text_of(e) for e in broker.peek("fresh")] == ["b"]

    def test_a_removed_file_is_noticed_and_opening_heals_it(
        self, broker: Broker, path: Path
    ) -> None:
        for entry in path.parent.iterdir():
            if entry.is_file():
                entry.unlink()
        with pytest.raises(BrokerConnectionError, match="removed or replaced"):
            broker.publish([publication("a")])

        broker.open()
        broker.publish([publication("b")])

        assert texts(collect(broker, 1)) == ["b"]

    def test_the_message_of_a_forked_child_arrives(self, broker: Broker, broker_url: str) -> None:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                own = open_broker(broker_url)
                own.open()
                own.publish([publication("child")])
                own.close()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0

        assert texts(collect(broker, 1)) == ["child"]

    def test_the_option_synchronous_is_checked(self, broker_url: str) -> None:
        with pytest.raises(ImproperlyConfigured, match="'sometimes', choose normal or full"):
            open_broker(broker_url, options={"synchronous": "sometimes"})

    def test_a_broker_may_sync_every_commit(self, make_broker: MakeBroker) -> None:
        broker = make_broker(synchronous="full")
        assert isinstance(broker, SqliteBroker)

        broker.publish([publication("a")])

        with broker._file.read() as db:
            assert db.execute("PRAGMA synchronous").fetchone() == (2,)

    def test_a_headers_exchange_is_refused(self, broker: Broker) -> None:
        exchange = Exchange(name="h", type="headers")

        with pytest.raises(BrokerError, match=r"'headers'.*choose direct, topic, fanout"):
            broker.declare(Queue(name="q", exchange=exchange))

    # --- doorbells --------------------------------------------------------------------------

    def test_a_closed_broker_leaves_no_bell_and_no_descriptor(
        self, broker_url: str, path: Path
    ) -> None:
        def round() -> int:
            broker = open_broker(broker_url, owner="one")
            broker.open()
            broker.subscribe(direct_queue("q"))
            broker.listen("pidbox")
            broker.publish([publication("a")])
            broker.close()
            return len(os.listdir("/proc/self/fd"))

        first = round()

        assert round() == first
        assert bells(path) == []

    def test_the_bell_of_a_killed_process_is_removed_at_the_next_ring(
        self, start_peer: Callable[..., Any], path: Path, make_broker: MakeBroker
    ) -> None:
        broker = make_broker()
        broker.publish([publication("a")])
        holder = start_peer("hold", "holder", 1, 30.0)
        peer.heard_from(holder)
        assert len(bells(path)) == 1

        holder.kill()
        holder.wait()
        broker.publish([publication("b")])

        assert bells(path) == []

    def test_what_is_no_bell_is_not_written_to(self, broker: Broker, path: Path) -> None:
        victim = path.parent / "victim"
        victim.write_text("precious")
        folder = Path(f"{path}-bells")
        (folder / f"{uuid.uuid4().hex}-q").symlink_to(victim)
        (folder / f"{uuid.uuid4().hex}-q").write_text("plain")

        broker.publish([publication("a")])

        assert victim.read_text() == "precious"

    def test_the_descriptor_rings_on_while_more_waits(self, broker: Broker) -> None:
        broker.publish([publication(str(n)) for n in range(3)])

        collect(broker, 2, limit=1)

        assert wait_readable(broker, 0)

    def test_receiving_nothing_quiets_the_descriptor(self, broker: Broker) -> None:
        broker.publish([publication(str(n)) for n in range(3)])

        assert broker.receive(0) == []

        assert not wait_readable(broker, 0)

    def test_hearing_does_not_swallow_the_ring_for_a_message(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        broker.listen("pidbox")
        broker.receive(1)
        broker.hear()
        sender = make_broker()
        sender.publish([publication("a")])
        sender.broadcast("pidbox", "", envelope("b"))

        assert len(broker.hear()) == 1
        assert wait_readable(broker, 0)
        assert len(broker.receive(2)) == 1
        assert not wait_readable(broker, 0)

    def test_a_reply_wakes_whoever_declared_its_queue(
        self, make_broker: MakeBroker, start_peer: Callable[..., Any]
    ) -> None:
        client = make_broker()
        client.declare(Queue(name="replies", expires=10.0))
        client.take("replies")
        start_peer("publish", "pong", queue="replies")

        assert wait_readable(client, 10)
        assert [text_of(e) for e in client.take("replies")] == ["pong"]

    def test_without_named_pipes_the_broker_looks_often(
        self, make_broker: MakeBroker, path: Path
    ) -> None:
        make_broker()
        Path(f"{path}-bells").write_text("a file where the folder should be")
        broker = make_broker(owner="one")

        broker.subscribe(direct_queue("q"))
        broker.publish([publication("a")])

        assert broker.poll_interval() < 0.1
        assert texts(collect(broker, 1)) == ["a"]

    def test_the_poll_interval_heeds_the_next_due_message(self, broker: Broker) -> None:
        assert broker.poll_interval() == 1.0
        broker.publish([publication("a", due=time.time() + 0.4)])
        broker.receive(1)

        assert 0 < broker.poll_interval() <= 0.4

    # --- leases and expiry --------------------------------------------------------------------

    def test_a_worker_that_was_stopped_cannot_ack_what_others_run_now(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        broker.unsubscribe("q")
        broker.publish([publication("a"), publication("b")])
        sleeper = start_peer("hold", "sleeper", 2, 0.3)
        peer.heard_from(sleeper)
        os.kill(sleeper.pid, signal.SIGSTOP)
        assert eventually(broker.reclaim) == ["sleeper@host"]
        broker.subscribe(direct_queue("q"))
        loans = collect(broker, 1, limit=1)

        os.kill(sleeper.pid, signal.SIGCONT)
        peer.tell(sleeper, "acked")
        assert peer.heard_from(sleeper) == "acked"

        assert stat(broker) == (1, 1, 0)
        broker.ack(tags(loans))
        assert stat(broker) == (1, 0, 0)

    def test_a_lease_from_before_a_reboot_has_ended(
        self, broker: Broker, make_broker: MakeBroker, path: Path
    ) -> None:
        broker.publish([publication("a")])
        collect(broker, 1)
        with sqlite3.connect(path) as db:  # a clock that went further before it began anew
            db.execute("UPDATE owner SET seen = seen + 1000000")
        db.close()

        other = make_broker(owner="two")

        assert not other.nodes()[0].alive
        assert other.reclaim() == ["one@host"]
        assert stat(broker) == (1, 0, 0)

    def test_the_first_run_of_a_message_is_noted_without_a_write(
        self, broker: Broker, path: Path
    ) -> None:
        broker.publish([publication("a")])
        loans = collect(broker, 1)
        onlooker = sqlite3.connect(path)
        before = onlooker.execute("PRAGMA data_version").fetchone()

        broker.started(tags(loans))

        assert onlooker.execute("PRAGMA data_version").fetchone() == before
        onlooker.close()

    def test_a_private_queue_goes_away_when_unused(self, make_broker: MakeBroker) -> None:
        broker = make_broker()
        assert isinstance(broker, SqliteBroker)
        broker.declare(Queue(name="replies", expires=0.1))
        broker.declare(Queue(name="used", expires=60.0))
        broker.publish([publication("a", "replies"), publication("b", "used")])

        def is_gone() -> bool:
            broker._keep_house()
            return broker.size("replies") == 0

        eventually(is_gone)
        assert broker.size("used") == 1
        assert broker.queues() == []

    def test_an_auto_delete_queue_goes_away_after_its_last_consumer(
        self, broker: Broker, path: Path
    ) -> None:
        assert isinstance(broker, SqliteBroker)
        everyone = Exchange(name="everyone", type="fanout")
        for name in ("left", "stays"):
            broker.subscribe(Queue(name=name, exchange=everyone, auto_delete=True))
        broker.unsubscribe("left")
        with sqlite3.connect(path) as db:
            db.execute("UPDATE queue SET used = used - 61")
        db.close()

        broker.register("one@host", {}, 30.0)
        broker._keep_house()
        broker.publish([publication("a", exchange="everyone")])

        assert broker.size("left") == 0
        assert texts(collect(broker, 1)) == ["a"]

    def test_a_message_older_than_its_queue_allows_is_dropped(self, broker: Broker) -> None:
        assert isinstance(broker, SqliteBroker)
        broker.declare(Queue(name="news", message_ttl=0.1))
        broker.publish([publication("a", "news"), publication("b")])

        def is_gone() -> bool:
            broker._keep_house()
            return broker.size("news") == 0

        eventually(is_gone)
        assert broker.size("q") == 1

    def test_old_broadcasts_are_dropped(self, make_broker: MakeBroker, path: Path) -> None:
        broker = make_broker()
        for n in range(300):
            if n == 255:
                with sqlite3.connect(path) as db:
                    db.execute("UPDATE broadcast SET seen = seen - 3600")
                db.close()
            broker.broadcast("events", "", envelope(str(n)))

        with sqlite3.connect(path) as db:
            assert db.execute("SELECT COUNT(*) FROM broadcast").fetchone() == (45,)
        db.close()

    def test_no_verb_of_the_way_of_a_message_scans_the_table(
        self, broker: Broker, path: Path
    ) -> None:
        seen: list[str] = []
        assert isinstance(broker, SqliteBroker)
        with broker._file.read() as db:
            db.set_trace_callback(seen.append)
        broker.publish([publication("a"), publication("b", due=time.time() + 60)])
        loans = collect(broker, 1)
        broker.reject(tags(loans), requeue=True, lost=True)
        loans = collect(broker, 1)
        broker.started(tags(loans))
        broker.ack(tags(loans), [publication("c")])
        broker.cancel_parked(["b"])
        broker.parked()
        broker.take("q")
        broker.reclaim()
        broker.retire()

        with sqlite3.connect(path) as plain:
            scans = {
                (statement, row[3])
                for statement in seen
                if statement.split()[0] in ("SELECT", "UPDATE", "DELETE", "INSERT")
                for row in plain.execute("EXPLAIN QUERY PLAN " + statement)
                if row[3] == "SCAN message" or "TEMP B-TREE" in row[3]
            }
        plain.close()
        assert len(seen) > 20
        assert scans == set()


# --- the two brokers without a server are each other's model -----------------------------------

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.sampled_from(["q", "r"]), st.integers(0, 9)),
        st.tuples(st.just("receive"), st.just(""), st.integers(1, 4)),
        st.tuples(
            st.sampled_from(["ack", "requeue", "lose", "drop"]), st.just(""), st.integers(0, 9)
        ),
        st.tuples(st.sampled_from(["park", "cancel"]), st.just(""), st.integers(0, 9)),
        st.tuples(st.sampled_from(["purge", "delete", "take"]), st.sampled_from("qr"), st.just(0)),
        st.tuples(st.just("retire"), st.just(""), st.just(0)),
    ),
    max_size=40,
)


class Script:
    """Runs operations on one broker and notes everything that can be seen."""

    def __init__(self, url: str) -> None:
        self.broker = open_broker(url, owner="one")
        self.broker.open()
        # In which order several queues take their turns is nobody's promise: one is received from.
        self.broker.subscribe(direct_queue("q"))
        self.broker.declare(direct_queue("r"))
        self.loans: list[str] = []
        self.published = 0
        self.seen: list[Any] = []

    def run(self, verb: str, queue: str, number: int) -> None:
        broker = self.broker
        chosen = self.loans[number % len(self.loans) :][:2] if self.loans else []
        if verb == "publish":
            self.published += 1
            broker.publish([publication(str(self.published), queue, priority=number)])
        elif verb == "receive":
            for delivery in broker.receive(number):
                self.loans.append(delivery.tag)
                text = text_of(delivery.envelope)
                self.seen.append((text, delivery.deliveries, delivery.redelivered))
        elif verb == "ack":
            broker.ack(chosen, [publication(f"next {number}", "qr"[number % 2])])
        elif verb in ("requeue", "lose", "drop"):
            broker.reject(chosen, requeue=verb != "drop", lost=verb == "lose")
        elif verb == "park":
            for tag in chosen:
                broker.park(tag, time.time() + 1000 + len(self.seen), f"task{number}")
        elif verb == "cancel":
            self.seen.append(broker.cancel_parked([f"task{number}"]))
        elif verb == "retire":
            broker.retire()
        else:
            self.seen.append(getattr(broker, verb)(queue))
        self.seen.append([(s.name, s.ready, s.unacked, s.due) for s in broker.queues()])
        self.seen.append([[text_of(e) for e in broker.peek(name)] for name in ("q", "r")])


@settings(max_examples=60, deadline=None)
@given(operations=OPERATIONS)
def test_sqlite_and_memory_brokers_agree(
    operations: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("agree") / "queue.db"
    one, two = Script(f"sqlite:///{path}"), Script(f"memory://{uuid.uuid4()}")

    for operation in operations:
        for script in (one, two):
            script.run(*operation)

    for script in (one, two):
        script.broker.close()
    without_envelopes = [
        [[bytes(x) and text_of(x) for x in y] if _has_bytes(y) else y for y in script.seen]
        for script in (one, two)
    ]
    assert without_envelopes[0] == without_envelopes[1]


def _has_bytes(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], bytes)
