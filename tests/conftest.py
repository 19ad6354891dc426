"""Fixtures every room of the tests may use."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from .support.servers import RabbitServer, RedisServer, rabbitmq_program

#: Databases 60 to 63 belong to servers and nodes that stand for a whole module.
_databases = itertools.cycle(range(60))


@pytest.fixture(scope="session", autouse=True)
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Health files, pidfiles and caches of what tests start go here, not to the host's own."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TASKCTL_RUN_DIR", str(folder))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One real redis-server for the whole run; absent, it skips on a laptop and fails in CI."""
    if shutil.which("redis-server") is None:
        if os.environ.get("CI"):
            pytest.fail("redis-server is not installed")
        pytest.skip("redis-server is not installed")
    server = RedisServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[RabbitServer]:
    """One real rabbitmq-server for the whole run; absent, it skips on a laptop, fails in CI."""
    if rabbitmq_program() is None:
        if os.environ.get("CI"):
            pytest.fail("rabbitmq-server is not installed")
        pytest.skip("rabbitmq-server is not installed")
    server = RabbitServer()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty database of that server."""
    number = next(_databases)
    url = f"redis://127.0.0.1:{redis_server.port}/{number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url
