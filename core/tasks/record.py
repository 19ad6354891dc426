"""The record of one run, which every step of `execute` reads and completes."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from typing import Any

from ..wire.chord_part import Claim, LatePart
from ..wire.message import Publication
from ..wire.outcome import StoredMeta
from .context import Context
from .parts import Returned
from .tracebacks import ExceptionInfo


class Plan:
    """What running one task takes, found out once: which of its hooks are more than empty."""

    __slots__ = (
        "after_return",
        "awaits",
        "backend",
        "before_start",
        "call",
        "on_failure",
        "on_retry",
        "on_success",
        "task",
    )

    def __init__(self, task: Any, base: type) -> None:
        self.task = task
        calls = _is_own(task, base, "__call__")
        self.call: Callable[..., Any] = task if calls else task.run
        #: Whether calling it only makes a coroutine, which runs nothing yet.
        self.awaits = inspect.iscoroutinefunction(
            task.__call__ if calls else vars(task).get("_plain_run", task.run)
        )
        #: A result backend of the task's own, else None.
        self.backend: Any = task.backend if _has_own_backend(task, base) else None
        self.before_start = _hook(task, base, "before_start")
        self.on_success = _hook(task, base, "on_success")
        self.on_failure = _hook(task, base, "on_failure")
        self.on_retry = _hook(task, base, "on_retry")
        self.after_return = _hook(task, base, "after_return")


def _is_own(task: Any, base: type, name: str) -> bool:
    """Return whether a task, or a class of the user's, has a method of its own."""
    return name in vars(task) or getattr(type(task), name) is not getattr(base, name)


def _has_own_backend(task: Any, base: type) -> bool:
    return "_backend" in vars(task) or type(task).backend is not base.backend  # type: ignore[attr-defined]


def _hook(task: Any, base: type, name: str) -> Callable[..., Any] | None:
    return getattr(task, name) if _is_own(task, base, name) else None


class Run:
    """One run of one task: what is known of it so far.

    `kind` is one of `wire.outcome.KINDS` as soon as it is decided; `value` is what the task
    returned, `exc` what it raised.  `stores` and `stores_errors` say what the backend gets.
    `parts` are the parts of chords that end with it; `late` those its worker must count, `claims`
    the chords that it has ended.
    """

    __slots__ = (
        "began",
        "claims",
        "describe",
        "eager",
        "einfo",
        "exc",
        "expected",
        "kind",
        "late",
        "parts",
        "plan",
        "publications",
        "request",
        "requeue",
        "results",
        "runtime",
        "stores",
        "stores_errors",
        "task",
        "text",
        "value",
    )

    def __init__(self, describe: bool = True, eager: bool = False) -> None:
        self.began = time.monotonic()
        self.describe = describe
        self.eager = eager
        self.plan: Plan = None  # type: ignore[assignment]  # set when the name is known
        self.task: Any = None
        self.request: Context = None  # type: ignore[assignment]  # set when decoded
        self.kind = ""
        self.value: Any = None
        self.exc: BaseException | None = None
        self.einfo: ExceptionInfo | None = None
        self.runtime = 0.0
        self.text = ""
        self.results: list[StoredMeta] = []
        self.publications: list[Publication] = []
        self.parts: list[Returned] = []
        self.late: list[LatePart] = []
        self.claims: list[Claim] = []
        self.requeue = False
        self.expected = False
        self.stores = False
        self.stores_errors = False

    def begin(self, plan: Plan, request: Context, ignored: bool | None, keeps: bool) -> None:
        """Note what will run, and what of it is to be stored.

        `ignored` is the caller's word (None: the task's own holds); `keeps` says whether there
        is a backend that keeps results.
        """
        self.plan = plan
        self.task = task = plan.task
        keeps = keeps or plan.backend is not None
        self.request = request
        if ignored is None:
            ignored = task.ignore_result
        self.stores = keeps and not ignored
        self.stores_errors = self.stores or (keeps and bool(task.store_errors_even_if_ignored))
