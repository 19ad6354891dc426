"""The result of one task as a caller holds it.

An id and a line to the backend.  A final state is remembered; every other question goes to the
backend again.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, cast

from .. import current
from ..backends.base import Backend
from ..clock import parse_iso8601
from ..errors import IncompleteStream, TimeoutError
from ..wire.states import FAILURE, PENDING, PROPAGATE_STATES, READY_STATES, SUCCESS
from .arrivals import arrivals
from .awaiting import Awaitable
from .joining import (
    Meta,
    assert_may_wait,
    deadline_after,
    order,
    raise_if_failed,
    read_meta,
    timed_out,
)
from .resultgraph import ResultGraph
from .typevars import R_co


class ResultBase:
    """What every result is: something with a parent, and with tasks at its leaves."""

    #: What the results of a group are made of; `result` fills it in.
    group_class: ClassVar[Callable[..., ResultBase]]

    parent: ResultBase | None = None
    #: Whether many results are waited for at once, as all backends of ours can.
    supports_native_join = True

    def as_tuple(self) -> Any:
        """Return the ids, in the nested form in which results travel."""
        raise NotImplementedError

    def leaves(self) -> list[AsyncResult[Any]]:
        """Return the results of single tasks this one stands for."""
        raise NotImplementedError

    def ancestors(self, headers: bool = True) -> list[AsyncResult[Any]]:
        """Return the results of the tasks before this one in its chain, the first one first.

        Without `headers`, not those of chords: when one fails, so does the body, with ChordError,
        as soon as all have ended.
        """
        found: list[AsyncResult[Any]] = []
        node = self.parent
        while node is not None:
            if headers or isinstance(node, AsyncResult):
                found[:0] = node.leaves()
            node = node.parent
        return found


class AsyncResult(ResultBase, Awaitable[R_co]):
    """The result of one task, wherever it runs."""

    TimeoutError = TimeoutError
    #: The app whose backend is asked; set on the class by `app.AsyncResult`.
    app: Any = None

    def __init__(
        self,
        id: str,
        backend: Backend | None = None,
        task_name: str | None = None,
        app: Any = None,
        parent: ResultBase | None = None,
    ) -> None:
        if id is None:
            raise ValueError("a result needs the id of a task, got None")
        self.id = id
        self.parent = parent
        #: Set when the caller asked for no result: `get` then returns None at once.
        self.ignored = False
        #: Whether the call was refused: this is the result of the earlier one of a unique task.
        self.duplicate = False
        self._task_name = task_name
        self._backend = backend
        self._cache: Meta | None = None
        self._waiters: list[tuple[Callable[..., Any], Callable[..., Any] | None]] = []
        if app is not None:
            self.app = app
        elif self.app is None:
            self.app = current.get_app()

    @property
    def backend(self) -> Backend:
        return self._backend or cast(Backend, self.app.backend)

    @property
    def task_id(self) -> str:
        return self.id

    # --- waiting ------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float | None = None,
        no_ack: bool = True,
        follow_parents: bool = True,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[Meta], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> R_co:
        """Return the task's return value; wait for it up to `timeout` seconds.

        A failed task raises its own exception here, with the worker's traceback as cause;
        without `propagate` the exception is returned.  `follow_parents` also raises for a task
        before this one in its chain.  `interval` is how often (seconds) a backend that polls
        looks, and `on_interval` is called; `callback` gets (id, value); `on_message` the meta.
        `no_ack` is for Celery's sake: results need no ack.

        Raises TimeoutError at the deadline; RuntimeError inside a task, unless
        `disable_sync_subtasks` is false or `allow_join_result` is in force.
        """
        if self.ignored:
            return None  # type: ignore[return-value]  # the caller asked for no result
        if disable_sync_subtasks:
            assert_may_wait()
        if self._cache is None:
            ancestors = self.ancestors(headers=False) if follow_parents and propagate else []
            self._wait(ancestors, timeout, interval, on_interval, on_message)
        value: R_co = self.maybe_throw(propagate=propagate, callback=callback)
        return value

    wait = get

    def _wait(
        self,
        ancestors: list[AsyncResult[Any]],
        timeout: float | None,
        interval: float | None,
        on_interval: Callable[[], Any] | None,
        on_message: Callable[[Meta], Any] | None,
    ) -> None:
        for ancestor in ancestors:
            if ancestor._cache is not None:
                raise_if_failed(ancestor._cache)
        watched = {r.id: r for r in [*ancestors, self] if r._cache is None and not r.ignored}
        coming = arrivals(
            self.app,
            self.backend,
            watched,
            deadline=deadline_after(timeout),
            interval=interval,
            on_interval=on_interval,
        )
        with coming as metas:
            for task_id, meta in metas:
                watched[task_id]._remember(meta)
                if task_id == self.id:
                    if on_message is not None:
                        on_message(meta)
                    return
                raise_if_failed(meta)
        assert timeout is not None
        raise timed_out(self.app, self.backend, [self.id], timeout)

    def then(
        self,
        callback: Callable[[AsyncResult[R_co]], Any],
        on_error: Callable[[BaseException], Any] | None = None,
        weak: bool = False,
    ) -> AsyncResult[R_co]:
        """Call `callback` with this result once it is known to be ready, `on_error` with the
        exception if it failed; known at the latest by `get` or `ready`.  Returns self."""
        self._waiters.append((callback, on_error))
        if self._cache is not None:
            self._tell()
        return self

    def _tell(self) -> None:
        waiters, self._waiters = self._waiters, []
        meta = self._meta()
        for callback, on_error in waiters:
            if on_error is not None and meta["status"] in PROPAGATE_STATES:
                on_error(meta["result"])
            else:
                callback(self)

    def maybe_throw(
        self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None
    ) -> Any:
        """Raise the exception if the task failed, else return what it has as result."""
        meta = self._meta()
        if propagate:
            raise_if_failed(meta)
        if callback is not None:
            callback(self.id, meta["result"])
        return meta["result"]

    maybe_reraise = maybe_throw

    def throw(self, exc: BaseException, *_: Any) -> None:
        """Raise `exc`."""
        raise exc

    # --- looking ------------------------------------------------------------------------

    def _meta(self) -> Meta:
        if self._cache is not None:
            return self._cache
        stored = self.backend.load([self.id]).get(self.id)
        if stored is None:
            return {"status": PENDING, "result": None, "traceback": None, "children": None}
        meta = read_meta(self.app, stored, self.id, self.backend)
        self._remember(meta)
        return meta

    def _remember(self, meta: Meta) -> None:
        """Give the children their shape; keep the meta for ever once it is final."""
        if meta.get("children"):
            meta["children"] = [result_from_tuple(child, self.app) for child in meta["children"]]
        if meta["status"] in READY_STATES:
            self._cache = meta
            self._tell()

    @property
    def state(self) -> str:
        """The state word: PENDING (also if nobody knows the id), STARTED, SUCCESS, ..."""
        return cast(str, self._meta()["status"])

    @property
    def status(self) -> str:
        return self.state

    @property
    def result(self) -> Any:
        """The return value, the exception, or what a custom state carries."""
        return self._meta()["result"]

    @property
    def info(self) -> Any:
        return self.result

    @property
    def traceback(self) -> str | None:
        return self._meta().get("traceback")

    @property
    def children(self) -> list[ResultBase] | None:
        """Results of the calls the task made; None until it is done."""
        return self._meta().get("children")

    @property
    def date_done(self) -> datetime | None:
        """When the task reached its final state."""
        when = self._meta().get("date_done")
        return parse_iso8601(when) if isinstance(when, str) else when

    @property
    def name(self) -> str | None:
        """The task's name; this and the next ones are stored with `result_extended` only."""
        return self._meta().get("name") or self._task_name

    @property
    def args(self) -> Any:
        return self._meta().get("args")

    @property
    def kwargs(self) -> Any:
        return self._meta().get("kwargs")

    @property
    def worker(self) -> str | None:
        return self._meta().get("worker")

    @property
    def retries(self) -> int | None:
        return self._meta().get("retries")

    @property
    def queue(self) -> str | None:
        return self._meta().get("queue")

    def ready(self) -> bool:
        """Return whether the task has ended, well or badly."""
        return self.state in READY_STATES

    def successful(self) -> bool:
        """Return whether the task has ended well."""
        return self.state == SUCCESS

    def failed(self) -> bool:
        """Return whether the task has failed."""
        return self.state == FAILURE

    def exists(self) -> bool:
        """Return whether the backend knows anything of this id."""
        return self.id in self.backend.load([self.id])

    # --- the tree -----------------------------------------------------------------------

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """Yield (parent, result) of this result and all its children, breadth first.

        Raises IncompleteStream at one that is not ready, unless `intermediate`.
        """
        open_ends: deque[tuple[Any, Any]] = deque([(None, self)])
        while open_ends:
            parent, node = open_ends.popleft()
            yield parent, node
            if node.ready():
                open_ends.extend((node, child) for child in node.children or [])
            elif not intermediate:
                raise IncompleteStream(f"{node.id} is not ready: its children are not known yet")

    def collect(self, intermediate: bool = False, **options: Any) -> Iterator[tuple[Any, Any]]:
        """Yield (result, value) of this result and all its children, waiting for each."""
        for _, node in self.iterdeps(intermediate=intermediate):
            yield node, node.get(**options)

    def get_leaf(self) -> Any:
        """Return the value of the last child of the last child."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    def build_graph(self, intermediate: bool = False) -> ResultGraph:
        """Return this result and all its children as a graph; see `iterdeps`."""
        graph = ResultGraph()
        for parent, node in self.iterdeps(intermediate=intermediate):
            graph.add_arc(node)
            if parent is not None:
                graph.add_edge(parent, node)
        return graph

    @functools.cached_property
    def graph(self) -> ResultGraph:
        """This result and all its children, once all of them are ready."""
        return self.build_graph()

    def leaves(self) -> list[AsyncResult[Any]]:
        return [self]

    def as_tuple(self) -> Any:
        parent = self.parent
        return (self.id, parent.as_tuple() if parent is not None else None), None

    def as_list(self) -> list[str]:
        """Return the ids from this one to the first of its chain."""
        return [self.id, *(r.id for r in reversed(self.ancestors()))]

    # --- letting go ---------------------------------------------------------------------

    def forget(self) -> None:
        """Remove what is stored of this task and of those before it in its chain."""
        results = [self, *self.ancestors()]
        for result in results:
            result._cache = None
        self.backend.forget([result.id for result in results])

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Tell all workers not to run this task; `terminate` also ends it if it runs.

        With `wait`, collect their replies for `timeout` seconds and return them.
        """
        return self.app.control.revoke(self.id, **order(terminate, signal, wait, timeout))

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Tell all workers not to run tasks that bear one of these stamps; see `revoke`."""
        options = order(terminate, signal, wait, timeout)
        return self.app.control.revoke_by_stamped_headers(headers, **options)

    # --- as a value -----------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return other.id == self.id
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __copy__(self) -> AsyncResult[R_co]:
        return type(self)(self.id, self._backend, self._task_name, self.app, self.parent)

    def __reduce__(self) -> Any:
        return result_from_tuple, (self.as_tuple(),)


def result_from_tuple(ids: Any, app: Any = None) -> Any:
    """Return the result object for ids in the form of `as_tuple`; a result as it is."""
    if isinstance(ids, ResultBase):
        return ids
    app = app or current.get_app()
    own, members = ids
    task_id, parent = own if isinstance(own, list | tuple) else (own, None)
    if parent:
        parent = result_from_tuple(parent, app)
    if members is None:
        return AsyncResult(task_id, app=app, parent=parent or None)
    results = [result_from_tuple(member, app) for member in members]
    return ResultBase.group_class(task_id, results, parent=parent or None, app=app)
