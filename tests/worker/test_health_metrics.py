"""What a node counts, read back as Prometheus reads it."""

from __future__ import annotations

import re
from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from taskctl.core.wire.outcome import Outcome
from taskctl.core.worker.metrics import BUCKETS, Gauges, Metrics, QueueDepth

from ..house.structure import ROOT
from ..support.exposition import Sample, families, samples


class Delivery(NamedTuple):
    queue: str


class Request(NamedTuple):
    """As much of a request as is counted."""

    type: str
    delivery: Delivery
    received: float = 0.0
    terminated: int | None = None


def gauges(**changes: object) -> Gauges:
    facts = {"state": "ok", "slots": 2, "busy": 1, "oldest_seconds": 8.1, "uptime_seconds": 60.5}
    return Gauges(
        facts=facts, held=3, prefetch=4, connected=True, reconnects=1, starts=5, losses=2, pids=(),
        started={},
        depths=(QueueDepth("images", 7, 1, 0, 14.5), QueueDepth("video", 0, 0, 0, None)),
    )._replace(**changes)  # fmt: skip


def count(metrics: Metrics, kind: str, runtime: float = 0.0, **request: object) -> None:
    asked = Request("proj.add", Delivery("images"))._replace(**request)
    metrics.settled(asked, Outcome(request=1, kind=kind, runtime=runtime))  # type: ignore[arg-type]


def text(metrics: Metrics) -> str:
    return metrics.text(gauges(), ready=True, loop_age=0.25)


def test_tasks_are_counted_by_outcome() -> None:
    metrics = Metrics("w1@h", "1.0.0")
    for kind in ("succeeded", "succeeded", "failed", "timed out"):
        count(metrics, kind)
    count(metrics, "lost", terminated=15)  # a revoke did that

    found = {s.labels["outcome"]: s.value for s in samples(text(metrics), "taskctl_tasks_total")}

    assert found == {"succeeded": 2, "failed": 1, "timed_out": 1}


def test_run_times_fall_into_their_buckets() -> None:
    metrics = Metrics("w1@h", "1.0.0")
    for runtime in (0.005, 0.02, 7.0, 99999.0):
        count(metrics, "succeeded", runtime)

    page = text(metrics)
    found = {s.labels["le"]: s.value for s in samples(page, "taskctl_task_runtime_seconds_bucket")}

    assert list(found) == [*(f"{bound:g}" for bound in BUCKETS), "+Inf"]
    assert (found["0.005"], found["0.025"], found["10"], found["1800"], found["+Inf"]) == (
        1, 2, 3, 3, 4,
    )  # fmt: skip
    assert samples(page, "taskctl_task_runtime_seconds_count")[0].value == 4
    assert samples(page, "taskctl_task_runtime_seconds_sum")[0].value == 100006.025


def test_gauges_are_those_of_the_moment() -> None:
    page = text(Metrics("w1@h", "1.0.0"))
    value = {(s.name, s.labels.get("queue"), s.labels.get("state")): s.value for s in samples(page)}

    assert value["taskctl_tasks_running", None, None] == 1
    assert value["taskctl_pool_size", None, None] == 2
    assert value["taskctl_child_losses_total", None, None] == 2
    assert value["taskctl_queue_messages", "images", "waiting"] == 7
    assert value["taskctl_queue_oldest_seconds", "images", None] == 14.5
    assert ("taskctl_queue_oldest_seconds", "video", None) not in value
    assert value["taskctl_worker_state", None, "ok"] == 1
    assert value["taskctl_worker_state", None, "busy"] == 0
    assert value["taskctl_parent_memory_bytes", None, None] > 1_000_000


def test_names_and_labels_keep_to_the_contract() -> None:
    metrics = Metrics("w1@h", "1.0.0")
    count(metrics, "succeeded", 0.1)
    page = text(metrics)

    assert all(name.startswith("taskctl_") for name in families(page))
    for name, kind in families(page).items():
        assert (kind == "counter") == name.endswith("_total"), name
    labels = {label for s in samples(page) for label in s.labels}
    assert labels == {"node", "task", "queue", "outcome", "state", "le", "version"}
    assert {s.name for s in samples(page) if "version" in s.labels} == {"taskctl_worker_info"}


def test_the_page_for_operators_names_every_metric_and_no_other() -> None:
    metrics = Metrics("w1@h", "1.0.0")
    section = (ROOT / "docs" / "operating.md").read_text().partition("## Health and metrics")[2]
    rows = [
        row for row in section.partition("\n## ")[0].split("\n") if row.startswith("| `taskctl_")
    ]

    told = {name for row in rows for name in re.findall(r"`(taskctl_\w+)`", row.split(" | ")[0])}

    assert told == set(families(text(metrics)))


@given(st.text(), st.text())
def test_any_name_of_a_task_or_queue_is_read_back(task: str, queue: str) -> None:
    metrics = Metrics("w1@h", "1.0.0")
    count(metrics, "succeeded", type=task, delivery=Delivery(queue))

    [sample] = samples(text(metrics), "taskctl_tasks_total")

    assert sample == Sample(
        "taskctl_tasks_total",
        {"node": "w1@h", "task": task, "queue": queue, "outcome": "succeeded"},
        1.0,
    )


def test_every_family_says_what_it_is_once_and_before_its_samples() -> None:
    seen: list[str] = []
    for line in text(Metrics("w1@h", "1.0.0")).split("\n"):
        if line.startswith("# TYPE "):
            seen.append(line.split()[2])
        elif line and not line.startswith("#"):
            assert re.sub(r"_(bucket|sum|count)$", "", line.partition("{")[0]) == seen[-1]

    assert len(seen) == len(set(seen))
