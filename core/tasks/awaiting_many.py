"""Results of several tasks in coroutines: all of them, or each as it comes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import aclosing
from typing import Any, Generic

from .asyncresult import AsyncResult
from .awaiting import aside
from .joining import assert_may_wait, raise_if_failed
from .lookout import lookout_of
from .typevars import R_co


class AwaitableMany(Generic[R_co]):
    """What a coroutine may do with a set of results."""

    def __await__(self) -> Generator[Any, None, list[R_co]]:
        return self.aget().__await__()

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        disable_sync_subtasks: bool = True,
    ) -> list[R_co]:
        """Return the values in order; await all of them up to `timeout` seconds together.

        As `get`: the first failure to be known is raised at once; without `propagate` exceptions
        stand among the values.
        """
        async with aclosing(self.as_completed(timeout, disable_sync_subtasks)) as ended:
            async for result in ended:
                result.maybe_throw(propagate=propagate)
        this: Any = self
        this.tell_waiters()
        values: list[R_co] = this._values()
        return values

    def __aiter__(self) -> AsyncIterator[AsyncResult[R_co]]:
        return self.as_completed()

    async def as_completed(
        self, timeout: float | None = None, disable_sync_subtasks: bool = True
    ) -> AsyncGenerator[AsyncResult[R_co]]:
        """Yield the result of each task as it ends, in the order of completion, failed or not.

        What is yielded is ready: `result.get()`, `result.result` and `result.state` answer at
        once.  Those of nested groups come one by one.  `async for result in results` is this
        without a timeout, which is in seconds and for all of them together.

        Raises TimeoutError at the deadline, and what a task before these in their chain raised.
        """
        if disable_sync_subtasks:
            assert_may_wait()
        this: Any = self
        wanted: dict[str, list[AsyncResult[R_co]]] = {}
        for leaf in this.leaves():
            if leaf._cache is not None:
                yield leaf
            elif not leaf.ignored:
                wanted.setdefault(leaf.id, []).append(leaf)
        if not wanted:
            return
        ancestors = this.open_ancestors()
        own = this.results[0]._backend if isinstance(this.results[0], AsyncResult) else None
        lookout = lookout_of(this.app, own)
        with lookout.party([*ancestors, *wanted], timeout) as metas:
            async for task_id, meta in metas:
                if task_id in ancestors and task_id not in wanted:
                    raise_if_failed(meta)  # what follows a failed task will never run
                for leaf in wanted.pop(task_id, ()):
                    leaf._remember(dict(meta))
                    yield leaf
                if not wanted:
                    return

    async def aready(self) -> bool:
        """Return whether all have ended."""
        return await aside(self.ready)  # type: ignore[attr-defined]

    async def acompleted_count(self) -> int:
        """Return how many have ended well."""
        return await aside(self.completed_count)  # type: ignore[attr-defined]

    async def aforget(self) -> None:
        """Remove what is stored of every task."""
        await aside(self.forget)  # type: ignore[attr-defined]

    async def arevoke(
        self,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Tell all workers not to run these tasks, as `revoke`; return their replies if `wait`."""
        options: dict[str, Any] = {
            "terminate": terminate, "signal": signal, "wait": wait, "timeout": timeout,
        }  # fmt: skip
        return await aside(self.revoke, **options)  # type: ignore[attr-defined]
