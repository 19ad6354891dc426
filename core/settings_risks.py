"""Settings that are allowed, work by day, and hurt at three in the morning.

Each finding is advice: it says what will happen, and the setting that prevents it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from .clock import seconds
from .settings_checks import Conf, Problem

#: What Celery and kombu wait on Redis before they deliver an unacknowledged message again, in s.
#: Source: kombu 5.6 transport/redis.py, Channel.visibility_timeout.
VISIBILITY_TIMEOUT = 3600.0
#: A prefetch above this keeps more waiting in front of one node than anybody expects.
_MUCH_PREFETCH = 100


class Site(NamedTuple):
    """What an app is beyond its settings: the broker's URL, where results go, its tasks."""

    broker_url: str
    backend_url: str | None
    tasks: Mapping[str, Any]


Risk = Callable[[Conf, Site], Iterator[tuple[str, str]]]


def find_risks(conf: Conf, site: Site) -> list[Problem]:
    """Return advice on settings that are right and dangerous."""
    return [
        Problem(key, "advice", message, conf.origin(key).where)
        for risk in RISKS
        for key, message in risk(conf, site)
    ]


def _visibility(conf: Conf, site: Site) -> Iterator[tuple[str, str]]:
    if not site.broker_url.startswith("redis"):
        return
    options = conf["broker_transport_options"] or {}
    try:
        patience = float(options.get("visibility_timeout", VISIBILITY_TIMEOUT))
    except (TypeError, ValueError):
        return
    longest, what = max(_waits(conf, site), default=(0.0, ""))
    if longest > patience:
        yield (
            "broker_transport_options",
            f"visibility_timeout ({patience:g} s) is below {what} ({longest:g} s): a worker of"
            f" Celery's on these queues would run such a task twice; set it above {longest:g}",
        )


def _waits(conf: Conf, site: Site) -> Iterator[tuple[float, str]]:
    """Yield for how long a message may stay unacknowledged, and why."""
    if (limit := conf["task_time_limit"]) is not None:
        yield seconds(limit), "task_time_limit"
    for name, task in site.tasks.items():
        for option in ("time_limit", "default_retry_delay", "countdown"):
            value = getattr(task, option, None)
            if isinstance(value, int | float):
                yield float(value), f"{option} of {name}"
    for name, entry in (conf["beat_schedule"] or {}).items():
        options = entry.get("options") if isinstance(entry, Mapping) else None
        countdown = (options or {}).get("countdown")
        if isinstance(countdown, int | float):
            yield float(countdown), f"the countdown of beat's {name!r}"


def _late_without_reject(conf: Conf, site: Site) -> Iterator[tuple[str, str]]:
    if conf["task_acks_late"] and not conf["task_reject_on_worker_lost"]:
        yield (
            "task_reject_on_worker_lost",
            "task_acks_late is on and task_reject_on_worker_lost is off: a task whose child is"
            " killed (out of memory, say) fails for good instead of running again",
        )


def _unlimited_deliveries(conf: Conf, site: Site) -> Iterator[tuple[str, str]]:
    if conf["task_max_deliveries"] is None:
        yield (
            "task_max_deliveries",
            "task_max_deliveries is None: a message that kills its child does so for ever; 3 is"
            " the default",
        )


def _pickle(conf: Conf, site: Site) -> Iterator[tuple[str, str]]:
    for key in ("accept_content", "result_accept_content"):
        names = conf[key] or ()
        if any(name in ("pickle", "application/x-python-serialize") for name in names):
            yield (
                key,
                f"{key} takes pickle: whoever can write to the broker runs code in the workers",
            )


def _no_results(conf: Conf, site: Site) -> Iterator[tuple[str, str]]:
    if site.backend_url is None and not conf["task_ignore_result"]:
        yield (
            "result_backend",
            "result_backend is not set: results are dropped, and result.get() is an error; set"
            " it, or task_ignore_result = True to say that this is meant",
        )


def _endless_results(conf: Conf, site: Site) -> Iterator[tuple[str, str]]:
    expires = conf["result_expires"]
    if site.backend_url is not None and (expires is None or seconds(expires) == 0):
        yield (
            "result_expires",
            f"result_expires is {expires!r}: results are kept for ever, until the backend is full",
        )


def _memory(conf: Conf, site: Site) -> Iterator[tuple[str, str]]:
    if site.broker_url.startswith("memory"):
        yield (
            "broker_url",
            "the memory broker lives in one process: no other sees its messages, and they end"
            " with it",
        )


def _prefetch(conf: Conf, site: Site) -> Iterator[tuple[str, str]]:
    key = "worker_prefetch_multiplier"
    value = conf[key]
    if value == 0 or (isinstance(value, int) and value > _MUCH_PREFETCH):
        what = "no limit" if value == 0 else f"{value} a child"
        yield (
            key,
            f"{key} is {value} ({what}): the first node to come takes the whole queue, while"
            " others idle; 'auto' is the default",
        )


def _gives_up(conf: Conf, site: Site) -> Iterator[tuple[str, str]]:
    if conf["broker_connection_retry"] is False:
        yield (
            "broker_connection_retry",
            "broker_connection_retry is off: workers end when the broker restarts",
        )


def _blind(conf: Conf, site: Site) -> Iterator[tuple[str, str]]:
    if conf["worker_enable_remote_control"] is False:
        yield (
            "worker_enable_remote_control",
            "worker_enable_remote_control is off: inspect and control get no answer",
        )


def _unchecked_tls(conf: Conf, site: Site) -> Iterator[tuple[str, str]]:
    for key, url, options in (
        ("broker_use_ssl", site.broker_url, conf["broker_use_ssl"]),
        ("redis_backend_use_ssl", site.backend_url or "", conf["redis_backend_use_ssl"]),
    ):
        if not url.startswith("rediss://"):
            continue
        given = parse_qs(urlsplit(url).query).get("ssl_cert_reqs", [])
        if isinstance(options, Mapping) and "ssl_cert_reqs" in options:
            # ssl.CERT_NONE is 0; its name, and None, are understood too.
            given = [*given, str(options["ssl_cert_reqs"] or "none")]
        if any(word.lower().endswith("none") for word in given):
            yield (
                key,
                "ssl_cert_reqs is none: TLS without a look at the certificate, anybody in"
                " between can read the password",
            )


#: The risks, in the order of their findings.
RISKS: tuple[Risk, ...] = (
    _visibility, _late_without_reject, _unlimited_deliveries, _pickle, _no_results,
    _endless_results, _memory, _prefetch, _gives_up, _blind, _unchecked_tls,
)  # fmt: skip
