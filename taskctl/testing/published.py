"""What was sent: every message that reached the broker of a test, in order.

Calls made by tasks, retries, links and the steps of chains and chords are among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, overload

from taskctl.core import clock
from taskctl.core.brokers.memory_store import Store
from taskctl.core.tasks.context import open_body
from taskctl.core.wire.message import Publication
from taskctl.core.wire.task_message import TaskBody, TaskMessage, decode_task

_MISSING: Any = object()


class SentCall:
    """One message of a task, as it travelled."""

    def __init__(self, publication: Publication, queues: Sequence[str], sent_at: float) -> None:
        self._publication = publication
        #: The queues it went to, and when (Unix seconds, of the test's clock) it was sent.
        self.queues, self.sent_at = tuple(queues), sent_at
        self._opened: tuple[TaskMessage, TaskBody] | None = None

    def _open(self) -> tuple[TaskMessage, TaskBody]:
        if self._opened is None:
            message = decode_task(self._publication.envelope)
            self._opened = (message, open_body(message, None))
        return self._opened

    @property
    def message(self) -> TaskMessage:
        """Headers and properties as they are on the wire."""
        return self._open()[0]

    @property
    def body(self) -> TaskBody:
        """Arguments, and the signatures that come later."""
        return self._open()[1]

    @property
    def task(self) -> str:
        """The task's name."""
        return self.message.headers.task or ""

    @property
    def id(self) -> str:
        return self.message.headers.id or ""

    @property
    def args(self) -> list[Any]:
        return self.body.args

    @property
    def kwargs(self) -> dict[str, Any]:
        return self.body.kwargs

    @property
    def queue(self) -> str | None:
        """The queue it went to, the first if there are several; None if there is none."""
        return self.queues[0] if self.queues else None

    @property
    def exchange(self) -> str:
        return self._publication.exchange

    @property
    def routing_key(self) -> str:
        return self._publication.routing_key

    @property
    def priority(self) -> int:
        return self._publication.priority

    @property
    def eta(self) -> datetime | None:
        """When it may start; None: at once."""
        text = self.message.headers.eta
        return clock.parse_iso8601(text) if text else None

    @property
    def countdown(self) -> float | None:
        """Seconds between its being sent and its ETA; None without an ETA."""
        eta = self.eta
        return None if eta is None else round(clock.to_unix(eta) - self.sent_at, 6)

    @property
    def expires(self) -> datetime | None:
        """When it must have started; None: never."""
        text = self.message.headers.expires
        return clock.parse_iso8601(text) if text else None

    @property
    def retries(self) -> int:
        return self.message.headers.retries or 0

    @property
    def parent_id(self) -> str | None:
        return self.message.headers.parent_id

    @property
    def root_id(self) -> str | None:
        return self.message.headers.root_id

    def __repr__(self) -> str:
        shown = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwargs.items())]
        notes = [f"to {self.queue or 'nowhere'}"]
        if self.countdown is not None:
            notes.append(f"in {self.countdown:g} s")
        if self.retries:
            notes.append(f"retry {self.retries}")
        return f"{self.task}({', '.join(shown)}) {', '.join(notes)}"


class Published(Sequence[SentCall]):
    """All calls that were sent, oldest first; `published[-1]` is the last one."""

    def __init__(self) -> None:
        self._calls: list[SentCall] = []

    @overload
    def __getitem__(self, index: int) -> SentCall: ...

    @overload
    def __getitem__(self, index: slice) -> list[SentCall]: ...

    def __getitem__(self, index: int | slice) -> SentCall | list[SentCall]:
        return self._calls[index]

    def __len__(self) -> int:
        return len(self._calls)

    def __iter__(self) -> Iterator[SentCall]:
        return iter(self._calls)

    def note(self, call: SentCall) -> None:
        """Add a call."""
        self._calls.append(call)

    def clear(self) -> None:
        """Forget all of them: what is sent from now on counts."""
        self._calls.clear()

    def to(self, task: Any) -> list[SentCall]:
        """Return the calls of one task, given as the task or its name."""
        name = task if isinstance(task, str) else task.name
        return [call for call in self._calls if call.task == name]

    def assert_sent(
        self,
        task: Any,
        *,
        args: Iterable[Any] = _MISSING,
        kwargs: dict[str, Any] = _MISSING,
        times: int | None = None,
        **facts: Any,
    ) -> SentCall:
        """Check that a task was called so; return the call, the last one if there are several.

        `facts` are attributes of `SentCall`: queue, countdown, priority, retries, ...  With
        `times`, exactly that many calls must match, else at least one.

        Raises AssertionError that shows what was sent.
        """
        wanted = dict(facts)
        if args is not _MISSING:
            wanted["args"] = list(args)
        if kwargs is not _MISSING:
            wanted["kwargs"] = kwargs
        calls = self.to(task)
        found = [c for c in calls if all(getattr(c, k) == v for k, v in wanted.items())]
        if found and times in (None, len(found)):
            return found[-1]
        name = task if isinstance(task, str) else task.name
        like = ", ".join(f"{key}={value!r}" for key, value in wanted.items())
        raise AssertionError(
            f"{name} was to be sent {'once or more' if times is None else f'{times} times'}"
            f"{f' with {like}' if like else ''}, and was {len(found)} times.\n{self._listing()}"
        )

    def assert_not_sent(self, task: Any = None) -> None:
        """Check that a task was not called; without one, that nothing was.

        Raises AssertionError that shows what was sent.
        """
        calls = list(self._calls) if task is None else self.to(task)
        if calls:
            raise AssertionError(f"{len(calls)} calls were not to be sent.\n{self._listing()}")

    def _listing(self) -> str:
        if not self._calls:
            return "Nothing was sent."
        return "Sent:\n" + "\n".join(f"  {call!r}" for call in self._calls)


class RecordingStore(Store):
    """The inside of a memory broker that tells of each message of a task."""

    def __init__(self, note: Callable[[SentCall], None]) -> None:
        super().__init__()
        self._note = note

    def insert(self, publications: Iterable[Publication]) -> None:
        sent = list(publications)
        for one in sent:
            if one.task_id:
                self._note(SentCall(one, self.route(one), clock.now()))
        super().insert(sent)
