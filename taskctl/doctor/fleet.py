"""Checks of the nodes, and of what lies between them: queues, dead letters, litter."""

from __future__ import annotations

import difflib
import shlex
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

from taskctl.core.version import __version__
from taskctl.remote import error_of
from taskctl.tables import up

from .findings import Said, fail, ok, warn
from .patient import Patient
from .reaching import redis_cli

#: Clocks that differ by more than this make ETAs, expiry and revocation wrong; in seconds.
_SKEW, _BAD_SKEW = 2.0, 30.0
#: A queue whose oldest message waits longer than this is not being emptied; in seconds.
_OLD = 3600.0


def check_nodes(patient: Patient) -> Iterator[Said]:
    """Who is registered, who answers, who is silent?"""
    answer = patient.answer
    here = {reply.node for reply in answer.replies}
    for name, age in sorted(answer.missing.items()):
        seen = "" if age is None else f", seen {up(age)} ago"
        yield fail(f"{name} is silent{seen}", _start_again(name))
    for reply in answer.replies:
        if (message := error_of(reply.value)) is not None:
            yield warn(f"{reply.node} refuses to tell its queues: {message}")
    for name in answer.duplicates():
        yield warn(f"two nodes are called {name}: commands for one reach both", "worker -n NAME")
    if not here and not answer.missing:
        yield warn("no node is registered or answers", "taskctl worker -l INFO")
    yield ok(f"{len(here)} of {len(here)} answer: {', '.join(sorted(here))}")


def _start_again(name: str) -> str:
    short, _, host = name.partition("@")
    return f"ssh {shlex.quote(host)} taskctl multi restart {shlex.quote(short)}"


def check_versions(patient: Patient) -> Iterator[Said]:
    """Do all nodes run the same release as this program?"""
    versions = {node.name: node.record.get("version") for node in patient.records}
    known = {name: version for name, version in versions.items() if version}
    other = {name: version for name, version in known.items() if version != __version__}
    if other:
        names = ", ".join(f"{name} {version}" for name, version in sorted(other.items()))
        yield warn(f"this is {__version__}, but {names}", "pip install --upgrade taskctl")
    yield ok(f"{len(known) or 'no'} nodes, all {__version__}" if known else "no node tells its own")


def check_clocks(patient: Patient) -> Iterator[Said]:
    """Do the hosts agree on the time?"""
    now = time.time()
    offsets = {
        f"{node.record.get('host') or node.name}": node.record["at"] - (now - node.age)
        for node in patient.records
        if node.alive and isinstance(node.record.get("at"), int | float)
    }
    if isinstance(skew := patient.server.get("clock_skew"), float):
        offsets["the broker"] = skew
    wrong = {name: offset for name, offset in offsets.items() if abs(offset) > _SKEW}
    for name, offset in sorted(wrong.items()):
        say = fail if abs(offset) > _BAD_SKEW else warn
        side = "ahead of" if offset > 0 else "behind"
        yield say(
            f"the clock of {name} is {up(abs(offset))} {side} the one here: ETAs, expiry and"
            " time stamps are off by that",
            "timedatectl set-ntp true",
        )
    most = max((abs(offset) for offset in offsets.values()), default=0.0)
    yield ok(
        f"{len(offsets)} compared, at most {most:.1f} s apart" if offsets else "nothing to compare"
    )


# -- queues


def check_queues(patient: Patient) -> Iterator[Said]:
    """Are there messages that nobody takes?"""
    app, consumers = patient.app, patient.consumers
    dead = app.conf.task_dead_letter_queue
    total = 0
    for queue in patient.queues:
        total += queue.ready
        if queue.name == dead:
            continue
        name = shlex.quote(queue.name)
        if queue.name in patient.paused:
            since = up(max(0.0, time.time() - patient.paused[queue.name]))
            yield warn(
                f"{queue.name!r} has been paused for {since}, with {_messages(queue.ready)}",
                f"taskctl queue resume {name}",
            )
        elif queue.ready and queue.name not in consumers:
            yield fail(
                f"{queue.name!r} has {_messages(queue.ready)} and no consumer",
                _consume(patient, name),
            )
        elif queue.oldest is not None and queue.oldest > _OLD:
            yield warn(
                f"{queue.name!r} is not emptied: its oldest message has waited {up(queue.oldest)}",
                f"taskctl inspect active -d {shlex.quote(consumers[queue.name][0])}",
            )
    yield ok(f"{len(patient.queues)} queues, {total:,} messages waiting")


def _messages(count: int) -> str:
    return f"{count:,} message{'' if count == 1 else 's'}"


def _consume(patient: Patient, queue: str) -> str:
    nodes = sorted({node for names in patient.consumers.values() for node in names})
    if not nodes:
        return f"taskctl worker -l INFO -Q {queue}"
    return f"taskctl control add_consumer {queue} -d {shlex.quote(nodes[0])}"


def check_tasks(patient: Patient) -> Iterator[Said]:
    """Are there messages for tasks that no node knows?"""
    known = {
        str(task) for node in patient.records if node.alive
        for task in node.record.get("tasks") or ()
    }  # fmt: skip
    if not known:
        yield ok("no node tells its tasks")
        return
    strange: Counter[str] = Counter()
    for queue in patient.queues:
        if queue.ready and queue.name != patient.app.conf.task_dead_letter_queue:
            strange.update(
                task for task, _ in patient.waiting_tasks(queue.name)
                if task not in known and not task.startswith("celery.")
            )  # fmt: skip
    for task, count in sorted(strange.items()):
        near = difflib.get_close_matches(task, known, 1)
        also = f"; they know {near[0]}" if near else ""
        yield fail(
            f"{_messages(count)} for {task!r}, which no node has registered{also}",
            "taskctl inspect registered",
        )
    yield ok(f"{len(known)} tasks are registered; none waits that is not")


def check_dead_letters(patient: Patient) -> Iterator[Said]:
    """Were messages given up?"""
    name = patient.app.conf.task_dead_letter_queue
    count = next((queue.ready for queue in patient.queues if queue.name == name), 0)
    if count:
        reasons = Counter(str(d.get("reason", "unknown")) for d in patient.dead_letters(name))
        why = ", ".join(f"{reason} {number}" for reason, number in reasons.most_common(3))
        few = "" if sum(reasons.values()) >= count else ", the next ones"
        dead = f"{count:,} dead letter{'' if count == 1 else 's'}"
        yield warn(f"{dead} in {name!r}{few}: {why}", "taskctl dlq ls")
    yield ok(f"{name!r} is empty")


def check_unacked(patient: Patient) -> Iterator[Said]:
    """Are messages held by nobody?"""
    gone = [node.name for node in patient.records if not node.alive]
    orphans = patient.server.get("orphans")
    if orphans:
        yield warn(
            f"{_messages(orphans)} unacknowledged for longer than the visibility timeout; a node"
            " that runs gives them back within a minute",
            "taskctl worker -l INFO",
        )
    held = sum(queue.unacked for queue in patient.queues)
    if gone and not patient.answer.replies and held:
        yield fail(
            f"{_messages(held)} are held by nodes that are gone ({', '.join(gone)}); the next node"
            " to start gives them back",
            "taskctl worker -l INFO",
        )
    yield ok(f"{_messages(held)} on loan, all to living nodes" if held else "none on loan")


def check_litter(patient: Patient) -> Iterator[Said]:
    """What did others leave behind in the broker?"""
    litter: dict[str, Any] = patient.server.get("litter") or {}
    client = redis_cli(patient.app.broker_url(), patient.server)
    if count := litter.get("reply_queues", 0):
        example = litter["examples"][0]
        yield warn(
            f"{count:,} reply queues of Celery's clients that never expire, such as {example}",
            f"{client} --scan --pattern '*.reply.celery.pidbox' | xargs -r {client} UNLINK",
        )
    if count := litter.get("results_without_end", 0):
        yield warn(
            f"{count:,} results that never expire: whoever stored them had no result_expires",
            "taskctl config explain result_expires",
        )
    if litter.get("reply_bindings", 0) > 100:
        yield warn(
            f"{litter['reply_bindings']:,} bindings of reply queues; each broadcast goes over all",
            f"{client} UNLINK _kombu.binding.reply.celery.pidbox",
        )
    if not litter:
        yield ok("none: only Redis collects any")
        return
    part = "" if litter["all_seen"] else f" in the first {litter['keys_seen']:,} keys"
    yield ok(f"none{part}")
