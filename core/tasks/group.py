"""Tasks that run side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, overload
from uuid import uuid4

from .. import current
from .compound import Compound, members_of, without_repeated_module
from .cycles import named_cycle
from .result import GroupResult
from .signature import Signature, maybe_signature
from .sources import FromSource, checked, told_last
from .stamping import StampingVisitor, collected
from .typevars import R_co

T = TypeVar("T")


@Signature.register_type("group")
class group(FromSource, Compound[list[R_co]], Generic[R_co]):
    """Tasks that run side by side; the result is a GroupResult, in their order."""

    if TYPE_CHECKING:
        # A group is called as any signature is; what it returns is another result.
        def delay(self, *args: Any, **kwargs: Any) -> GroupResult[R_co]: ...  # type: ignore[override]
        async def adelay(self, *args: Any, **kwargs: Any) -> GroupResult[R_co]: ...  # type: ignore[override]
        async def aapply_async(  # type: ignore[override]
            self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
        ) -> GroupResult[R_co]: ...

    @overload
    def __init__(self, tasks: group[R_co], /, **options: Any) -> None: ...
    @overload
    def __init__(self, tasks: Iterable[Signature[R_co]], /, **options: Any) -> None: ...
    @overload
    def __init__(self, /, *tasks: Signature[R_co], **options: Any) -> None: ...
    def __init__(self, /, *tasks: Any, **options: Any) -> None:
        app = options.pop("app", None)
        if len(tasks) == 1 and isinstance(tasks[0], group):
            tasks = (tasks[0].tasks,)
        one_by_one = len(tasks) == 1 and isinstance(tasks[0], Iterator)
        given = tasks[0] if one_by_one else members_of(tasks)
        members = checked(maybe_signature(task, app=app) for task in given)
        listed = self._take(members) if one_by_one else list(members)
        super().__init__("celery.group", (), {"tasks": listed}, options, app=app)
        self.subtask_type = "group"

    @property
    def app(self) -> Any:
        if self._app is not None:
            return self._app
        first = self.first_member()
        return current.get_app() if first is None else first.app

    def __call__(self, *args: Any, **options: Any) -> GroupResult[R_co]:
        """Send all tasks, each with these arguments first."""
        return self.apply_async(args, **options)

    @named_cycle
    def apply_async(  # type: ignore[override]
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        add_to_parent: bool = True,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> GroupResult[R_co]:
        """Send all tasks, in one batch where the broker can; return a GroupResult.

        Raises TypeError for `link` and `link_error`: nothing waits for a whole group.
        """
        if link is not None:
            raise TypeError("a group takes no link: use a chord")
        if link_error is not None:
            raise TypeError("a group takes no link_error: set it on its tasks")
        app = self.app
        made: GroupResult[R_co]
        if app.calling.eager:
            made = self.apply(args, kwargs, **options)
            return made
        if self.first_member() is None:
            made = self.freeze()
            return made
        group_id, options = self._group_options(options)
        results: list[Any] = []
        frozen = self._frozen_tasks(group_id, options.get("root_id"), results)
        self.publish(frozen, args, kwargs, options)
        made = _inner(app.GroupResult(group_id, results))
        calling = current.calling_task()
        if add_to_parent and calling is not None:
            calling[0].add_trail(made)
        return made

    def publish(
        self,
        frozen: Iterable[Signature],
        args: Any,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
        before_last: Callable[[], None] | None = None,
    ) -> None:
        """Send tasks whose ids are fixed; `before_last` is called before the last one."""
        with self.app.calling.producer.batch():
            for task, last in told_last(frozen):
                if last and before_last is not None:
                    before_last()
                task.apply_async(args, kwargs, add_to_parent=False, **options)

    @named_cycle
    def apply(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run all tasks here and now, one by one; return a GroupResult, as `apply_async` does."""
        return _inner(self.apply_all(args, kwargs, **options))

    def apply_all(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run all tasks here and now, as a part of something larger."""
        if not self.tasks:
            return self.freeze()
        group_id, options = self._group_options(options)
        results = [task.clone().apply(args, kwargs, **options) for task in _leaves(self.tasks)]
        return self.app.GroupResult(group_id, results)

    def clone(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Self:
        """Return a copy with more options, and more arguments for each task."""
        copy = super().clone(None, None, **options)
        if (args or kwargs) and not self.immutable:
            copy.tasks = [task.clone(args, kwargs) for task in copy.tasks]
        return copy

    def _group_options(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the group's id, and the options that each of its tasks gets."""
        # Options alone are merged: whoever looks at our `kwargs` has a generator read.
        _, _, merged = Signature(None, options=self.options)._merged((), None, options)
        merged = dict(merged)
        for own in ("group_index", "add_to_parent"):  # of the group, if it is a part itself
            merged.pop(own, None)
        group_id = merged["group_id"] = merged.pop("task_id", None) or str(uuid4())
        return group_id, merged

    def _frozen_tasks(
        self, group_id: str, root_id: str | None, results: list[Any]
    ) -> Iterator[Signature]:
        """Yield the tasks with fixed ids, one by one, and add their results to `results`."""
        for index, task in enumerate(_leaves(self.each_once())):
            task = task.clone()
            results.append(task.freeze(group_id=group_id, root_id=root_id, group_index=index))
            yield task

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
        """Fix the ids of the group and all its tasks; return a GroupResult."""
        options = self.options
        own_id = options.get("task_id") or options.setdefault("task_id", _id or str(uuid4()))
        if group_id:
            options["group_id"] = group_id
        if chord:
            options["chord"] = chord
        if group_index is not None:
            options["group_index"] = group_index
        root_id = options.setdefault("root_id", root_id)
        parent_id = options.setdefault("parent_id", parent_id)
        self.tasks = [task.clone() for task in _leaves(self.tasks)]
        results = [
            task.freeze(
                group_id=group_id,
                chord=chord,
                root_id=root_id,
                parent_id=parent_id,
                group_index=index,
            )
            for index, task in enumerate(self.tasks)
        ]
        return self.app.GroupResult(own_id, results)

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Any:
        chosen = None if visitor is None else visitor.on_group_start(self, **headers) or {}
        headers = collected(headers, chosen, self.options, append=append_stamps)
        self.stamp_links(visitor, append_stamps, **headers)
        for task in self.tasks:
            task.stamp(visitor, append_stamps, **headers)
        if visitor is not None:
            visitor.on_group_end(self, **headers)
        return self

    def skew(self, start: float = 1.0, stop: float | None = None, step: float = 1.0) -> group:
        """Delay each task by `step` seconds more than the one before, `stop` at most."""
        countdown = start
        for task in self.tasks:
            task.set(countdown=countdown)
            countdown += step
            if stop is not None:
                countdown = min(countdown, stop)
        return self

    def set_immutable(self, immutable: bool) -> None:
        for task in self.tasks:
            task.set_immutable(immutable)

    def link(self, callback: Any) -> Any:
        """Send `callback`, without a value, when the first task has succeeded."""
        return self.tasks[0].link(maybe_signature(callback, clone=True).set(immutable=True))

    def link_error(self, errback: Any) -> Any:
        """Send `errback` for each task that fails."""
        errback = maybe_signature(errback)
        return tuple(task.link_error(errback.clone()) for task in self.tasks)

    def __or__(self, other: Signature[T]) -> Signature[T]:  # type: ignore[override]
        """Return the chord of this group and `other`."""
        if isinstance(other, group) and not other.tasks:
            return self  # type: ignore[return-value]  # nothing follows
        if not isinstance(other, Signature):
            return NotImplemented
        return self.TYPES["chord"](self, other, app=self._app)

    def __repr__(self) -> str:
        if not self.tasks:
            return "group(<empty>)"
        return without_repeated_module(self.tasks[0], f"group({self.tasks!r})")


def _inner(made: Any) -> Any:
    """Return what counts of a group's result: of group(task | group(...)) the inner group."""
    return made[0] if len(made) == 1 and hasattr(made[0], "results") else made


def _leaves(members: Iterable[Signature]) -> Iterator[Signature]:
    """Yield the tasks of a group, those of nested groups in place."""
    for task in members:
        if isinstance(task, group):
            yield from _leaves(task.each_once())
        elif task.subtask_type == "chunks":
            parts = _leaves(task.group().tasks)  # type: ignore[attr-defined]  # chunks has it
            yield from (one.clone(**task.options) for one in parts)
        elif not (task.subtask_type == "chain" and not task["kwargs"]["tasks"]):
            yield task
