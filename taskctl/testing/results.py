"""Results in memory, for which whoever waits lets the worker work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from taskctl.core.backends.base import is_news
from taskctl.core.backends.memory import MemoryBackend
from taskctl.core.errors import TimeoutError

if TYPE_CHECKING:
    from .bench import Bench

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
