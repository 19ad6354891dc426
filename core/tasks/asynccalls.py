"""Calls in coroutines: `await task.adelay(...)`, sent without making the loop wait."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from .. import current
from ..messaging.drafts import gathered
from ..messaging.outbox import Outbox
from .asyncresult import AsyncResult
from .awaiting import aside
from .typevars import P, R_co

T = TypeVar("T")

_making = threading.Lock()


def _outbox_of(app: Any) -> Outbox:
    with _making:
        found: Outbox | None = app.__dict__.get("_outbox")
        if found is None:
            found = app.__dict__["_outbox"] = Outbox()
        return found


async def send_aside(app: Any, call: Callable[[], T], *, alone: bool = False) -> T:
    """Return what `call` returns, which sends calls of `app`, without making the loop wait.

    See `Outbox.send`.  Inside `gather` or `batch` it is called here: its messages are gathered.
    With `task_always_eager` the task runs in a thread of its own.
    """
    if gathered.get() is not None:
        return call()
    if "calling" not in app.__dict__:  # the first time, settings are read
        await aside(lambda: app.calling)
    call = functools.partial(_call_for, app, call)
    if app.calling.eager:
        return await aside(call)
    patience = app.calling.producer.publish_timeout
    return await _outbox_of(app).send(call, alone=alone, patience=patience)


def _call_for(app: Any, call: Callable[[], T]) -> T:
    current.set_app(app)
    return call()


class AsyncTaskCalls(Generic[P, R_co]):
    """What a coroutine may do with a task."""

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R_co]:
        """Send a call with these arguments, as `delay`; return its result object."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[R_co]:
        """Send a call, as `apply_async` with the same options; return its result object.

        The loop goes on while a thread speaks with the broker.  Cancelled before it does, nothing
        is sent; after that, the call may have been sent.  Raises what `apply_async` raises.
        """
        task: Any = self
        call = functools.partial(task.apply_async, args, kwargs, **options)
        return await send_aside(task.app, call)


class AsyncSignatureCalls(Generic[R_co]):
    """What a coroutine may do with a signature: chains, groups and chords too."""

    async def adelay(self, *args: Any, **kwargs: Any) -> AsyncResult[R_co]:
        """Send the call, as `delay`; return its result object."""
        return await self.aapply_async(args, kwargs)

    async def aapply_async(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[R_co]:
        """Send the call, as `apply_async` with the same options; return its result object."""
        signature: Any = self
        call = functools.partial(signature.apply_async, args, kwargs, **options)
        # A compound one may ask the backend, and publishes in steps of its own.
        alone = signature.subtask_type is not None
        return await send_aside(signature.app, call, alone=alone)


class AsyncAppCalls:
    """What a coroutine may do with an app."""

    async def asend_task(
        self, name: str, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult[Any]:
        """Send a call of a task by its name, as `send_task`; return its result object."""
        app: Any = self
        return await send_aside(
            app, functools.partial(app.send_task, name, args, kwargs, **options)
        )
