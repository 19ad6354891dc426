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

Conf = Mapping[str, Any]


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


def _broker_url(conf: Conf, value: Any) -> Any:
    """Take broker_host and its like; AMQP unless broker_transport says otherwise."""
    if value is None:
        host = conf["broker_host"]
        if not host or "://" in host:
            return host or None
        return split_url(
            conf["broker_transport"] or "amqp", host, conf["broker_port"], conf["broker_user"],
            conf["broker_password"], conf["broker_vhost"],
        )  # fmt: skip
    scheme = conf["broker_transport"]
    if scheme and isinstance(value, str) and "://" not in value:
        return f"{scheme}://{value}"
    return value


def _result_backend(conf: Conf, value: Any) -> Any:
    """Take redis_host and its like for a plain 'redis'."""
    if value not in ("redis", "rediss") or not conf["redis_host"]:
        return value
    return split_url(
        value, conf["redis_host"], conf["redis_port"], conf["redis_username"],
        conf["redis_password"], conf["redis_db"],
    )  # fmt: skip


def _else(key: str) -> Callable[[Conf, Any], Any]:
    """Take the value of another setting, if there is one."""

    def fall_back(conf: Conf, value: Any) -> Any:
        return conf.get(key) if value is None else value

    return fall_back


#: What becomes of a setting's value, given all the others.
DERIVED: dict[str, Callable[[Conf, Any], Any]] = {
    "broker_url": _broker_url,
    "broker_read_url": _else("broker_url"),
    "broker_write_url": _else("broker_url"),
    "result_backend": _result_backend,
    "task_default_exchange": _else("task_default_queue"),
    "task_default_routing_key": _else("task_default_queue"),
    "timezone": _else("TIME_ZONE"),  # Django's
}
