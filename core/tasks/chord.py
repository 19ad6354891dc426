"""A group and the task that gets the values of all of it.

Only what its sender does: ids, messages, and the number of parts.  What counts the parts and
calls the body is in `parts` and, for a backend that counts nothing, `celery.chord_unlock`.
Source for shapes on the wire: protocol.md 1.9, 6.4 and 8.1, from Celery 5.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Self, TypeVar, cast, overload
from uuid import uuid4

from .. import current
from ..errors import ImproperlyConfigured
from .asyncresult import AsyncResult
from .compound import without_repeated_module
from .cycles import named_cycle
from .group import group
from .references import body_for_messages
from .signature import Signature, maybe_signature
from .stamping import StampingVisitor, collected
from .typevars import R_co

T = TypeVar("T")

#: Options of a chord that are its own, or its body's, and never a header task's.
_NOT_THE_HEADERS = frozenset(
    {"add_to_parent", "chain", "chord", "group_id", "group_index", "task_id"}
)
#: Options that are the header's, and never the body's: when it begins, and who sends it.
_NOT_THE_BODYS = frozenset({"countdown", "eta", "parent_id", "task_id"})
#: Options of a body that its `celery.chord_unlock` goes by too.
_UNLOCK_OPTIONS = ("queue", "exchange", "exchange_type", "routing_key", "headers", "priority")
#: Seconds until the header is first looked at, where its parts are not counted.
_FIRST_LOOK = 1


@Signature.register_type("chord")
class chord(Signature[R_co], Generic[R_co]):
    """Header tasks that run side by side, and a body that gets the list of their values.

    The result is the body's; its `parent` is the GroupResult of the header.  If a header task
    fails, the body does, with ChordError, when all of them have ended.
    """

    def __init__(
        self,
        header: Any,
        body: Signature[R_co] | None = None,
        task: str = "celery.chord",
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        app: Any = None,
        **options: Any,
    ) -> None:
        parts = {"header": _members(header, app), "body": maybe_signature(body, app=app)}
        super().__init__(task, args, {"kwargs": {}, **(kwargs or {}), **parts}, app=app, **options)
        self.subtask_type = "chord"

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], app: Any = None) -> Signature:
        given = dict(fields.get("kwargs") or {})
        header, body = given.pop("header", ()), given.pop("body", None)
        made = cls(
            header,
            body,
            args=tuple(fields.get("args") or ()),
            kwargs=given,
            app=app,
            options=fields.get("options") or {},
        )
        made.immutable = bool(fields.get("immutable"))
        if isinstance(header, Mapping) and header.get("subtask_type") == "group":
            made.tasks = maybe_signature(header, app=app)  # frozen: it has an id
        return made

    @property
    def tasks(self) -> Any:
        """The header: a list of signatures or, once the chord is frozen, a group."""
        return self["kwargs"]["header"]

    @tasks.setter
    def tasks(self, tasks: Any) -> None:
        self["kwargs"]["header"] = tasks

    @property
    def body(self) -> Any:
        """The signature that gets the values."""
        return self["kwargs"]["body"]

    @body.setter
    def body(self, body: Any) -> None:
        self["kwargs"]["body"] = body

    def header_group(self) -> group:
        """Return the header as a group; it is one from now on."""
        if not isinstance(self.tasks, group):
            self.tasks = group(self.tasks, app=self._app)
        return cast(group, self.tasks)

    @property
    def app(self) -> Any:
        if self._app is not None:
            return self._app
        members = self._header_tasks()
        first = members[0] if members else self.body
        return first.app if first is not None else current.get_app()

    def _header_tasks(self) -> list[Signature]:
        return self.tasks.tasks if isinstance(self.tasks, group) else self.tasks

    # --- making the call ------------------------------------------------------------------

    @overload
    def __call__(self, body: None = None, **options: Any) -> AsyncResult[R_co]: ...
    @overload
    def __call__(self, body: Signature[T], **options: Any) -> AsyncResult[T]: ...
    def __call__(self, body: Any = None, **options: Any) -> Any:
        """Send the chord, with this body if it is given; return the body's result."""
        return self.apply_async((), {"body": body} if body else {}, **options)

    @named_cycle
    def apply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> Any:
        """Send the header, each task with these arguments first; return the body's result.

        `task_id` is the body's, and `link` and `link_error` too; `countdown` and `eta` delay the
        header; other options go to both.  An empty header sends the body, with an empty list.

        Raises ImproperlyConfigured if results are kept where nobody could join them.
        """
        given = dict(kwargs or {})
        body = maybe_signature(given.pop("body", None) or self.body, app=self._app, clone=True)
        assert_body(body)
        args = self.args if self.immutable else (*(args or ()), *self.args)
        kwargs = {**self.kwargs["kwargs"], **given}
        _, _, options = self._merged((), None, {k: v for k, v in options.items() if v is not None})
        options = dict(options)
        _link(body, options.pop("link", None), options.pop("link_error", None))
        if self.app.calling.eager:
            own_id = options.pop("task_id", None)
            return self.apply(args, kwargs, body=body, task_id=task_id or own_id, **options)
        assert_joinable(self.app)
        return self._send(body, args, kwargs, options, task_id or options.get("task_id"))

    def _send(
        self,
        body: Any,
        args: Any,
        kwargs: Mapping[str, Any],
        options: dict[str, Any],
        body_id: str | None,
    ) -> Any:
        """Fix all ids, send the header; `body` is ours to change."""
        group_id = options.get("task_id") or str(uuid4())
        _, _, body.options = body._merged((), None, _without(options, _NOT_THE_BODYS))
        root_id = body.options.get("root_id")
        if body.subtask_type == "chain":
            body.split_chords()  # or every header task would carry the whole rest of the chain
        result = body.freeze(body_id, group_id=group_id, root_id=root_id)
        header = self._header_copy()
        header.options["task_id"] = group_id
        carried = body_for_messages(self.app, body, group_id) if header.tasks else body
        awaited = header.freeze(group_id=group_id, chord=carried, root_id=root_id)
        if header.tasks:
            self._prepare_join(header, awaited, body)
            header.publish(
                header.tasks,
                args,
                kwargs,
                _without(options, _NOT_THE_HEADERS),
                before_last=lambda: self._begin(header),
            )
        else:
            body.apply_async(([],), parent_id=options.get("parent_id"))
        first_of(result).parent = awaited
        calling = current.calling_task()
        if options.get("add_to_parent", True) and calling is not None:
            calling[0].add_trail(awaited)
        return result

    def _header_copy(self) -> group:
        return group(self._header_tasks(), app=self._app).clone()

    def _prepare_join(self, header: group, awaited: Any, body: Signature) -> None:
        """See that somebody joins the parts, before the first of them can end."""
        backend = self.app.backend
        if not backend.counts_parts:
            self._send_unlock(awaited, body)
        elif backend.keeps_headers or any(hasattr(one, "results") for one in awaited.results):
            awaited.save_as_header(backend)

    def _begin(self, header: group) -> None:
        backend = self.app.backend
        if backend.counts_parts:
            backend.begin_chord(header.options["task_id"], sum(map(parts_of, header.tasks)))

    def _send_unlock(self, awaited: Any, body: Signature) -> None:
        """Send the task that looks at the header until all of it is ready (protocol.md 8.5)."""
        options = {k: body.options[k] for k in _UNLOCK_OPTIONS if body.options.get(k) is not None}
        task = body._known_type()
        for name in ("queue", "priority"):
            if task is not None and getattr(task, name, None) is not None:
                options.setdefault(name, getattr(task, name))
        kwargs = {
            "interval": None,
            "max_retries": None,
            "result": [one.as_tuple() for one in awaited.results],
            "_chord_unlock_exchange_type": options.get("exchange_type", "direct"),
        }
        self.app.tasks["celery.chord_unlock"].apply_async(
            (awaited.id, body),
            kwargs,
            countdown=_FIRST_LOOK,
            add_to_parent=False,
            route_name=body.name,
            **options,
        )

    @named_cycle
    def apply(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        propagate: bool = True,
        body: Any = None,
        **options: Any,
    ) -> Any:
        """Run header and body here and now; return the body's result.

        With `propagate`, what a header task raises is raised here.
        """
        body = self.body if body is None else body
        assert_body(body)
        body = body.clone()
        awaited = self._header_copy().apply_all(args, kwargs)
        values = awaited.get(propagate=propagate, disable_sync_subtasks=False)
        result = body.apply((values,), task_id=options.get("task_id"))
        first_of(result).parent = awaited
        return result

    @named_cycle
    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the ids of header and body; return the body's result."""
        assert_body(self.body)
        header = self.header_group()
        # The header tasks get their body when they are sent: a copy in each, in every chord of a
        # chain, would make the message that carries them grow with the square of their number.
        awaited = header.freeze(parent_id=parent_id, root_id=root_id)
        self.options["task_id"] = header.options["task_id"]
        result = self.body.freeze(
            _id, root_id=root_id, chord=chord, group_id=group_id, group_index=group_index
        )
        first_of(result).parent = awaited
        return result

    # --- shaping it -----------------------------------------------------------------------

    def clone(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        given = dict(kwargs or {})
        copy = super().clone(args, None, **options)
        assert isinstance(copy, chord)
        copy.body = maybe_signature(given.pop("body", None) or copy.body, clone=True)
        copy.tasks = [task.clone() for task in copy._header_tasks()]
        copy.kwargs["kwargs"] = {**self.kwargs["kwargs"], **given}
        return copy

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Any:
        chosen = None if visitor is None else visitor.on_chord_header_start(self, **headers) or {}
        headers = collected(headers, chosen, self.options, append=append_stamps)
        self.stamp_links(visitor, append_stamps, **headers)
        for task in self._header_tasks():
            task.stamp(visitor, append_stamps, **headers)
        if visitor is not None:
            visitor.on_chord_header_end(self, **headers)
        if self.body is not None:
            chosen = None if visitor is None else visitor.on_chord_body(self, **headers) or {}
            headers = collected(headers, chosen, self.options, append=append_stamps)
            self.body.stamp(visitor, append_stamps, **headers)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Let the header tasks take no arguments given when they are called, or do."""
        for task in self._header_tasks():
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Send `callback` with the body's value."""
        self.body.link(callback)
        return callback

    def link_error(self, errback: Any) -> Any:
        """Send `errback` when the body fails, which it does when a header task does.

        With `task_allow_error_cb_on_chord_header`, also for each header task that fails.
        """
        errback = maybe_signature(errback)
        everywhere = self.app.conf.task_allow_error_cb_on_chord_header
        for task in self._header_tasks():
            if everywhere:
                task.link_error(errback.clone())
            if isinstance(task, chord):
                task.link_error(errback)
        self.body.link_error(errback)
        return errback

    def __or__(self, other: Signature[T]) -> Signature[T]:  # type: ignore[override]
        """Return the chord whose body goes on with `other`."""
        if isinstance(other, group) and len(other) == 1:
            other = other.tasks[0]
        if not isinstance(other, Signature):
            return NotImplemented
        if other.subtask_type in ("group", "chain"):
            return super().__or__(other)
        joined: Any = self.clone()
        joined.body = joined.body | other
        return joined  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        tasks, body = self._header_tasks(), self.body
        if body is None:
            return f"<chord without body: {tasks!r}>"
        if body.subtask_type == "chain" and body.tasks:
            first, *rest = body.tasks
            text = " | ".join([first.reprcall(tasks), *map(repr, rest)])
            return without_repeated_module(first, f"%({text})")
        return "%" + without_repeated_module(body, body.reprcall(tasks))


def _members(header: Any, app: Any) -> list[Signature]:
    """Return the header tasks of whatever stands for them."""
    header = maybe_signature(header, app=app)
    if isinstance(header, Signature):
        compound = header.subtask_type in ("group", "chain")
        header = header["kwargs"]["tasks"] if compound else [header]
    members = [maybe_signature(task, app=app) for task in header]
    for member in members:
        if not isinstance(member, Signature):
            raise TypeError(f"a chord's header holds signatures, got {member!r}: use task.s(...)")
    return members


def _link(body: Any, callbacks: Any, errbacks: Any) -> None:
    """Give a chord's own callbacks and errbacks to its body."""
    for callback in as_list(callbacks):
        body.link(maybe_signature(callback, app=body._app))
    for errback in as_list(errbacks):
        if isinstance(body, group):
            body.link_error(maybe_signature(errback, app=body._app))
        else:
            body._append_option("link_error", errback)


def as_list(values: Any) -> list[Any]:
    """Return an option that may be one, several or nothing as a list."""
    return list(values) if isinstance(values, list | tuple) else [values] if values else []


def _without(options: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {k: v for k, v in options.items() if k not in names}


def parts_of(signature: Signature) -> int:
    """Return how many parts of a chord a member of its header stands for.

    A task is one, a group as many as its members, a chain as its last step, a chord as its body.
    """
    kind, kwargs = signature.subtask_type, signature["kwargs"]
    if kind == "group":
        return sum(map(parts_of, kwargs["tasks"]))
    if kind == "chain":
        return next(filter(None, map(parts_of, reversed(kwargs["tasks"]))), 0)
    if kind == "chord":
        return parts_of(kwargs["body"])
    return 1


def first_of(result: Any) -> Any:
    """Return the first result of the chain that `result` ends."""
    while result.parent is not None:
        result = result.parent
    return result


def assert_body(body: Any) -> None:
    """Raise ImproperlyConfigured if a chord has nothing that could get its values."""
    if body is None or (body.subtask_type == "chain" and not body["kwargs"]["tasks"]):
        found = "" if body is None else ", not an empty chain"
        raise ImproperlyConfigured(f"a chord needs a body{found}: chord(header)(body)")


def assert_joinable(app: Any) -> None:
    """Raise ImproperlyConfigured if no worker could join a chord of this app."""
    if app.backend.joins_chords:
        return
    scheme = app.backend.url.partition("://")[0]
    found = "there is none" if scheme == "disabled" else f"{scheme}:// gives results to one reader"
    raise ImproperlyConfigured(
        f"a chord (a group followed by a task) needs a result backend that workers share, and "
        f"{found}: set result_backend, for example to 'redis://localhost:6379/0' or 'sqlite://'"
    )
