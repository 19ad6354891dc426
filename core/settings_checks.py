"""What may be wrong with settings that are right one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol

from .clock import seconds
from .errors import SettingError
from .redact import mask
from .settings_keys import key_problems
from .settings_source import Names, Origin
from .settings_table import SETTINGS

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


class Problem(NamedTuple):
    """One finding: `severity` is error or warning; `where` the place, empty if not known."""

    key: str
    severity: str
    message: str
    where: str = ""

    @classmethod
    def of_error(cls, error: Exception) -> Problem:
        """Return the finding that an error of a setting stands for."""
        if isinstance(error, SettingError):
            return cls(error.key, "error", error.message, error.where)
        return cls("", "error", str(error))

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class Conf(Protocol):
    """What the checks want of settings."""

    def __getitem__(self, key: str) -> Any: ...
    def origin(self, key: str) -> Origin: ...
    def value_set_for(self, key: str) -> bool: ...
    def without_defaults(self) -> dict[str, Any]: ...


Check = Callable[[Conf], Iterator[tuple[str, str, str]]]


def find_problems(conf: Conf, suspects: Mapping[str, str]) -> list[Problem]:
    """Return what is unknown, what has no effect, and what contradicts; errors first.

    `suspects` are names that nothing reads though they look like settings, and their places.
    """
    found = [
        Problem(name, "error", f"unknown setting {name!r}: nothing reads it", where)
        for name, where in suspects.items()
    ]
    for check in (_unknown, _unsupported, *CONFLICTS):
        for key, severity, message in check(conf):
            found.append(Problem(key, severity, message, conf.origin(key).where))
    return sorted(found, key=lambda problem: problem.severity)


def _unknown(conf: Conf) -> Iterator[tuple[str, str, str]]:
    for key in conf.without_defaults():
        if key not in SETTINGS:
            near = Names().nearest(key)
            if near:
                yield key, "warning", f"{key!r} is no setting of taskctl: {near}?"


def _unsupported(conf: Conf) -> Iterator[tuple[str, str, str]]:
    for key, value in conf.without_defaults().items():
        row = SETTINGS.get(key)
        if row is not None and row.note and value not in (row.default, row.celery_default()):
            shown = mask(value, key)
            yield key, "warning", f"{key} = {shown!r} has no effect: {row.note}"


def _time_limits(conf: Conf) -> Iterator[tuple[str, str, str]]:
    soft, hard = conf["task_soft_time_limit"], conf["task_time_limit"]
    if soft and hard and seconds(soft) >= seconds(hard):
        yield (
            "task_soft_time_limit",
            "error",
            (
                f"task_soft_time_limit ({soft}) must be below task_time_limit ({hard}): "
                "the child would be killed before its task is told"
            ),
        )


def _late_acks(conf: Conf) -> Iterator[tuple[str, str, str]]:
    if conf["task_acks_late"]:
        return
    for key in (
        "task_reject_on_worker_lost", "task_acks_on_failure", "task_acks_on_timeout",
    ):  # fmt: skip
        if conf.value_set_for(key) and conf[key] is not None:
            yield key, "warning", f"{key} has no effect while task_acks_late is off"


def _deprecated(conf: Conf) -> Iterator[tuple[str, str, str]]:
    key = "task_acks_on_failure_or_timeout"
    if conf.value_set_for(key):
        yield key, "warning", f"{key} is old: set task_acks_on_failure and task_acks_on_timeout"


def _lease(conf: Conf) -> Iterator[tuple[str, str, str]]:
    lease, interval = seconds(conf["worker_lease"]), seconds(conf["worker_lease_interval"])
    if interval > lease / 2:
        yield (
            "worker_lease_interval",
            "error",
            (
                f"worker_lease_interval ({interval:g}) must be at most half of worker_lease "
                f"({lease:g}): one late sign of life would give its tasks to others"
            ),
        )


#: Serializers by name, as in kombu: a setting may say either.
CONTENT_TYPES = {
    "json": "application/json",
    "pickle": "application/x-python-serialize",
    "yaml": "application/x-yaml",
    "msgpack": "application/x-msgpack",
}


def _content_type(name: str) -> str:
    return CONTENT_TYPES.get(name, name)


def _content(conf: Conf) -> Iterator[tuple[str, str, str]]:
    accepted = conf["accept_content"]
    pairs = (
        ("task_serializer", accepted, "accept_content"),
        ("result_serializer", conf["result_accept_content"] or accepted, "accept_content"),
    )
    for key, names, by in pairs:
        if _content_type(conf[key]) not in map(_content_type, names):
            yield (
                key,
                "error",
                (
                    f"{key} is {conf[key]!r}, which {by} does not list: "
                    "workers would refuse it; add it there"
                ),
            )


def _priority(conf: Conf) -> Iterator[tuple[str, str, str]]:
    default, most = conf["task_default_priority"], conf["task_queue_max_priority"]
    if default is not None and most is not None and default > most:
        yield (
            "task_default_priority",
            "error",
            (f"task_default_priority ({default}) is above task_queue_max_priority ({most})"),
        )


def _queues(conf: Conf) -> Iterator[tuple[str, str, str]]:
    for room in ("control", "event"):
        exclusive, durable = f"{room}_queue_exclusive", f"{room}_queue_durable"
        if conf[exclusive] and conf[durable]:
            yield durable, "error", f"{durable} and {exclusive} exclude each other"


def _dead_letters(conf: Conf) -> Iterator[tuple[str, str, str]]:
    if conf["task_dead_letter_queue"] == conf["task_default_queue"]:
        yield (
            "task_dead_letter_queue",
            "error",
            ("task_dead_letter_queue must not be the queue that workers consume from"),
        )


def _prefetch(conf: Conf) -> Iterator[tuple[str, str, str]]:
    key = "worker_prefetch_multiplier"
    if conf["worker_disable_prefetch"] and conf.value_set_for(key):
        yield key, "warning", f"{key} has no effect while worker_disable_prefetch is on"


def _eager(conf: Conf) -> Iterator[tuple[str, str, str]]:
    if conf["task_always_eager"]:
        yield (
            "task_always_eager",
            "warning",
            ("task_always_eager is on: calls run in the caller, workers get none"),
        )
    elif conf["task_eager_propagates"] or conf["task_store_eager_result"]:
        key = "task_eager_propagates"
        key = key if conf[key] else "task_store_eager_result"
        yield key, "warning", f"{key} has no effect on calls unless task_always_eager is on"


def _urls(conf: Conf) -> Iterator[tuple[str, str, str]]:
    for key in ("broker_url", "broker_read_url", "broker_write_url"):
        value = conf[key]
        urls = value.split(";") if isinstance(value, str) else value or ()
        for url in urls:
            if conf.value_set_for(key) and not _SCHEME.match(url):
                yield (
                    key,
                    "error",
                    (f"{key} {mask(url)!r} has no scheme: write redis://{mask(url)}, for example"),
                )


#: The checks, in the order of their findings.
CONFLICTS: tuple[Check, ...] = (
    _time_limits, _late_acks, _deprecated, _lease, _content, _priority, _queues, _dead_letters,
    _prefetch, _eager, _urls, key_problems,
)  # fmt: skip
