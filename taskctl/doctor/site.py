"""Checks of the app and of what it reaches: settings, broker, storage, results."""

from __future__ import annotations

import importlib.util
import os
import shlex
import stat
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from taskctl.apps import shown_url
from taskctl.commands.config_check import advice
from taskctl.core.app import App
from taskctl.core.redact import mask_url
from taskctl.core.sqlitefile import network_file_system, path_of_url

from .findings import WARN, Said, Trouble, fail, ok, warn
from .host import room_on
from .patient import Patient
from .reaching import how_to_reach, is_amqp, redis_cli, why_slow

#: Share of maxmemory from which on Redis is nearly full.
_NEARLY_FULL = 0.9
#: A round trip that takes longer than this makes every step slow, in seconds.
_SLOW = 0.05
_NEEDED = {
    **dict.fromkeys(("redis", "rediss", "redis+socket", "sentinel"), "redis"),
    **dict.fromkeys(("amqp", "amqps", "pyamqp"), "pika"),
}


def check_app(patient: Patient) -> Iterator[Said]:
    """Is the app found, does it import, and which tasks does it have?"""
    app, took = patient.load_app()
    names = [name for name in app.tasks if not name.startswith("celery.")]
    spec = patient.context.app_spec
    count = f"{len(names)} task{'' if len(names) == 1 else 's'}"
    label = f"{_full_name(spec, app)}, {count}" if spec else "none named (-A); the default app"
    if spec and not names:
        yield warn(f"{spec} has no tasks", "name their modules in the setting: include")
    yield ok(f"{label}, imported in {took:.2f} s")


def _full_name(spec: str, app: App) -> str:
    """Return the app as module:attribute, also where only the module was named."""
    for module in (spec, f"{spec}.celery", f"{spec}.app"):
        names = vars(sys.modules[module]) if module in sys.modules else {}
        for name in sorted(names):
            if names[name] is app:
                return f"{module}:{name}"
    return spec


def check_settings(patient: Patient) -> Iterator[Said]:
    """What is wrong with the settings, and what will hurt."""
    app = patient.app
    problems = app.conf.check()
    for problem in [*problems, *(advice(app) if patient.imported else ())]:
        say = fail if problem.severity == "error" else warn
        key = problem.key or "broker_url"
        yield say(str(problem), f"taskctl config explain {shlex.quote(key)}")
    yield ok(f"{len(app.conf.without_defaults())} set, none in conflict")


# -- the broker


def check_broker(patient: Patient) -> Iterator[Said]:
    """Does the broker answer, how fast, and which version is it?"""
    if not patient.has_app:
        raise Trouble("no app, so no broker is known", "name it: -b URL, or TASKCTL_BROKER_URL")
    app = patient.app
    url = app.broker_url()
    if url.startswith("sqlite") and not (path := path_of_url(url)).exists():
        # Looking makes nothing: opening it would.
        raise Trouble(f"{path} is not there yet: nothing was ever sent or run",
                      "taskctl worker -l INFO", WARN)  # fmt: skip
    driver = _NEEDED.get(url.partition(":")[0])
    if driver and importlib.util.find_spec(driver) is None:
        raise Trouble(f"the driver {driver} is not installed", f"pip install {driver}")
    began = time.monotonic()
    try:
        queues = patient.queues
    except Exception as exc:
        where = app.conf.origin("broker_url").where
        cure = how_to_reach(url, where, "broker_url", exc)
        raise Trouble(mask_url(str(exc)), cure) from exc
    took = time.monotonic() - began
    took = patient.server.get("latency") or (_round_trip(app) if is_amqp(url) else took)
    if took > _SLOW:
        yield warn(f"{_named(url)} takes {took * 1000:.0f} ms for a round trip", why_slow(url))
    version = app.broker_state()["version"]
    words = [_named(url), f"{took * 1000:.1f} ms", f"{len(queues)} queues"]
    yield ok(", ".join([*words, f"version {version}"] if version else words))


def _round_trip(app: App) -> float:
    """Return how long one question takes on a line that is open, in seconds."""
    began = time.monotonic()
    app.shared_connection().call(lambda broker: broker.exists(app.conf.task_default_queue))
    return time.monotonic() - began


def _named(url: str) -> str:
    if url.startswith(("sqlite", "memory")):
        return shown_url(url)
    if url.startswith("sentinel"):
        places = [urlsplit(one).netloc.rpartition("@")[2] for one in url.split(";")]
        return f"sentinel {', '.join(places)}"
    parts = urlsplit(mask_url(url))
    return f"{parts.scheme} {parts.netloc.rpartition('@')[2] or parts.path}"


# -- where messages are kept


def check_storage(patient: Patient) -> Iterator[Said]:
    """Would messages survive a restart, a full disk, a full memory?"""
    url = patient.app.broker_url()
    if url.startswith("sqlite"):
        yield from _sqlite(path_of_url(url))
    elif patient.server.get("kind") == "redis":
        yield from _redis(patient.server, redis_cli(url, patient.server))
    elif is_amqp(url):
        yield from _rabbitmq(patient.app)
    else:
        yield ok("the broker keeps nothing on a disk")


def _sqlite(path: Path) -> Iterator[Said]:
    quoted = shlex.quote(str(path))
    if kind := network_file_system(path):
        yield fail(
            f"{path} lies on {kind}, a network file system: SQLite's locks do not hold there",
            "export TASKCTL_BROKER_URL=sqlite:////var/lib/taskctl/queue.db",
        )
    if path.exists():
        status = path.stat()
        if status.st_mode & stat.S_IWOTH:
            yield warn(f"everybody may write to {path}", f"chmod o-w {quoted}")
        if status.st_uid != os.geteuid() and os.geteuid() == 0:
            yield warn(
                f"{path} belongs to user {status.st_uid}; what root makes beside it, they cannot"
                " open",
                f"sudo -u '#{status.st_uid}' taskctl doctor",
            )
    yield from room_on(path.parent, f"broker's file {path}")
    size = path.stat().st_size / 1024**2 if path.exists() else 0.0
    yield ok(f"{path}, {size:.1f} MiB on a local disk")


def _rabbitmq(app: App) -> Iterator[Said]:
    if str(app.conf.task_default_delivery_mode) in ("1", "transient"):
        yield warn(
            "task_default_delivery_mode is 1: a restart of RabbitMQ loses what waits",
            "taskctl config explain task_default_delivery_mode",
        )
    yield ok("RabbitMQ keeps messages on its own disk")


def _redis(server: Mapping[str, Any], client: str) -> Iterator[Said]:
    info: Mapping[str, str] = server["info"]
    yield from _memory(info, client)
    yield from _persistence(info, server["save"], client)
    if info.get("role", "master") != "master":
        master = f"{info.get('master_host', '?')}:{info.get('master_port', '?')}"
        yield fail(
            f"this server is a replica of {master}: it takes no writes",
            f"{client} INFO replication",
        )
    if int(info.get("rejected_connections", 0)):
        yield warn(
            f"{info['rejected_connections']} connections were refused: maxclients is "
            f"{info.get('maxclients', '?')}",
            f"{client} CONFIG SET maxclients 20000",
        )
    used = int(info.get("used_memory", 0)) / 1024**2
    yield ok(f"{used:.0f} MiB used, persistent, evicts nothing")


def _memory(info: Mapping[str, str], client: str) -> Iterator[Said]:
    most, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    policy = info.get("maxmemory_policy", "noeviction")
    keep = f"{client} CONFIG SET maxmemory-policy noeviction"
    if policy.startswith("allkeys"):
        yield fail(f"maxmemory-policy is {policy}: Redis drops queues when it is full", keep)
    elif policy != "noeviction":
        yield warn(f"maxmemory-policy is {policy}: Redis drops results when it is full", keep)
    if most and used > most * _NEARLY_FULL:
        yield fail(
            f"memory is {used / most:.0%} full ({used // 1024**2} of {most // 1024**2} MiB)",
            f"{client} CONFIG SET maxmemory {most * 2}",
        )
    if int(info.get("evicted_keys", 0)):
        yield warn(f"{info['evicted_keys']} keys were dropped for want of memory", keep)


def _persistence(info: Mapping[str, str], save: str | None, client: str) -> Iterator[Said]:
    if info.get("aof_enabled") != "1" and save == "":
        yield warn(
            "neither appendonly nor save is on: a restart of Redis loses all messages",
            f"{client} CONFIG SET appendonly yes",
        )
    elif info.get("aof_enabled") != "1":
        yield warn(
            "appendonly is off: a crash of Redis loses the messages since the last snapshot",
            f"{client} CONFIG SET appendonly yes",
        )
    for name, what in (("aof_last_write_status", "log"), ("rdb_last_bgsave_status", "snapshot")):
        if info.get(name, "ok") != "ok":
            yield fail(f"Redis could not write its last {what}: is its disk full?",
                       f"{client} INFO persistence")  # fmt: skip


# -- results


def check_results(patient: Patient) -> Iterator[Said]:
    """Can results be kept and fetched?"""
    app = patient.app
    url = app.backend_url()
    if url is None:
        yield ok("not kept: result_backend is not set")
        return
    began = time.monotonic()
    try:
        app.backend.open()
        app.backend.load(["taskctl-doctor"])
    except Exception as exc:
        key = "result_backend" if app.conf.result_backend else "broker_url"
        where = app.conf.origin(key).where
        raise Trouble(mask_url(str(exc)), how_to_reach(url, where, key, exc)) from exc
    yield ok(f"{_named(url)}, {(time.monotonic() - began) * 1000:.1f} ms")
