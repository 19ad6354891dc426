"""Results of several tasks as a caller holds them; and, from here, every kind of result.

Questions about all members are one trip to the backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

from .. import current
from ..backends.base import Backend
from ..errors import DecodeError, SecurityError
from ..redact import mask_url
from ..wire import codecs
from ..wire.result_meta import compress, decode_stored
from ..wire.states import FAILURE, PENDING, READY_STATES, SUCCESS
from .arrivals import arrivals, stored
from .asyncresult import AsyncResult, ResultBase, result_from_tuple
from .awaiting_many import AwaitableMany
from .eagerresult import EagerResult
from .joining import (
    Meta,
    allow_join_result,
    assert_may_wait,
    deadline_after,
    denied_join_result,
    order,
    raise_if_failed,
    read_meta,
    timed_out,
)
from .typevars import R_co

__all__ = [
    "AsyncResult",
    "EagerResult",
    "GroupResult",
    "ResultBase",
    "ResultSet",
    "allow_join_result",
    "denied_join_result",
    "result_from_tuple",
]


class ResultSet(ResultBase, AwaitableMany[R_co]):
    """The results of several tasks; questions about all of them are one trip to the backend."""

    #: The app; set on the class by `app.ResultSet` and `app.GroupResult`.
    _app: Any = None

    def __init__(self, results: Iterable[Any], app: Any = None, **_: Any) -> None:
        self.results: list[Any] = list(results)
        if app is not None:
            self._app = app
        self._waiters: list[Callable[..., Any]] = []

    @property
    def app(self) -> Any:
        if self._app is None:
            self._app = (self.results[0].app if self.results else None) or current.get_app()
        return self._app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def backend(self) -> Backend:
        own = self.results[0]._backend if self.results and self._is_one(self.results[0]) else None
        return own or cast(Backend, self.app.backend)

    @staticmethod
    def _is_one(result: Any) -> bool:
        return isinstance(result, AsyncResult)

    # --- members ------------------------------------------------------------------------

    def add(self, result: Any) -> None:
        """Add a result, if it is not in the set."""
        if result not in self.results:
            self.results.append(result)

    def remove(self, result: Any) -> None:
        """Remove a result (or id); raises KeyError if it is not in the set."""
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(str(result)) from None

    def discard(self, result: Any) -> None:
        """Remove a result (or id), if it is in the set."""
        if result in self.results:
            self.results.remove(result)

    def update(self, results: Iterable[Any]) -> None:
        """Add several results."""
        for result in results:
            self.add(result)

    def clear(self) -> None:
        """Remove all results from the set; nothing is forgotten."""
        self.results.clear()

    def leaves(self) -> list[AsyncResult[Any]]:
        return [leaf for result in self.results for leaf in result.leaves()]

    # --- looking ------------------------------------------------------------------------

    def _states(self) -> list[str]:
        """Return the state of every leaf, in order, with few questions for all that are open."""
        leaves = self.leaves()
        open_ids = [leaf.id for leaf in leaves if leaf._cache is None]
        found = {
            task_id: read_meta(self.app, data, task_id, self.backend)
            for task_id, data in stored(self.backend, open_ids)
        }
        for leaf in leaves:
            if leaf._cache is None and leaf.id in found:
                leaf._remember(dict(found[leaf.id]))
        metas = (leaf._cache or found.get(leaf.id) for leaf in leaves)
        return [PENDING if meta is None else meta["status"] for meta in metas]

    def ready(self) -> bool:
        """Return whether all have ended."""
        return all(state in READY_STATES for state in self._states())

    def waiting(self) -> bool:
        """Return whether any has not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """Return whether all have ended well."""
        return all(state == SUCCESS for state in self._states())

    def failed(self) -> bool:
        """Return whether any has failed."""
        return any(state == FAILURE for state in self._states())

    def completed_count(self) -> int:
        """Return how many have ended well."""
        return self._states().count(SUCCESS)

    def maybe_throw(
        self, callback: Callable[[str, Any], Any] | None = None, propagate: bool = True
    ) -> None:
        """Raise the first failure there is."""
        self._states()
        for leaf in self.leaves():
            leaf.maybe_throw(propagate=propagate, callback=callback)

    maybe_reraise = maybe_throw

    # --- waiting ------------------------------------------------------------------------

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float | None = None,
        callback: Callable[[str, Any], Any] | None = None,
        no_ack: bool = True,
        on_message: Callable[[Meta], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
    ) -> list[R_co]:
        """Return the values in order; wait for all of them up to `timeout` seconds together.

        The first failure to be known is raised at once; without `propagate` exceptions stand
        among the values.  With `callback`, each (id, value) is handed to it as it arrives and
        the list is empty.  The other options are those of `AsyncResult.get`.
        """
        if disable_sync_subtasks:
            assert_may_wait()
        for leaf, meta in self._arriving(timeout, interval, on_interval):
            if on_message is not None:
                on_message(meta)
            leaf.maybe_throw(propagate=propagate, callback=callback)
        self.tell_waiters()
        return [] if callback is not None else self._values()

    join = get
    join_native = get

    def tell_waiters(self) -> None:
        """Call what `then` was given, once."""
        for told in self._waiters[:]:
            self._waiters.remove(told)
            told(self)

    def iter_native(
        self,
        timeout: float | None = None,
        interval: float | None = None,
        no_ack: bool = True,
        on_message: Callable[[Meta], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[tuple[str, Meta]]:
        """Yield (id, meta) of each task as it ends."""
        for leaf, meta in self._arriving(timeout, interval, on_interval):
            if on_message is not None:
                on_message(meta)
            yield leaf.id, meta

    def then(
        self,
        callback: Callable[[Any], Any],
        on_error: Callable[[BaseException], Any] | None = None,
        weak: bool = False,
    ) -> ResultSet[R_co]:
        """Call `callback` with this set once `get` has found all of it ready."""
        self._waiters.append(callback)
        return self

    def _arriving(
        self,
        timeout: float | None,
        interval: float | None,
        on_interval: Callable[[], Any] | None,
    ) -> Iterator[tuple[AsyncResult[Any], Meta]]:
        """Yield each leaf and its meta: the known ones first, then as they end."""
        wanted: dict[str, list[AsyncResult[Any]]] = {}
        for leaf in self.leaves():
            if leaf._cache is not None:
                yield leaf, leaf._cache
            elif not leaf.ignored:
                wanted.setdefault(leaf.id, []).append(leaf)
        ancestors = self.open_ancestors()
        coming = arrivals(
            self.app,
            self.backend,
            [*ancestors, *wanted],
            deadline=deadline_after(timeout),
            interval=interval,
            on_interval=on_interval,
        )
        if not wanted:
            return
        with coming as metas:
            for task_id, meta in metas:
                if task_id in ancestors and task_id not in wanted:
                    raise_if_failed(meta)  # what follows a failed task will never run
                for leaf in wanted.pop(task_id, ()):
                    leaf._remember(meta)
                    yield leaf, meta
                if not wanted:
                    return
        assert timeout is not None
        raise timed_out(self.app, self.backend, list(wanted), timeout)

    def open_ancestors(self) -> dict[str, AsyncResult[Any]]:
        """Return the results before these in their chain that are not known to be ready."""
        before = self.ancestors(headers=False)
        return {r.id: r for r in before if r._cache is None and not r.ignored}

    def _values(self) -> list[Any]:
        return [r._values() if isinstance(r, ResultSet) else _value(r) for r in self.results]

    # --- letting go ---------------------------------------------------------------------

    def forget(self) -> None:
        """Remove what is stored of every task."""
        leaves = self.leaves()
        for leaf in leaves:
            leaf._cache = None
        self.backend.forget([leaf.id for leaf in leaves])

    def revoke(
        self,
        connection: Any = None,
        terminate: bool = False,
        signal: str | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """Tell all workers not to run these tasks; see `AsyncResult.revoke`."""
        ids = [leaf.id for leaf in self.leaves()]
        return self.app.control.revoke(ids, **order(terminate, signal, wait, timeout))

    # --- as a value -----------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __eq__(self, other: object) -> bool:
        return other.results == self.results if isinstance(other, ResultSet) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(r.id for r in self.results)}]>"


class GroupResult(ResultSet[R_co]):
    """The results of a group: a set with an id of its own, which can be saved."""

    def __init__(
        self,
        id: str | None = None,
        results: Iterable[Any] | None = None,
        parent: ResultBase | None = None,
        app: Any = None,
        **_: Any,
    ) -> None:
        self.id = id
        self.parent = parent
        super().__init__(results or (), app=app)

    @property
    def children(self) -> list[Any]:
        return self.results

    def as_tuple(self) -> Any:
        parent = self.parent
        ids = (self.id, parent.as_tuple() if parent is not None else None)
        return ids, [result.as_tuple() for result in self.results]

    def save(self, backend: Backend | None = None) -> None:
        """Keep the ids of this group in the backend, for `restore`."""
        assert self.id is not None, "a group needs an id to be saved"
        kept_by = backend or self.backend
        kept_by.store_group(self.id, self._encoded(kept_by))

    def save_as_header(self, backend: Backend) -> None:
        """Keep the ids of this group for as long as the chord lasts that it is the header of."""
        assert self.id is not None, "a chord needs an id to be joined"
        backend.keep_header(self.id, self._encoded(backend))

    def _encoded(self, backend: Backend) -> bytes:
        conf = self.app.conf
        data = codecs.encode({"result": self.as_tuple()}, conf.result_serializer)[2]
        if conf.result_compression and backend.compresses:
            data = compress(data, conf.result_compression)
        return data

    def delete(self, backend: Backend | None = None) -> None:
        """Remove the ids that `save` kept; the results stay."""
        assert self.id is not None, "a group without an id was never saved"
        (backend or self.backend).forget_group(self.id)

    @classmethod
    def restore(
        cls, id: str, backend: Backend | None = None, app: Any = None
    ) -> GroupResult[Any] | None:
        """Return the group saved under `id`, or None.

        Raises DecodeError, ContentDisallowed or SecurityError, naming group and backend, if what
        is stored there cannot be read.
        """
        app = app or current.get_app()
        kept_by = backend or app.backend
        data = kept_by.load_group(id)
        if data is None:
            return None
        return cast("GroupResult[Any]", read_group(app, data, id, kept_by))

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            mine = (self.id, self.results, self.parent)
            return mine == (other.id, other.results, other.parent)
        if isinstance(other, str):
            return other == self.id
        return NotImplemented

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        members = ", ".join(str(result.id) for result in self.results)
        return f"<{type(self).__name__}: {self.id} [{members}]>"

    def __reduce__(self) -> Any:
        return result_from_tuple, (self.as_tuple(),)


ResultBase.group_class = GroupResult


def read_group(app: Any, data: bytes, group_id: str, backend: Backend) -> Any:
    """Return the results whose ids a saved group holds."""
    conf = app.conf
    accept = conf.result_accept_content or conf.accept_content
    try:
        value = decode_stored(data, conf.result_serializer, accept)
        return result_from_tuple(value["result"] if isinstance(value, dict) else value, app)
    except (DecodeError, SecurityError) as exc:
        raise type(exc)(f"{_group_in(group_id, backend)} cannot be read: {exc}") from exc
    except (LookupError, TypeError, ValueError) as exc:
        text = f"{_group_in(group_id, backend)} cannot be read: it is no tuple of ids"
        raise DecodeError(text) from exc


def _group_in(group_id: str, backend: Backend) -> str:
    return f"the group {group_id} saved in {mask_url(backend.url)}"


def _value(result: AsyncResult[Any]) -> Any:
    return None if result.ignored else result.result
