"""What a worker says of itself at its start: five lines on a terminal, one in a log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from taskctl.tables import number, seconds, up

#: How many task names the banner shows.
_NAMES = 8


def banner(facts: Mapping[str, Any]) -> list[str]:
    """Return the lines for a terminal."""
    return [
        f"taskctl {facts['version']} · {facts['node']} · pid {facts['pid']} "
        f"· Python {facts['python']}",
        f"  app      {facts['app']}, {_tasks(facts['tasks'])}",
        f"  broker   {facts['broker']}{_note(facts['broker_from'])}",
        f"  results  {_results(facts)}",
        f"  pool     {_pool(facts)}",
        f"  queues   {' · '.join(_queue(queue) for queue in facts['queues'])}",
    ]


def log_line(facts: Mapping[str, Any]) -> str:
    """Return the same as one line."""
    queues = ", ".join(_queue(queue) for queue in facts["queues"])
    children = "-".join(map(str, facts["autoscale"][::-1])) if facts["autoscale"] else None
    limits = [f"{word}={_limit(facts[word])}" for word in ("soft", "hard") if facts[word]]
    return (
        f"taskctl {facts['version']} node={facts['node']} pid={facts['pid']} "
        f"python={facts['python']} app={facts['app']} tasks={len(facts['tasks'])} "
        f"broker={facts['broker']} results={facts['results'] or 'off'} "
        f"kept={_kept(facts)} pool={facts['pool']} children={children or facts['children']} "
        f"prefetch={facts['prefetch']} {' '.join([*limits, ''])}"
        f'queues="{queues}"'
    )


def _tasks(names: Sequence[str]) -> str:
    if not names:
        return "no tasks: name their modules with -I, or the setting include"
    shown = " ".join(names[:_NAMES])
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return f"{len(names)} task{'s' if len(names) != 1 else ''}: {shown}{more}"


def _note(origin: str) -> str:
    return f" ({origin})" if origin else ""


def _results(facts: Mapping[str, Any]) -> str:
    if facts["results"] is None:
        return "not kept; name a place with the setting result_backend"
    kept = f", kept {_days(facts['results_kept'])}" if facts["results_kept"] else ""
    if facts["results"] == facts["broker"]:
        return f"in the broker's database{kept}"
    return f"{facts['results']}{kept}"


def _kept(facts: Mapping[str, Any]) -> str:
    length = facts["results_kept"]
    return _days(length).replace(" ", "") if length and facts["results"] else "-"


def _days(length: float) -> str:
    return up(length).removesuffix(" 0 h").removesuffix(" 0 m").removesuffix(" 0 s")


#: What `-c` counts in each pool.
_MEMBERS = {
    "prefork": ("child", "children"),
    "asyncio": ("coroutine", "coroutines"),
    "threads": ("thread", "threads"),
}


def _pool(facts: Mapping[str, Any]) -> str:
    children, pool = facts["children"], facts["pool"]
    if facts["autoscale"]:
        children = facts["autoscale"][0]
    one, many = _MEMBERS.get(pool, _MEMBERS["threads"])
    what = one if children == 1 else many
    size = "one task at a time" if pool == "solo" else f"{children} {what}"
    if facts["autoscale"]:
        size = f"{facts['autoscale'][1]} to {children} {what}"
    processes = facts.get("processes", 1)
    if pool == "asyncio" and processes > 1:
        size += f" in {processes} children"
    parts = [pool, size, f"prefetch {facts['prefetch']}"]
    soft, hard = facts["soft"], facts["hard"]
    if soft or hard:
        limits = f"{_limit(soft)}/{_limit(hard)} s" if soft else f"{_limit(hard)} s"
        parts.append(f"time limits {limits}")
    return ", ".join(parts)


def _limit(value: float | None) -> str:
    return "–" if value is None else f"{value:g}"


def _queue(queue: Mapping[str, Any]) -> str:
    if not queue["waiting"]:
        return f"{queue['name']} empty"
    oldest = f", oldest {seconds(queue['oldest'])}" if queue["oldest"] is not None else ""
    return f"{queue['name']} {number(queue['waiting'])} waiting{oldest}"
