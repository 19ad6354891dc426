"""A call not yet made: task, arguments and options, as a dict that travels.

The six keys are Celery's (protocol.md 1.9).  The compound kinds (chain, group, ...) register
themselves here by their `subtask_type`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, overload
from uuid import uuid4

from .. import current
from ..errors import ImproperlyConfigured
from ..wire.saferepr import saferepr
from .asynccalls import AsyncSignatureCalls
from .asyncresult import AsyncResult
from .cycles import refuse_cycle
from .eagerresult import EagerResult
from .stamping import Stampable
from .typevars import R_co

S = TypeVar("S", bound="type[Signature]")
T = TypeVar("T")

#: What a caller adds on top never changes these in a signature that has them.
_KEPT_OPTIONS = frozenset({"group_id", "stamped_headers"})


def _key(name: str, doc: str) -> Any:
    def fget(self: Signature) -> Any:
        return self[name]

    def fset(self: Signature, value: Any) -> None:
        self[name] = value

    return property(fget, fset, doc=doc)


class Signature(Stampable, AsyncSignatureCalls[R_co], dict[str, Any], Generic[R_co]):
    """A call of one task, to be made later, elsewhere, or with more arguments.

    Arguments given when it is called come before its own, unless it is immutable; options and
    keyword arguments given then win over its own.
    """

    #: subtask_type -> class of the compound kinds.
    TYPES: ClassVar[dict[str, type[Signature]]] = {}
    _app: Any = None
    _type: Any = None

    task = _key("task", "Name of the task.")
    args = _key("args", "Positional arguments.")
    kwargs = _key("kwargs", "Keyword arguments.")
    options = _key("options", "Options of `apply_async`.")
    subtask_type = _key("subtask_type", "Kind of a compound signature, or None.")
    immutable = _key("immutable", "Whether arguments given when it is called are left out.")

    def __init__(
        self,
        task: Any = None,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        type: Any = None,
        subtask_type: str | None = None,
        immutable: bool = False,
        app: Any = None,
        **more: Any,
    ) -> None:
        self._app = app
        if isinstance(task, Mapping):
            super().__init__(_EMPTY | dict(task))
            self["args"] = tuple(self["args"] or ())
            self["kwargs"] = dict(self["kwargs"] or {})
            self["options"] = dict(self["options"] or {})
            return
        if not isinstance(task, str | None):
            type = type or task
            task = task.name
        self._type = type
        super().__init__(
            task=task,
            args=tuple(args or ()),
            kwargs=dict(kwargs or {}),
            options={**(options or {}), **more},
            subtask_type=subtask_type,
            immutable=immutable,
        )

    @classmethod
    def register_type(cls, name: str | None = None) -> Callable[[S], S]:
        """Return a class decorator that makes a kind of signature known."""

        def register(kind: S) -> S:
            cls.TYPES[name or kind.__name__] = kind
            return kind

        return register

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], app: Any = None) -> Signature:
        """Return the signature a dict describes, of the right kind.

        Raises ImproperlyConfigured for a kind that is not known.
        """
        kind = fields.get("subtask_type")
        if not kind:
            return Signature(fields, app=app)
        if kind not in cls.TYPES:
            raise ImproperlyConfigured(
                f"unknown kind of signature {kind!r}: known are {', '.join(cls.TYPES)}"
            )
        return cls.TYPES[kind].from_dict(fields, app=app)

    # --- making the call ------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task here and now, as a function."""
        args, kwargs, _ = self._merged(args, kwargs, {})
        return self.type(*args, **kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult[R_co]:
        """Send the call; see `apply_async`."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> AsyncResult[R_co]:
        """Send the call with more arguments and options; return its result object."""
        given = {k: v for k, v in options.items() if v is not None}
        args, kwargs, options = self._merged(args, kwargs, given)
        task = self._known_type()
        result: AsyncResult[R_co]
        if task is None:
            result = self.app.send_task(self.task, args, kwargs, **options)
        else:
            result = task.apply_async(args, kwargs, **options)
        return result

    def apply(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult[R_co]:
        """Run the call here and now as a worker would; return an EagerResult."""
        given = {k: v for k, v in options.items() if v is not None}
        args, kwargs, options = self._merged(args, kwargs, given)
        result: EagerResult[R_co] = self.type.apply(args, kwargs, **options)
        return result

    def __invert__(self) -> R_co:
        """Send the call and wait for its value."""
        return self.apply_async().get()

    def _merged(
        self, args: Any, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
        """Return arguments and options of a call with these given on top."""
        own = self.options
        merged = own
        if options:
            kept = _KEPT_OPTIONS.union(own.get("stamped_headers") or ())
            merged = {
                **own,
                **{k: v for k, v in options.items() if k not in kept or k not in own},
            }
        if self.immutable:
            return self.args, self.kwargs, merged
        return (
            (*args, *self.args) if args else tuple(self.args),
            {**self.kwargs, **kwargs} if kwargs else self.kwargs,
            merged,
        )

    # --- shaping it -----------------------------------------------------------------------

    def clone(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """Return a copy with more arguments and options."""
        args, kwargs, options = self._merged(args, kwargs, options)
        copy: Any = Signature.from_dict(
            {
                "task": self.task,
                "args": tuple(args),
                "kwargs": dict(kwargs),
                "options": {k: _copied(v) for k, v in options.items()},
                "subtask_type": self.subtask_type,
                "immutable": self.immutable,
            },
            app=self._app,
        )
        copy._type = self._type
        return copy  # type: ignore[no-any-return]  # of the same kind

    partial = clone

    def replace(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> Self:
        """Return a copy with these in place of its own."""
        copy = self.clone()
        if args is not None:
            copy.args = args
        if kwargs is not None:
            copy.kwargs = kwargs
        if options is not None:
            copy.options = options
        return copy

    def set(self, immutable: bool | None = None, **options: Any) -> Self:
        """Set options of the call; return self."""
        if immutable is not None:
            self.set_immutable(immutable)
        self.options.update(options)
        return self

    def set_immutable(self, immutable: bool) -> None:
        """Leave out arguments given when it is called, or not."""
        self.immutable = immutable

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the id the call will have; return its result object, before it is made."""
        options = self.options
        task_id = options.get("task_id") or options.setdefault("task_id", _id or str(uuid4()))
        if root_id:
            options["root_id"] = root_id
        if parent_id:
            options["parent_id"] = parent_id
        if "reply_to" not in options:
            options["reply_to"] = self.app.thread_oid
        if group_id and "group_id" not in options:
            options["group_id"] = group_id
        if chord:
            options["chord"] = chord
        if group_index is not None:
            options["group_index"] = group_index
        return self.AsyncResult(task_id)

    def AsyncResult(self, task_id: str) -> Any:
        """Return the result object of a call of this task."""
        task = self._known_type()
        return (self.app if task is None else task).AsyncResult(task_id)

    def link(self, callback: Any) -> Any:
        """Send `callback` with the value when the task has succeeded; return it."""
        return self._append_option("link", callback)

    def link_error(self, errback: Any) -> Any:
        """Send `errback` when the task has failed; return it."""
        return self._append_option("link_error", errback)

    def on_error(self, errback: Any) -> Self:
        """Send `errback` when the task has failed; return self."""
        self.link_error(errback)
        return self

    def _append_option(self, name: str, value: Any) -> Any:
        refuse_cycle(self, value)
        values = self.options.get(name)
        values = list(values) if isinstance(values, list | tuple) else [values] if values else []
        if value not in values:
            values.append(value)
        self.options[name] = values
        return value

    def _extend_option(self, name: str, values: Any) -> None:
        for value in values if isinstance(values, list | tuple) else [values] if values else []:
            self._append_option(name, value)

    def flatten_links(self) -> list[Any]:
        """Return this signature and all its callbacks, and theirs."""
        nested = [link.flatten_links() for link in self._links("link")]
        return [self, *(one for part in nested for one in part)]

    def _links(self, option: str) -> list[Any]:
        """Return the callbacks (`link`) or errbacks (`link_error`), as signatures."""
        links = self.options.get(option) or []
        links = links if isinstance(links, list | tuple) else [links]
        return [maybe_signature(link, app=self._app) for link in links]

    def __or__(self, other: Signature[T]) -> Signature[T]:  # type: ignore[override]
        """Return the chain of this and `other`."""
        if not isinstance(other, Signature):
            return NotImplemented
        return self.TYPES["chain"](self, other, app=self._app)

    def __ror__(self, other: Signature) -> Signature[R_co]:  # type: ignore[override]
        """Return the chain of `other` and this; to checkers, what `|` is of two signatures."""
        return other.__or__(self) if isinstance(other, Signature) else NotImplemented

    def __ior__(self, other: Signature[T]) -> Signature[T]:  # type: ignore[override]
        """Return the chain of this and `other`."""  # where dict would merge
        return self.__or__(other)

    # --- what it is -----------------------------------------------------------------------

    @property
    def app(self) -> Any:
        return self._app if self._app is not None else current.get_app()

    @property
    def type(self) -> Any:
        """The task; raises NotRegistered if this app does not know it."""
        return self._type if self._type is not None else self.app.tasks[self.task]

    def _known_type(self) -> Any:
        return self._type if self._type is not None else self.app.tasks.get(self.task)

    @property
    def name(self) -> str:
        return cast(str, self.task)

    @property
    def id(self) -> str | None:
        return cast("str | None", self.options.get("task_id"))

    @property
    def parent_id(self) -> str | None:
        return cast("str | None", self.options.get("parent_id"))

    @property
    def root_id(self) -> str | None:
        return cast("str | None", self.options.get("root_id"))

    def reprcall(self, *args: Any, **kwargs: Any) -> str:
        """Return the call as text, with these arguments added."""
        args, kwargs, _ = self._merged(args, kwargs, {})
        texts = [saferepr(arg) for arg in args]
        texts += [f"{name}={saferepr(value)}" for name, value in kwargs.items()]
        return f"{self.task}({', '.join(texts)})"

    def __repr__(self) -> str:
        return self.reprcall()

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copy = memo[id(self)] = self.clone()
        return copy

    def __reduce__(self) -> Any:
        return signature, (dict(self),)


_EMPTY: dict[str, Any] = {
    "task": None,
    "args": (),
    "kwargs": {},
    "options": {},
    "subtask_type": None,
    "immutable": False,
}


@overload
def signature(varies: Signature[T], *args: Any, **kwargs: Any) -> Signature[T]: ...
@overload
def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature: ...
def signature(varies: Any, *args: Any, **kwargs: Any) -> Signature:
    """Return a signature of a task, a task's name, or a dict; of a signature, a copy."""
    app = kwargs.get("app")
    if isinstance(varies, Signature):
        return varies.clone()
    if isinstance(varies, Mapping):
        return Signature.from_dict(varies, app=app)
    return Signature(varies, *args, **kwargs)


def maybe_signature(given: Any, app: Any = None, clone: bool = False) -> Any:
    """Return a signature of a signature or dict, bound to `app` if it has none; None as None."""
    if given is None:
        return None
    if isinstance(given, Signature):
        given = given.clone() if clone else given
    elif isinstance(given, Mapping):
        given = Signature.from_dict(given, app=app)
    else:
        return given
    if app is not None and given._app is None:
        given._app = app
    return given


def _copied(value: Any) -> Any:
    """Copy an option as deep as `link` and `freeze` may change it."""
    if isinstance(value, Signature):
        return value.clone()
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return dict(value) if type(value) is dict else value
