"""`config check` reads the options of a Redis broker, `doctor` its role and its policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ..support.redis_servers import ConfiguredRedis
from ..support.shell import Shell


@pytest.fixture
def server() -> Iterator[ConfiguredRedis]:
    server = ConfiguredRedis()
    try:
        yield server.start()
    finally:
        server.stop()


def checked(shell: Shell, url: str, options: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what `config check` says of these options."""
    with (shell.folder / "proj" / "celery.py").open("a") as file:
        file.write(f"app.conf.broker_transport_options = {options!r}\n")
    said = shell.proj("-b", url, "config", "check", "-o", "json")
    found = [row for row in json.loads(said.out)["items"]]
    return [row for row in found if row["key"] == "broker_transport_options"]


def test_options_without_effect_are_named_with_what_does_it_instead(shell: Shell) -> None:
    options = {"retry_on_timeout": True, "socket_timeout": 3, "master_name": "m"}

    found = checked(shell, "redis://127.0.0.1:1/0", options)

    assert {row["message"].split(" of ")[0] for row in found} == {"retry_on_timeout", "master_name"}
    assert {row["severity"] for row in found} == {"warning"}
    assert "has no effect: a command is not sent twice" in found[0]["message"]


def test_an_option_that_is_refused_is_an_error(shell: Shell) -> None:
    (found,) = checked(shell, "redis://127.0.0.1:1/0", {"ack_emulation": False})

    assert found["severity"] == "error"
    assert "ack_emulation cannot be off" in found["message"]


def test_a_replica_that_drops_keys_is_found_with_its_master(
    shell: Shell, server: ConfiguredRedis
) -> None:
    server.ask("CONFIG", "SET", "maxmemory", "1gb", "maxmemory-policy", "allkeys-lru")
    server.ask("REPLICAOF", "127.0.0.1", "1")

    said = shell.proj("-b", f"{server.url}", "doctor", "-o", "json")

    told = " ".join(row["message"] for row in json.loads(said.out)["items"])
    assert "this server is a replica of 127.0.0.1:1: it takes no writes" in told
    assert "maxmemory-policy is allkeys-lru" in told


def test_a_socket_and_sentinels_are_named_as_they_are(shell: Shell) -> None:
    for url, cure in (
        ("redis+socket:///no/such.sock?virtual_host=3", "redis-cli -s /no/such.sock -n 3 ping"),
        ("sentinel://127.0.0.1:1/0;sentinel://127.0.0.1:2", "redis-cli -h 127.0.0.1 -p 1"),
    ):
        with (shell.folder / "proj" / "celery.py").open("a") as file:
            file.write("app.conf.broker_transport_options = {'master_name': 'm'}\n")
        said = shell.proj("-b", url, "doctor", "-o", "json")

        (broker,) = [row for row in json.loads(said.out)["items"] if row["check"] == "broker"]
        assert broker["cure"].startswith(cure), broker
