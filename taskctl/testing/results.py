"""Results in memory, for which whoever waits lets the worker work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskctl.core.backends.base import is_news
from taskctl.core.backends.memory import MemoryBackend
from taskctl.core.backends.watching import Watch
from taskctl.core.errors import TimeoutError

if TYPE_CHECKING:
    from .bench import Bench

#: Seconds after which a worker that was idle is asked again, while somebody awaits a result.
_AGAIN = 0.02
#: The benches whose apps keep results here, by URL.
benches: dict[str, Bench] = {}


class StillWaiting(TimeoutError):
    """Raised at once where a wait for a result would never end: there is nothing to do."""


class InlineBackend(MemoryBackend):
    """What the app of a bench keeps results in."""

    def wait(
        self,
        task_ids: Sequence[str],
        deadline: float | None,
        known: Mapping[str, bytes] | None = None,
    ) -> dict[str, bytes]:
        """Return metas as soon as one is news, after letting the worker of the test work.

        Raises StillWaiting if the worker has nothing more to do, and there is no news.
        """
        bench: Any = benches.get(self.url)
        if bench is None or not bench.has_worker:
            if bench is not None and not is_news(self.load(task_ids), known):
                raise StillWaiting(bench.why_waiting(task_ids))
            return super().wait(task_ids, deadline, known)
        bench.worker.run_while(lambda: not is_news(self.load(task_ids), known))
        metas = self.load(task_ids)
        if not is_news(metas, known):
            raise StillWaiting(bench.why_waiting(task_ids))
        return metas

    def watch(self) -> Watch:
        """Return a watch for coroutines that await results."""
        return _InlineWatch(self)


class _InlineWatch(Watch):
    """Lets the worker work before it looks, in the thread that looks for all coroutines.

    What waits for a later time is awaited until somebody moves the clock.
    """

    def __init__(self, backend: InlineBackend) -> None:
        super().__init__(backend.load, (0.001, 0.02))
        self._url = backend.url

    def hear(self, timeout: float) -> dict[str, bytes]:
        bench = benches.get(self._url)
        if bench is not None and bench.has_worker:
            bench.worker.run_while(lambda: True, raising=False)
        # So soon the worker may have more to do: a coroutine has moved the clock.
        return super().hear(min(timeout, _AGAIN))
