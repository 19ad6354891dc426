"""The broker and the result backend keep their contracts on a real Valkey."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from taskctl.core.brokers.base import Broker

from ..backends.contract import SharedBackendContract
from ..backends.contract_chords import ChordContract
from ..support import redis_servers
from ..support.redis_servers import ConfiguredRedis
from .contract import BrokerContract

_databases = itertools.cycle(range(16))


@pytest.fixture(scope="module")
def valkey() -> Iterator[ConfiguredRedis]:
    yield from redis_servers.valkey_server()


@pytest.fixture
def valkey_url(valkey: ConfiguredRedis) -> str:
    """The URL of an empty database."""
    number = next(_databases)
    with valkey.client(db=number) as client:
        client.flushdb()
    return f"redis://127.0.0.1:{valkey.port}/{number}"


class TestValkeyAsABroker(BrokerContract):
    keeps_times = False
    keeps_exchange_types = False

    @pytest.fixture
    def broker_url(self, valkey_url: str) -> str:
        return valkey_url

    def test_a_fanout_exchange_reaches_every_bound_queue_once(self, broker: Broker) -> None:
        """Celery sends fanout by pub/sub, which test_redis.py shows; this server is no Redis."""
        assert "(Valkey)" in broker.server_version()


class TestValkeyAsABackend(SharedBackendContract, ChordContract):
    @pytest.fixture
    def url(self, valkey_url: str) -> str:
        return valkey_url
