"""Settings whose value follows from others: URLs in the split form, names of the default queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

#: Which settings the environment overrides, and by which variables; the first one set wins.
#: The CELERY_ ones are those of Celery 5.7 app/utils.py.
ENVIRONMENT: dict[str, tuple[str, ...]] = {
    key: (f"TASKCTL_{key.upper()}", f"CELERY_{key.upper()}")
    for key in ("broker_url", "broker_read_url", "broker_write_url", "result_backend")
}


def split_url(
    scheme: str, host: str, port: int | None, user: str | None, password: str | None, path: Any
) -> str:
    """Return the URL of parts that were set one by one."""
    login = quote(user or "", safe="")
    if password:
        login += ":" + quote(password, safe="")
    where = f"{host}:{port}" if port else host
    tail = "" if path is None else f"/{str(path).removeprefix('/') if path != '/' else '/'}"
    return f"{scheme}://{login}{'@' if login else ''}{where}{tail}"


def _broker_url(conf: Mapping[str, Any]) -> str | None:
    """Build the URL from broker_host and its like; AMQP unless broker_transport says otherwise."""
    host = conf["broker_host"]
    if not host or "://" in host:
        return host or None
    return split_url(
        conf["broker_transport"] or "amqp", host, conf["broker_port"], conf["broker_user"],
        conf["broker_password"], conf["broker_vhost"],
    )  # fmt: skip


def _timezone(conf: Mapping[str, Any]) -> Any:
    """Take Django's TIME_ZONE."""
    return conf.get("TIME_ZONE")


#: What a setting is when it is not set.
DERIVED: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "broker_url": _broker_url,
    "broker_read_url": lambda conf: conf["broker_url"],
    "broker_write_url": lambda conf: conf["broker_url"],
    "task_default_exchange": lambda conf: conf["task_default_queue"],
    "task_default_routing_key": lambda conf: conf["task_default_queue"],
    "timezone": _timezone,
}
