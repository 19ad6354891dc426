"""Fixtures every room of the tests may use."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from pymemcache.client.base import Client

from .support.databases import (
    MemcachedServer,
    MongoStandIn,
    PostgresServer,
    postgres_programs,
)
from .support.rabbit import RabbitControl
from .support.servers import RabbitServer, RedisServer, rabbitmq_program

#: Databases from 60 on belong to servers and nodes that stand for a whole module.
_databases = itertools.cycle(range(60))
_mongo_databases = itertools.count()


#: The files that take longest: begun first, so that the end does not wait for one of them alone.
_LONGEST = (
    "test_old_scripts.py",
    "test_migration_on_redis.py",
    "test_migration_on_rabbitmq.py",
    "test_matrix_results_of_celery.py",
    "test_matrix_results_of_taskctl.py",
    "test_lines_that_must_work.py",
    "test_inspect_beside_celery.py",
    "test_mixed_fleet.py",
    "test_canary.py",
    "test_compat_projects.py",
    "test_matrix_celery_on_redis.py",
    "test_matrix_celery_on_rabbitmq.py",
    "test_matrix_taskctl_on_rabbitmq.py",
    "test_matrix_taskctl_on_redis.py",
    "test_control_alike.py",
    "test_chords.py",
    "test_canvas_mixed.py",
    "test_rabbitmq.py",
)


def pytest_configure() -> None:
    # A run in the background is made deaf to Ctrl-C, and what it starts would be so, too.
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


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


@pytest.fixture(scope="session")
def rabbitmq_control(rabbitmq_server: RabbitServer) -> Iterator[RabbitControl]:
    """What steers that server from inside."""
    control = RabbitControl(rabbitmq_server)
    yield control
    control.stop()


@pytest.fixture
def rabbitmq_url(rabbitmq_control: RabbitControl) -> Iterator[str]:
    """The URL of an empty virtual host of that server."""
    url = rabbitmq_control.new_vhost()
    yield url
    rabbitmq_control.drop_vhost(url)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The URL of an empty database of that server."""
    number = next(_databases)
    url = f"redis://127.0.0.1:{redis_server.port}/{number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
    return url


def _absent(what: str) -> None:
    """Skip on a laptop, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is not installed")
    pytest.skip(f"{what} is not installed")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One real PostgreSQL for the whole run; absent, it skips on a laptop and fails in CI."""
    if postgres_programs() is None:
        _absent("PostgreSQL")
    server = PostgresServer()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The URL of an empty database of that server, as SQLAlchemy takes it."""
    with psycopg.connect(postgres_server.url.replace("+psycopg", "")) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return postgres_server.url


@pytest.fixture(scope="session")
def memcached_server() -> Iterator[MemcachedServer]:
    """One real memcached for the whole run; absent, it skips on a laptop and fails in CI."""
    if shutil.which("memcached") is None:
        _absent("memcached")
    server = MemcachedServer()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def memcached_url(memcached_server: MemcachedServer) -> str:
    """The URL of that server, emptied."""
    Client(("127.0.0.1", memcached_server.port)).flush_all(noreply=False)
    return memcached_server.url


@pytest.fixture(scope="session")
def mongo_server() -> Iterator[MongoStandIn]:
    """One server for the whole run that speaks MongoDB's protocol, and is not MongoDB."""
    server = MongoStandIn()
    try:
        yield server.start()
    finally:
        server.stop()


@pytest.fixture
def mongo_url(mongo_server: MongoStandIn) -> str:
    """The URL of an empty database of that server."""
    return f"{mongo_server.url}results{next(_mongo_databases)}"
