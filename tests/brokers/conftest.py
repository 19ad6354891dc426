"""Fixtures of the Redis broker's own tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from taskctl.core.brokers.redis import RedisBroker
from taskctl.core.wire.queues import direct_queue

from ..support.servers import RedisServer

Open = Callable[..., RedisBroker]


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def open_redis(redis_url: str) -> Iterator[Open]:
    """A function that opens a broker which consumes `q` if it has an owner."""
    made = []

    def make(
        owner: str | None = None, url: str = redis_url, lease: float = 30.0, **options: Any
    ) -> RedisBroker:
        broker = RedisBroker(url, options=options, owner=owner)
        made.append(broker)
        broker.open()
        if owner is not None:
            broker.register(f"{owner}@host", {}, lease)
            broker.subscribe(direct_queue("q"))
        return broker

    yield make
    for broker in made:
        broker.close()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that a test may freeze, fill or stop."""
    server = RedisServer().start()
    yield server
    server.stop()
