"""One app under test: its broker and results in memory, its clock, its worker and its beat."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from taskctl.core import current
from taskctl.core.backends import memory as result_memory
from taskctl.core.brokers import memory as broker_memory
from taskctl.core.settings_source import Origin

from .inprocess import InProcessWorker
from .published import Published, RecordingStore, SentCall
from .results import benches
from .schedule import InProcessBeat
from .timepiece import VirtualClock


class Bench:
    """What the fixtures show; each part is made when it is first asked for.

    `settings` are in force over all others of the app while the bench is open, and so are a
    broker and a result backend in memory of its own; afterwards all is as before.  `now` is the
    time at which the test's clock stands; `worker` has options of `InProcessWorker`.
    """

    def __init__(
        self,
        app: Any,
        *,
        settings: Mapping[str, Any] | None = None,
        now: datetime | float | None = None,
        **worker: Any,
    ) -> None:
        self.app = app
        self.settings = dict(settings or {})
        self.url = f"memory://test-{uuid4().hex}"
        self.backend_url = f"taskctl.testing.results:InlineBackend+{self.url}"
        self.published = Published()
        self.clock = VirtualClock(now)
        self._options = worker
        self._store = RecordingStore(self._note)
        self._worker: InProcessWorker | None = None
        self._beat: InProcessBeat | None = None
        self._undo = contextlib.ExitStack()

    # --- life -----------------------------------------------------------------------------------

    def open(self) -> None:
        """Put the app on this bench."""
        with contextlib.ExitStack() as undo:
            self._keep_current(undo)
            # Before its settings change, or its tasks would keep what they take from them.
            self.app.finalize()
            before = {name: self.app.conf.get(name) for name in self.settings}
            undo.callback(_restore, self.app.conf, dict(self.app.conf._override))
            self.app.conf.override(self._overrides(), Origin("app", "taskctl.testing"))
            self._retune(before, undo)
            self.clock.install()
            undo.callback(self.clock.uninstall)
            broker_memory.use_store(self.url, self._store)
            undo.callback(broker_memory.use_store, self.url, None)
            benches[self.url] = self
            undo.callback(benches.pop, self.url)
            undo.callback(result_memory.forget_store, self.url)
            undo.callback(self.app.close)
            self._undo = undo.pop_all()

    def close(self) -> None:
        """Stop what was started; the app is as it was before."""
        self._undo.close()

    def _overrides(self) -> dict[str, Any]:
        return {
            "broker_url": self.url,
            "broker_read_url": self.url,
            "broker_write_url": self.url,
            "broker_transport_options": {},
            "result_backend": self.backend_url,
            "result_backend_transport_options": {},
            "task_always_eager": False,
            **self.settings,
        }

    def _retune(self, before: Mapping[str, Any], undo: contextlib.ExitStack) -> None:
        """Let tasks have the settings of the test where they have taken on the app's."""
        for task in self.app.tasks.values() if before else ():
            for name, setting in task.from_config:
                had = getattr(task, name)
                if setting in before and had == before[setting]:
                    setattr(task, name, self.app.conf[setting])
                    undo.callback(setattr, task, name, had)

    def _keep_current(self, undo: contextlib.ExitStack) -> None:
        """A worker makes its app the current one: that is taken back."""
        before = current.get_app(make=False)
        current.set_app(self.app)
        undo.callback(current.set_default_app, before)
        undo.callback(current.set_app, before)

    # --- its parts ------------------------------------------------------------------------------

    @property
    def has_worker(self) -> bool:
        """Whether anybody asked for the worker."""
        return self._worker is not None

    @property
    def worker(self) -> InProcessWorker:
        """The worker, started."""
        if self._worker is None:
            made = InProcessWorker(self, **self._options)
            made.open()
            self._undo.callback(made.close)
            self._worker = made
            self.clock.followers.append(made)
        return self._worker

    @property
    def beat(self) -> InProcessBeat:
        """What sends periodic tasks; before the worker, as time goes by."""
        if self._beat is None:
            self._beat = InProcessBeat(self)
            self._undo.callback(self._beat.close)
            self.clock.followers.insert(0, self._beat)
        return self._beat

    def _note(self, call: SentCall) -> None:
        if call.queue != self.app.conf.task_dead_letter_queue:
            self.published.note(call)

    # --- looking --------------------------------------------------------------------------------

    def held(self) -> list[float | None]:
        """Return when (Unix seconds) each message is due that waits for its time."""
        with self._store.lock:
            return [message.due for message in self._store.held.values()]

    def why_waiting(self, task_ids: Sequence[str]) -> str:
        """Return one line on why results do not come."""
        missing = [id for id in task_ids if id not in self.app.backend.load([id])]
        names = {call.id: call.task for call in self.published}
        shown = ", ".join(f"{names.get(id, 'task')}[{id}]" for id in (missing or task_ids)[:3])
        if not self.has_worker:
            return f"no result of {shown}: this test has no worker; ask for the fixture `worker`"
        due = self.clock.next_due()
        if due is not None:
            wait = max(0.0, due - self.clock.time())
            return (
                f"no result of {shown}: the worker is idle, and the next thing is due in"
                f" {wait:g} s: clock.advance({wait:g})"
            )
        return f"no result of {shown}: the worker is idle, and nothing more is due"


def _restore(conf: Any, before: Mapping[str, Any]) -> None:
    conf._override.clear()
    conf._override.update(before)
    conf._forget()


@contextlib.contextmanager
def bench_for(app: Any, **options: Any) -> Iterator[Bench]:
    """Put an app on a bench for as long as the context lasts; `options` are those of `Bench`."""
    bench = Bench(app, **options)
    bench.open()
    try:
        yield bench
    finally:
        bench.close()


@contextlib.contextmanager
def worker_for(
    app: Any,
    *,
    settings: Mapping[str, Any] | None = None,
    now: datetime | float | None = None,
    queues: str | list[str] | None = None,
    propagate: bool = False,
) -> Iterator[InProcessWorker]:
    """Give an app a worker in this process, for as long as the context lasts.

    `settings` win over those of the app, `now` is where the clock stands (default: the time it
    is), `queues` are those it takes from (default: all), `propagate` lets it raise what tasks
    raise.  The worker has `clock`, `published` and `beat`.
    """
    with bench_for(app, settings=settings, now=now, queues=queues, propagate=propagate) as bench:
        yield bench.worker
