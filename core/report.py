"""What software, machine and settings an app runs with, as text and data for people who help."""

from __future__ import annotations

import platform
import sqlite3
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from .redact import mask, mask_url

#: Ports of brokers whose URL names none.
_PORTS = {"redis": 6379, "rediss": 6379, "amqp": 5672, "amqps": 5671, "sentinel": 26379}
#: Schemes of RabbitMQ.
_AMQP = ("amqp", "amqps", "pyamqp")


def software(version: str) -> dict[str, str]:
    """Return the versions that matter, by name; drivers that are not installed are left out."""
    # It brings the email package with it: 10 ms and 2 MiB for every program that has an app.
    from importlib import metadata

    versions = {
        "taskctl": version,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
    }
    for driver in ("redis", "pika", "msgspec"):
        try:
            versions[driver] = metadata.version(driver)
        except metadata.PackageNotFoundError:
            continue
    return versions


def platform_facts() -> dict[str, str]:
    """Return what there is to say of the machine and of this Python."""
    return {
        "system": platform.system(),
        "arch": ", ".join(part for part in platform.architecture() if part),
        "kernel version": platform.release(),
        "imp": sys.implementation.name,
    }


def bug_report(
    version: str, broker_url: str, backend_url: str | None, settings: str, broker: str = ""
) -> str:
    """Return the text of a report; URLs are shown without passwords.

    `broker` says how the broker is, if it was asked.
    """
    versions = " ".join(f"{name}:{number}" for name, number in software(version).items())
    machine = platform_facts()
    state = f" ({broker})" if broker else ""
    return "\n".join(
        (
            "",
            f"software -> {versions}",
            f"platform -> system:{machine['system']} arch:{machine['arch']}",
            f"            kernel version:{machine['kernel version']} imp:{machine['imp']}",
            f"settings -> transport:{broker_url.partition(':')[0]} broker:{mask_url(broker_url)}"
            f"{state}",
            f"            results:{mask_url(backend_url) if backend_url else 'disabled'}",
            "",
            settings,
            "",
        )
    )


def celery_report(
    version: str, loader: str, broker_url: str, backend_url: str | None, settings: str
) -> str:
    """Return the same in Celery's layout, line for line, for scripts that read it."""
    versions = software(version)
    scheme = broker_url.partition(":")[0]
    driver = "redis" if scheme == "rediss" else scheme
    machine = platform_facts()
    return "\n".join(
        (
            "",
            f"software -> taskctl:{version} py:{versions['python']}",
            f"            {driver}:{versions.get(driver, version)}",
            f"platform -> system:{machine['system']} arch:{machine['arch']}",
            f"            kernel version:{machine['kernel version']}"
            f" imp:{platform.python_implementation()}",
            f"loader   -> {loader}",
            f"settings -> transport:{scheme} "
            f"results:{mask_url(backend_url) if backend_url else 'disabled'}",
            "",
            settings,
            "",
        )
    )


def broker_info(url: str, conf: Mapping[str, Any], alternates: list[str]) -> dict[str, Any]:
    """Return the `broker` part of a stats reply, in Celery's shape and without the password."""
    url, *further = url.split(";")  # sentinels
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    embedded = scheme in ("sqlite", "memory")
    host = parts.path if embedded else parts.path.lstrip("/") or None
    method = conf["broker_login_method"]
    if scheme in _AMQP:
        host, method = unquote(parts.path[1:]) or "/", method or "PLAIN"
    return {
        "hostname": None if embedded else parts.hostname or "localhost",
        "userid": unquote(parts.username) if parts.username else None,
        "virtual_host": host,
        "port": parts.port or _PORTS.get(scheme),
        "insist": False,
        "ssl": bool(conf["broker_use_ssl"]) or scheme in ("rediss", "amqps"),
        "transport": scheme,
        "connect_timeout": conf["broker_connection_timeout"],
        "transport_options": mask(dict(conf["broker_transport_options"] or {})),
        "login_method": method,
        "uri_prefix": None,
        "heartbeat": conf["broker_heartbeat"],
        "failover_strategy": conf["broker_failover_strategy"] or "round-robin",
        "alternates": [mask_url(other) for other in (*further, *alternates)],
        "credential_provider": None,
    }
