"""Fixtures of the tests that run Celery beside ours."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import redis

from ..support.products import Products
from ..support.rabbit import RabbitControl
from ..support.servers import RedisServer

#: Databases 0 and 1 are the products'.
_databases = itertools.cycle(range(2, 64))

#: Projects of others, whose tests are theirs.
collect_ignore = ["projects"]


@pytest.fixture(scope="package")
def own_server() -> Iterator[RedisServer]:
    """A Redis for the fleets that stand for long: what they say must meet nobody else."""
    server = RedisServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def lone_url(own_server: RedisServer) -> str:
    """An empty database of that server, for one module's fleet."""
    base = own_server.url.rpartition("/")[0]
    url = f"{base}/{next(_databases)}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


class Place(NamedTuple):
    """Where a fleet meets: a broker, and results beside it."""

    kind: str
    url: str
    backend: str


@pytest.fixture(scope="module", params=["redis", "rabbitmq"])
def place(request: pytest.FixtureRequest, lone_url: str) -> Iterator[Place]:
    """Each broker that workers of both kinds can be on, for one module's fleet."""
    if request.param == "redis":
        yield Place("redis", lone_url, lone_url)
        return
    # Another fleet's nodes would be known here until they are forgotten.
    control: RabbitControl = request.getfixturevalue("rabbitmq_control")
    url = control.new_vhost()
    yield Place("rabbitmq", url, lone_url)
    control.drop_vhost(url)


@pytest.fixture(scope="package")
def products(
    tmp_path_factory: pytest.TempPathFactory, own_server: RedisServer
) -> Iterator[Products]:
    """Both programs, each with two nodes that no test may change for good."""
    base = own_server.url.rpartition("/")[0]
    products = Products(tmp_path_factory.mktemp("products"), (f"{base}/0", f"{base}/1"))
    try:
        products.start()
        yield products
    finally:
        products.close()
