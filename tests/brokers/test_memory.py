"""The memory broker: the contract, and what is its own."""

from __future__ import annotations

import os
import threading
import uuid

import pytest

from taskctl.core.brokers import open_broker
from taskctl.core.errors import BrokerError
from taskctl.core.wire.queues import direct_queue

from .contract import BrokerContract, MakeBroker, collect, tags, texts
from .peer import publication, wait_readable


class TestMemory(BrokerContract):
    shared_by_processes = False

    @pytest.fixture
    def broker_url(self) -> str:
        return f"memory://{uuid.uuid4().hex}"

    def test_another_thread_wakes_a_consumer(self, make_broker: MakeBroker) -> None:
        consumer, client = make_broker(owner="one"), make_broker()
        consumer.subscribe(direct_queue("q"))
        consumer.receive(1)
        sender = threading.Timer(0.05, lambda: client.publish([publication("a")]))

        sender.start()

        assert wait_readable(consumer, 5)
        assert texts(consumer.receive(1)) == ["a"]
        sender.join()

    def test_threads_consume_disjointly(self, make_broker: MakeBroker) -> None:
        make_broker().publish([publication(str(n)) for n in range(1000)])
        shares: list[list[str]] = [[], [], []]

        def consume(number: int) -> None:
            broker = make_broker(owner=f"thread{number}")
            broker.subscribe(direct_queue("q"))
            while deliveries := broker.receive(7):
                shares[number] += texts(deliveries)
                broker.ack(tags(deliveries))

        threads = [threading.Thread(target=consume, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert sorted(int(text) for share in shares for text in share) == list(range(1000))

    def test_brokers_of_different_names_do_not_meet(self) -> None:
        one, two = open_broker(f"memory://{uuid.uuid4()}"), open_broker(f"memory://{uuid.uuid4()}")
        one.open()
        two.open()

        one.publish([publication("a")])

        assert (one.size("q"), two.size("q")) == (1, 0)
        one.close()
        two.close()

    def test_a_forked_child_is_told_to_use_another_broker(
        self, make_broker: MakeBroker, broker_url: str
    ) -> None:
        make_broker()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                open_broker(broker_url).open()
            except BrokerError as exc:
                os.write(write, str(exc).encode())
            finally:
                os._exit(0)
        os.close(write)

        with open(read) as said:
            assert "use sqlite:// to share a broker" in said.read()
        os.waitpid(pid, 0)

    def test_what_waits_outlives_the_last_line(self, make_broker: MakeBroker) -> None:
        first = make_broker()
        first.publish([publication("a")])
        first.close()

        second = make_broker(owner="two")
        second.subscribe(direct_queue("q"))

        assert texts(collect(second, 1)) == ["a"]
