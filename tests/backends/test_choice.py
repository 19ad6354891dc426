"""How a result backend is chosen, and what no result backend says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from taskctl.core.backends import open_backend
from taskctl.core.errors import BackendError, ImproperlyConfigured

from .contract import meta


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (None, "DisabledBackend"),
        ("", "DisabledBackend"),
        ("disabled", "DisabledBackend"),
        ("disabled://", "DisabledBackend"),
        ("memory://", "MemoryBackend"),
        ("sqlite://", "SqliteBackend"),
        ("redis", "RedisBackend"),
        ("redis://localhost/1", "RedisBackend"),
        ("rediss://localhost/1?ssl_cert_reqs=CERT_NONE", "RedisBackend"),
        ("rediss://localhost/1?ssl_cert_reqs=required", "RedisBackend"),
        ("redis+socket:///tmp/redis.sock", "RedisBackend"),
    ],
)
def test_the_scheme_chooses_and_nothing_is_connected(url: str | None, name: str) -> None:
    assert type(open_backend(url)).__name__ == name


def test_an_unknown_scheme_names_the_nearest_and_all_there_are() -> None:
    with pytest.raises(ImproperlyConfigured) as caught:
        open_backend("reddis://user:hunter2@localhost")

    assert str(caught.value).startswith(
        "unknown result backend 'reddis': did you mean redis? choose cache, "
    )
    assert ", redis, rediss, redis+socket, rpc, sentinel, sqlite" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_disabled_backend_drops_results_and_says_what_to_set_when_asked() -> None:
    backend = open_backend(None)
    backend.open()
    backend.expect(["a"])
    backend.store([meta("a")])
    backend.forget(["a"])
    backend.forget_group("g")
    assert backend.expire() == 0

    for ask in (
        lambda: backend.load(["a"]),
        lambda: backend.wait(["a"], None),
        lambda: backend.load_group("g"),
        lambda: backend.store_group("g", b""),
    ):
        with pytest.raises(BackendError, match="no result backend is configured: set result_b"):
            ask()
    backend.close()


def test_choosing_sqlite_loads_no_redis() -> None:
    code = (
        "import sys; from taskctl.core.backends import open_backend; open_backend('sqlite://');"
        "sys.exit('redis' in sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
