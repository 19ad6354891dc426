"""The line, leases, and several processes at one broker."""

from __future__ import annotations

import itertools
import os
import select
import time
from collections.abc import Callable
from typing import Any

import pytest

from taskctl.core.brokers.base import Broker, Delivery
from taskctl.core.errors import BrokerError
from taskctl.core.wire.queues import direct_queue

from ..support.waiting import eventually
from . import peer
from .cases import Cases, MakeBroker, collect, stat, tags, texts
from .peer import publication, wait_readable


class LeaseCases(Cases):
    # --- the line -----------------------------------------------------------------------------

    def test_opening_twice_changes_nothing_and_a_closed_broker_opens_again(
        self, broker: Broker
    ) -> None:
        broker.publish([publication("a")])
        broker.open()
        broker.close()

        broker.open()
        broker.subscribe(direct_queue("q"))

        assert texts(collect(broker, 1)) == ["a"]

    def test_closing_twice_is_harmless(self, broker: Broker) -> None:
        broker.close()
        broker.close()

    def test_loans_outlive_the_line_and_are_acked_after_opening_again(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        broker.publish([publication("a")])
        loans = collect(broker, 1)
        broker.close()
        broker.open()

        broker.ack(tags(loans))

        assert stat(broker) == (0, 0, 0)

    def test_a_closed_broker_refuses_work(self, broker: Broker) -> None:
        broker.close()

        with pytest.raises(BrokerError):
            broker.publish([publication("a")])

    def test_receiving_without_an_owner_is_refused(self, make_broker: MakeBroker) -> None:
        broker = make_broker()
        broker.subscribe(direct_queue("q"))
        broker.publish([publication("a")])

        with pytest.raises(BrokerError, match="owner"):
            broker.receive(1)

    def test_after_a_fork_parent_and_child_do_not_disturb_each_other(self, broker: Broker) -> None:
        broker.publish([publication("a"), publication("b")])
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                broker.publish([])
                broker.receive(0)
                status = 0
            except BrokerError:
                broker.close()  # refused, and closing what is the parent's hurts nobody
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0

        broker.publish([publication("c")])

        assert texts(collect(broker, 3)) == ["a", "b", "c"]

    # --- leases -------------------------------------------------------------------------------

    def test_a_registered_node_is_listed_with_its_record(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        two = make_broker(owner="two")
        two.register("an@host", {"pid": 4711, "queues": ["q"]}, 30.0)
        two.register("an@host", {"pid": 4711, "queues": ["q", "r"]}, 30.0)

        nodes = make_broker().nodes()

        assert [node.name for node in nodes] == ["an@host", "one@host"]
        assert nodes[0].record == {"pid": 4711, "queues": ["q", "r"]}
        assert nodes[0].owner == "two"
        assert nodes[0].alive
        assert 0 <= nodes[0].age < 60

    def test_a_node_whose_lease_ended_is_not_alive(self, make_broker: MakeBroker) -> None:
        make_broker(owner="two").register("two@host", {}, 0.1)
        onlooker = make_broker()

        eventually(lambda: not onlooker.nodes()[0].alive)

    def test_retiring_removes_the_record_and_gives_loans_back(
        self, broker: Broker, make_broker: MakeBroker
    ) -> None:
        broker.publish([publication("a"), publication("b")])
        broker.started(tags(collect(broker, 1, limit=1)))

        broker.retire()

        assert broker.nodes() == []
        other = make_broker(owner="two")
        other.subscribe(direct_queue("q"))
        back = collect(other, 2)
        assert texts(back) == ["a", "b"]
        assert [(d.deliveries, d.redelivered) for d in back] == [(0, True), (0, False)]

    def test_a_living_owner_keeps_its_loans(self, broker: Broker, make_broker: MakeBroker) -> None:
        broker.publish([publication("a")])
        collect(broker, 1)

        assert make_broker(owner="two").reclaim() == []
        assert stat(broker) == (0, 1, 0)

    def test_what_a_dead_owner_held_goes_back_in_order_and_is_counted(
        self, make_broker: MakeBroker
    ) -> None:
        dead, other = make_broker(owner="dead"), make_broker(owner="two")
        dead.register("dead@host", {}, 0.1)
        dead.subscribe(direct_queue("q"))
        dead.publish([publication(text) for text in "abcd"])
        loans = collect(dead, 3)
        dead.started(tags(loans)[:1])
        self.fall_silent(dead)

        assert eventually(other.reclaim) == ["dead@host"]

        assert other.nodes() == []
        other.subscribe(direct_queue("q"))
        back = collect(other, 4)
        assert texts(back) == ["a", "b", "c", "d"]
        assert [d.deliveries for d in back] == [1, 1, 1, 0]
        assert [d.redelivered for d in back] == [True, True, True, False]

    def test_later_losses_count_only_for_what_had_started(self, make_broker: MakeBroker) -> None:
        other = make_broker(owner="two")
        other.publish([publication("a"), publication("b")])
        counts = []
        for n in range(3):
            dead = make_broker(owner=f"dead{n}")
            dead.register(f"dead{n}@host", {}, 0.1)
            dead.subscribe(direct_queue("q"))
            loans = collect(dead, 2)
            counts.append([d.deliveries for d in loans])
            dead.started(tags(loans)[:1])
            self.fall_silent(dead)
            assert eventually(other.reclaim) == [f"dead{n}@host"]

        assert counts == [[0, 0], [1, 1], [2, 1]]

    def test_an_owner_that_comes_back_after_its_lease_cannot_ack_for_another(
        self, make_broker: MakeBroker
    ) -> None:
        sleeper, other = make_broker(owner="sleeper"), make_broker(owner="two")
        sleeper.register("sleeper@host", {}, 0.1)
        sleeper.subscribe(direct_queue("q"))
        sleeper.publish([publication("a")])
        old = collect(sleeper, 1)
        self.fall_silent(sleeper)
        eventually(other.reclaim)
        other.register("two@host", {}, 30.0)
        other.subscribe(direct_queue("q"))
        new = collect(other, 1)

        self.come_back(sleeper)
        sleeper.register("sleeper@host", {}, 30.0)
        sleeper.started(tags(old))
        sleeper.reject(tags(old), requeue=True)
        sleeper.ack(tags(old))

        assert stat(other) == (0, 1, 0)
        other.ack(tags(new))
        assert stat(other) == (0, 0, 0)

    def test_an_owner_whose_loans_went_back_cannot_touch_them_where_they_wait(
        self, make_broker: MakeBroker
    ) -> None:
        sleeper, other = make_broker(owner="sleeper"), make_broker(owner="two")
        sleeper.register("sleeper@host", {}, 0.1)
        sleeper.subscribe(direct_queue("q"))
        sleeper.publish([publication("a"), publication("b")])
        old = tags(collect(sleeper, 2))
        self.fall_silent(sleeper)
        eventually(other.reclaim)

        self.come_back(sleeper)
        sleeper.ack(old)
        sleeper.reject(old, requeue=False)
        sleeper.park(old[0], time.time() + 60, "t")
        sleeper.retire()

        other.subscribe(direct_queue("q"))
        assert [(t, d.deliveries) for d in collect(other, 2) for t in texts([d])] == [
            ("a", 1),
            ("b", 1),
        ]

    # --- several processes --------------------------------------------------------------------

    def test_a_message_from_another_process_wakes_an_idle_consumer(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        sender = start_peer("stamp")
        peer.heard_from(sender)
        delays = []
        for _ in range(10):
            broker.receive(10)
            eventually(lambda: not wait_readable(broker, 0) or broker.receive(10))
            peer.tell(sender)
            poller = select.poll()
            poller.register(broker.fileno(), select.POLLIN)
            deliveries: list[Delivery] = []
            while not deliveries:
                assert poller.poll(10_000)
                deliveries = broker.receive(1)
            delays.append(time.time() - float(texts(deliveries)[0]))
            broker.ack(tags(deliveries))

        assert sorted(delays)[5] < self.wake_up_within, delays

    def test_an_idle_descriptor_is_silent(self, broker: Broker) -> None:
        broker.publish([publication("a")])
        broker.ack(tags(collect(broker, 1)))

        eventually(lambda: broker.receive(1) == [] and not wait_readable(broker, 0.05))

    def test_two_processes_share_a_queue_without_overlap(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        broker.unsubscribe("q")
        peers = [start_peer("consume", f"peer{n}", 7) for n in range(2)]
        for process in peers:
            peer.heard_from(process)
        for process in peers:
            peer.tell(process)

        for start in range(0, 3000, 50):
            broker.publish([publication(str(n)) for n in range(start, start + 50)])

        shares = [peer.heard_from(process) for process in peers]
        assert sorted(map(int, itertools.chain(*shares))) == list(range(3000))
        assert all(shares), "one of them got nothing"
        assert stat(broker) == (0, 0, 0)

    def test_a_message_survives_the_death_of_its_publisher(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        process = start_peer("stamp")
        peer.heard_from(process)
        peer.tell(process)
        eventually(lambda: broker.size("q") == 1)

        process.kill()
        process.wait()

        assert len(collect(broker, 1)) == 1

    def test_what_a_killed_process_held_is_given_back_once_though_many_reclaim(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        broker.unsubscribe("q")
        broker.publish([publication(str(n)) for n in range(50)])
        holder = start_peer("hold", "holder", 50, 1.0)
        peer.heard_from(holder)
        reclaimers = [start_peer("reclaim", 400) for _ in range(3)]
        for process in reclaimers:
            peer.heard_from(process)

        holder.kill()

        names = [name for process in reclaimers for name in peer.heard_from(process)]
        assert names == ["holder@host"]
        assert stat(broker) == (50, 0, 0)
        broker.subscribe(direct_queue("q"))
        back = collect(broker, 50)
        assert texts(back) == [str(n) for n in range(50)]
        assert {d.deliveries for d in back} == {1}

    def test_a_relay_killed_half_way_neither_loses_nor_doubles(
        self, broker: Broker, start_peer: Callable[..., Any]
    ) -> None:
        broker.unsubscribe("q")
        broker.publish([publication("0")])
        for n in range(3):
            process = start_peer("relay", f"relay{n}")
            peer.heard_from(process)
            eventually(lambda: broker.peek("q") or broker.reclaim(), within=10)
            time.sleep(0.02 * n)  # cut at another point each time

            process.kill()
            process.wait()

            ready, unacked, _ = stat(broker)
            assert ready + unacked == 1
            eventually(lambda: broker.reclaim() or stat(broker) == (1, 0, 0), within=10)
