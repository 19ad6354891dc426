"""Compound signatures: chain and group.

Only ids and messages are made here; what runs next is decided where a task ends (`execute`).
Source for shapes on the wire: protocol.md 1.9 and 1.3.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NoReturn, cast
from uuid import uuid4

from .. import current
from ..errors import ImproperlyConfigured
from .signature import NEEDS_CHORD, Signature, maybe_signature, signature

__all__ = ["chain", "chord", "group", "maybe_signature", "signature"]


def _members(tasks: tuple[Any, ...]) -> list[Any]:
    """Return the members given one by one, or as one iterable."""
    if len(tasks) == 1 and not isinstance(tasks[0], Mapping):
        return list(tasks[0])
    return list(tasks)


class _Compound(Signature):
    """What chain and group share: members under `kwargs.tasks`."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], app: Any = None) -> Signature:
        tasks = [maybe_signature(task, app=app) for task in fields["kwargs"]["tasks"]]
        made = cls(tasks, app=app, **fields.get("options") or {})
        made.args = tuple(fields.get("args") or ())
        made.immutable = bool(fields.get("immutable"))
        return made

    @property
    def tasks(self) -> list[Signature]:
        """The members."""
        return cast("list[Signature]", self["kwargs"]["tasks"])

    @tasks.setter
    def tasks(self, tasks: list[Signature]) -> None:
        self["kwargs"]["tasks"] = tasks

    def clone(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Signature:
        copy = super().clone(args, None, **options)
        assert isinstance(copy, _Compound)
        copy.tasks = [task.clone() for task in copy.tasks]
        return copy

    @property
    def app(self) -> Any:
        if self._app is not None:
            return self._app
        return self.tasks[0].app if self.tasks else current.get_app()

    def __len__(self) -> int:
        return len(self.tasks)

    def __bool__(self) -> bool:
        return True


@Signature.register_type("chain")
class chain(_Compound):
    """One task after the other, each with the value of the one before as its first argument.

    The result is that of the last task; its `parent` is the one before.
    """

    def __init__(self, *tasks: Any, **options: Any) -> None:
        app = options.pop("app", None)
        members = _flat_chain(_members(tasks), app)
        super().__init__("celery.chain", (), {"tasks": members}, options, app=app)
        self.subtask_type = "chain"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send the chain; an empty one does nothing and returns None."""
        return self.apply_async(args, kwargs) if self.tasks else None

    def apply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        """Send the first task, the others in its luggage; return the last one's result.

        `link` is for the last task, `link_error` for each, `task_id` is the last one's; other
        options go to the first.
        """
        if not self.tasks:
            return None
        app = self.app
        if app.calling.eager:
            return self.apply(args, kwargs, **options)
        options = {**self.options, **{k: v for k, v in options.items() if v is not None}}
        link = options.pop("link", None)
        steps, results = self._prepared(
            [task.clone() for task in self.tasks],
            () if self.immutable else args,
            None if self.immutable else kwargs,
            task_id=options.pop("task_id", None),
            link_error=options.pop("link_error", None),
            **{
                name: options.pop(name, None)
                for name in ("root_id", "parent_id", "group_id", "group_index", "chord")
            },
        )
        steps[0]._extend_option("link", link)
        first = steps.pop()
        if steps or options.get("chain"):
            # Reversed, as it travels: the next task is the last one of the list.
            options["chain"] = [*(options.get("chain") or ()), *steps]
        sent = first.apply_async(**options)
        return results[0] if steps else sent

    def _prepared(
        self,
        tasks: list[Signature],
        args: Any,
        kwargs: Mapping[str, Any] | None,
        *,
        task_id: str | None = None,
        link_error: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        **last: Any,
    ) -> tuple[list[Signature], list[Any]]:
        """Return the tasks with fixed ids and their results, both last one first."""
        first = tasks[0]
        if (args or kwargs) and not first.immutable:
            tasks = [first.clone(args, kwargs), *tasks[1:]]
        steps: list[Signature] = []
        results: list[Any] = []
        for task in reversed(tasks):
            if steps:
                result = task.freeze(root_id=root_id)
                if results[-1].parent is None:
                    results[-1].parent = result
            else:
                result = task.freeze(task_id, root_id=root_id, **last)
            if parent_id and len(steps) == len(tasks) - 1:
                task.options["parent_id"] = parent_id
            task._extend_option("link_error", link_error)
            steps.append(task)
            results.append(result)
        return steps, results

    def freeze(
        self,
        _id: str | None = None,
        group_id: str | None = None,
        chord: Any = None,
        root_id: str | None = None,
        parent_id: str | None = None,
        group_index: int | None = None,
    ) -> Any:
        """Fix the ids of all tasks; return the last one's result."""
        _, results = self._prepared(
            self.tasks,
            (),
            None,
            task_id=_id,
            root_id=root_id,
            parent_id=parent_id,
            group_id=group_id,
            chord=chord,
            group_index=group_index,
        )
        return results[0]

    def apply(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run the tasks here and now, one after the other; return the last one's result."""
        options = {**self.options, **options}
        link = options.pop("link", None)
        last: Any = None
        for position, task in enumerate(self.tasks, 1):
            task = task.clone()
            if position == len(self.tasks):
                task._extend_option("link", link)
            if last is None:
                result = task.apply(args, kwargs, **options)
            else:
                result = task.apply((last.get(),), **options)
                result.parent = last
            last = result
        return last

    def unchain_tasks(self) -> list[Signature]:
        """Return copies of the tasks, with the chain's own callbacks and errbacks on them."""
        tasks = [task.clone() for task in self.tasks]
        if tasks:
            tasks[-1]._extend_option("link", self.options.get("link"))
        for task in tasks:
            task._extend_option("link_error", self.options.get("link_error"))
        return tasks

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<{type(self).__name__}@{id(self):#x}: empty>"
        return _without_repeated_module(self.tasks[0], " | ".join(map(repr, self.tasks)))


def _flat_chain(members: list[Any], app: Any) -> list[Signature]:
    """Return the steps of a chain: nested chains spliced, groups of one unrolled.

    Raises ImproperlyConfigured where a step would have to wait for a whole group.
    """
    steps: list[Signature] = []
    for member in members:
        member = maybe_signature(member, app=app)
        if not isinstance(member, Signature):
            raise TypeError(f"a chain holds signatures, got {member!r}: use task.s(...)")
        if isinstance(member, chain):
            parts = member.unchain_tasks() if len(members) > 1 else member.tasks
        elif isinstance(member, group) and len(member) <= 1:
            parts = _flat_chain(member.tasks, app)
        else:
            parts = [member]
        if parts and steps and isinstance(steps[-1], group):
            raise ImproperlyConfigured(NEEDS_CHORD)
        steps += parts
    return steps


@Signature.register_type("group")
class group(_Compound):
    """Tasks that run side by side; the result is a GroupResult, in their order."""

    def __init__(self, *tasks: Any, **options: Any) -> None:
        app = options.pop("app", None)
        if len(tasks) == 1 and isinstance(tasks[0], group):
            tasks = (tasks[0].tasks,)
        members = [maybe_signature(t, app=app) for t in _members(tasks)]
        for member in members:
            if not isinstance(member, Signature):
                raise TypeError(f"a group holds signatures, got {member!r}: use task.s(...)")
        super().__init__("celery.group", (), {"tasks": members}, options, app=app)
        self.subtask_type = "group"

    def __call__(self, *args: Any, **options: Any) -> Any:
        """Send all tasks, each with these arguments first."""
        return self.apply_async(args, **options)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        add_to_parent: bool = True,
        link: Any = None,
        link_error: Any = None,
        **options: Any,
    ) -> Any:
        """Send all tasks, in one batch where the broker can; return a GroupResult.

        Raises TypeError for `link` and `link_error`: nothing waits for a whole group.
        """
        if link is not None:
            raise TypeError("a group takes no link: that would be a chord")
        if link_error is not None:
            raise TypeError("a group takes no link_error: set it on its tasks")
        app = self.app
        if app.calling.eager:
            return self.apply(args, kwargs, **options)
        if not self.tasks:
            return self.freeze()
        group_id, options = self._group_options(options)
        results = []
        with app.calling.producer.batch():
            for task, result in self._frozen_tasks(group_id, options.get("root_id")):
                results.append(result)
                task.apply_async(args, kwargs, add_to_parent=False, **options)
        made = app.GroupResult(group_id, results)
        if len(made) == 1 and hasattr(made[0], "results"):
            made = made[0]  # group(task | group(...)): the inner group is what counts
        calling = current.calling_task()
        if add_to_parent and calling is not None:
            calling[0].add_trail(made)
        return made

    def apply(
        self, args: Any = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> Any:
        """Run all tasks here and now, one by one; return a GroupResult."""
        if not self.tasks:
            return self.freeze()
        group_id, options = self._group_options(options)
        results = [task.clone().apply(args, kwargs, **options) for task in self._leaves()]
        return self.app.GroupResult(group_id, results)

    def _group_options(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return the group's id, and the options that each of its tasks gets."""
        _, _, merged = self._merged((), None, options)
        merged = dict(merged)
        group_id = merged["group_id"] = merged.pop("task_id", None) or str(uuid4())
        return group_id, merged

    def _leaves(self) -> Iterator[Signature]:
        """Yield the tasks, those of nested groups in place."""
        for task in self.tasks:
            if isinstance(task, group):
                yield from task._leaves()
            elif not (isinstance(task, chain) and not task.tasks):
                yield task

    def _frozen_tasks(self, group_id: str, root_id: str | None) -> Iterator[tuple[Signature, Any]]:
        for index, task in enumerate(self._leaves()):
            task = task.clone()
            result = task.freeze(group_id=group_id, root_id=root_id, group_index=index)
            yield task, result

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
        self.tasks = [task.clone() for task in self._leaves()]
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

    def __or__(self, other: Any) -> Any:
        if isinstance(other, group) and not other.tasks:
            return self
        if not isinstance(other, Signature):
            return NotImplemented
        raise ImproperlyConfigured(NEEDS_CHORD)

    def __repr__(self) -> str:
        if not self.tasks:
            return "group(<empty>)"
        return _without_repeated_module(self.tasks[0], f"group({self.tasks!r})")


def chord(header: Any, body: Any = None, **options: Any) -> NoReturn:
    """Refuse: a task that waits for a whole group is not there yet."""
    raise ImproperlyConfigured(NEEDS_CHORD)


def _without_repeated_module(first: Signature, text: str) -> str:
    """Name the module of the first task once: proj.add(2, 2) | mul(8)."""
    module = str(first.task or "").rpartition(".")[0]
    if not module:
        return text
    head, dot, rest = text.partition(f"{module}.")
    return head + dot + rest.replace(f"{module}.", "")
