"""Fixtures of the tests that run Celery beside ours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..support.products import Products
from ..support.servers import RedisServer


@pytest.fixture(scope="package")
def own_server() -> Iterator[RedisServer]:
    """A Redis for the fleets that stand for long: what they say must meet nobody else."""
    server = RedisServer().start()
    yield server
    server.stop()


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
