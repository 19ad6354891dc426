"""A result in coroutines: `await result`, and questions that never block the loop.

Whoever waits here does so through the lookout of the process; everything else that asks a server
does it in a thread (`aside`).
"""

from __future__ import annotations

import contextvars
import functools
import os
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .joining import Meta, assert_may_wait, raise_if_failed
from .lookout import lookout_of
from .typevars import R_co

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

T = TypeVar("T")

#: Questions and commands of coroutines that are under way at once; more wait for their turn.
_AT_ONCE = 8
_executors: dict[int, ThreadPoolExecutor] = {}


async def aside(function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Return what the function returns in a thread, where it may wait for a server.

    It sees the caller's context.  Cancelled before it has begun, it is not called.
    """
    # Whoever comes here has a loop; a worker without coroutines never loads what they need.
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    pid = os.getpid()
    executor = _executors.get(pid)
    if executor is None:  # one inherited through a fork has no threads
        made = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="taskctl-aside")
        executor = _executors.setdefault(pid, made)
    call = functools.partial(contextvars.copy_context().run, function, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(executor, call)


class Awaitable(Generic[R_co]):
    """What a coroutine may do with the result of one task."""

    id: str
    app: Any
    ignored: bool
    _backend: Any
    _cache: Meta | None

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.aget().__await__()

    async def aget(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        *,
        follow_parents: bool = True,
        disable_sync_subtasks: bool = True,
    ) -> R_co:
        """Return the task's return value; await it up to `timeout` seconds.

        As `get`, and all that wait in a process share one thread.  `await result` is short for
        `await result.aget()`.  A wait that is cancelled leaves nothing behind; the task runs on.

        Raises TimeoutError at the deadline, RuntimeError inside a task, as `get` does.
        """
        this: Any = self
        if self.ignored:
            return None  # type: ignore[return-value]  # the caller asked for no result
        if disable_sync_subtasks:
            assert_may_wait()
        if self._cache is None:
            follow = follow_parents and propagate
            await self._arrival(this.ancestors(headers=False) if follow else [], timeout)
        value: R_co = this.maybe_throw(propagate=propagate)
        return value

    async def _arrival(self, ancestors: list[Any], timeout: float | None) -> None:
        """Remember the meta once it is final; raise if a task before this one has failed."""
        for ancestor in ancestors:
            if ancestor._cache is not None:
                raise_if_failed(ancestor._cache)
        this: Any = self
        watched = {r.id: r for r in [*ancestors, this] if r._cache is None and not r.ignored}
        lookout = lookout_of(self.app, self._backend)
        with lookout.party(watched, timeout) as metas:
            async for task_id, meta in metas:
                watched[task_id]._remember(meta)
                if task_id == self.id:
                    return
                raise_if_failed(meta)

    async def astate(self) -> str:
        """Return the state word, as `state`."""
        return await aside(lambda: str(self.state))  # type: ignore[attr-defined]

    async def ainfo(self) -> Any:
        """Return the value, the exception, or what a custom state carries, as `info`."""
        return await aside(lambda: self.info)  # type: ignore[attr-defined]

    async def aready(self) -> bool:
        """Return whether the task has ended, well or badly."""
        return await aside(self.ready)  # type: ignore[attr-defined]

    async def aforget(self) -> None:
        """Remove what is stored of this task, as `forget`."""
        await aside(self.forget)  # type: ignore[attr-defined]

    async def arevoke(
        self,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Tell all workers not to run this task, as `revoke`; return their replies if `wait`."""
        options: dict[str, Any] = {
            "terminate": terminate, "signal": signal, "wait": wait, "timeout": timeout,
        }  # fmt: skip
        return await aside(self.revoke, **options)  # type: ignore[attr-defined]
