"""Tasks that run one after the other.

Source for shapes on the wire: protocol.md 1.3 and 8.1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Generic, overload

from .chord import as_list, assert_joinable, chord, first_of
from .compound import Compound, members_of, without_repeated_module
from .cycles import named_cycle
from .group import group
from .references import shortened
from .signature import Signature, maybe_signature
from .stamping import StampingVisitor, collected
from .typevars import R_co

#: Options of a chain that do not go to its first task.
_NOT_THE_FIRSTS = frozenset(
    "chord group_id group_index link link_error parent_id root_id task_id".split()
)


@Signature.register_type("chain")
class chain(Compound[R_co], Generic[R_co]):
    """One task after the other, each with the value of the one before as its first argument.

    A group that is followed by a task becomes a chord.  The result is that of the last task; its
    `parent` is the one before.
    """

    @overload
    def __init__(self, last: Signature[R_co], /, **options: Any) -> None: ...
    @overload
    def __init__(self, a: Signature, last: Signature[R_co], /, **options: Any) -> None: ...
    @overload
    def __init__(
        self, a: Signature, b: Signature, last: Signature[R_co], /, **options: Any
    ) -> None: ...
    @overload
    def __init__(
        self, a: Signature, b: Signature, c: Signature, last: Signature[R_co], /, **options: Any
    ) -> None: ...
    @overload
    def __init__(self, /, *tasks: Any, **options: Any) -> None: ...
    def __init__(self, /, *tasks: Any, **options: Any) -> None:
        app = options.pop("app", None)
        members = _flat_chain(members_of(tasks), app)
        super().__init__("celery.chain", (), {"tasks": members}, options, app=app)
        self.subtask_type = "chain"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send the chain; an empty one does nothing and returns None."""
        return self.apply_async(args, kwargs) if self.tasks else None

    @named_cycle
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
            list(_unrolled(task.clone() for task in self.tasks)),
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
            options["chain"] = shortened(app, [*(options.get("chain") or ()), *steps])
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
            if isinstance(task, chord):
                assert_joinable(self.app)
            if steps:
                result = task.freeze(root_id=root_id)
                first_of(results[-1]).parent = result
            else:
                result = task.freeze(task_id, root_id=root_id, **last)
            if parent_id and len(steps) == len(tasks) - 1:
                task.options["parent_id"] = parent_id
            for errback in as_list(link_error):
                task.link_error(errback)
            steps.append(task)
            results.append(result)
        return steps, results

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
        self.options["task_id"] = results[0].id
        return results[0]

    @named_cycle
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
                for callback in as_list(link):
                    task.link(callback)
            run = task.apply_all if isinstance(task, group) else task.apply
            if last is None:
                result = run(args, kwargs, **options)
            else:
                result = run((last.get(),), **options)
                first_of(result).parent = last
            last = result
        return last

    def stamp(
        self, visitor: StampingVisitor | None = None, append_stamps: bool = False, **headers: Any
    ) -> Any:
        chosen = None if visitor is None else visitor.on_chain_start(self, **headers) or {}
        headers = collected(headers, chosen, self.options, append=append_stamps)
        self.stamp_links(visitor, append_stamps, **headers)
        for task in self.tasks:
            task.stamp(visitor, append_stamps, **headers)
        if visitor is not None:
            visitor.on_chain_end(self, **headers)
        return self

    def unchain_tasks(self) -> list[Signature]:
        """Return copies of the tasks, with the chain's own callbacks and errbacks on them."""
        tasks = [task.clone() for task in self.tasks]
        for callback in as_list(self.options.get("link")) if tasks else ():
            tasks[-1].link(callback)
        for task in tasks:
            for errback in as_list(self.options.get("link_error")):
                task.link_error(errback)
        return tasks

    def split_chords(self) -> None:
        """Let the body of each chord in here be one step, and the rest of it steps of ours."""
        self.tasks = list(_unrolled(self.tasks))

    def __repr__(self) -> str:
        if not self.tasks:
            return f"<{type(self).__name__}@{id(self):#x}: empty>"
        return without_repeated_module(self.tasks[0], " | ".join(map(repr, self.tasks)))


def _flat_chain(members: list[Any], app: Any) -> list[Signature]:
    """Return the steps of a chain.

    Nested chains are spliced, groups of one unrolled, empty groups left out; a group, and a chord
    that ends in one, wait for the step that follows.
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
        for part in parts:
            _append_step(steps, part)
    return steps


def _append_step(steps: list[Signature], step: Signature) -> None:
    last = steps[-1] if steps else None
    if isinstance(last, group):
        steps[-1] = chord(last, step, app=last._app)
    elif isinstance(last, chord) and _ends_in_group(last.body):
        joined = last.clone()
        assert isinstance(joined, chord)
        joined.body = joined.body | step
        steps[-1] = joined
    else:
        steps.append(step)


def _ends_in_group(signature: Any) -> bool:
    if isinstance(signature, chain):
        return bool(signature.tasks) and _ends_in_group(signature.tasks[-1])
    if isinstance(signature, chord):
        return _ends_in_group(signature.body)
    return isinstance(signature, group)


def _unrolled(tasks: Iterable[Signature]) -> Iterator[Signature]:
    """Yield the tasks; of a chord whose body is a chain, the body's later steps after it."""
    for task in tasks:
        body = task.body if isinstance(task, chord) else None
        if not isinstance(body, chain) or not body.tasks:
            yield task
            continue
        assert isinstance(task, chord)
        first, *rest = body.unchain_tasks()
        own = {k: v for k, v in body.options.items() if k not in _NOT_THE_FIRSTS}
        copy = task.clone()
        assert isinstance(copy, chord)
        copy.body = first.clone(**own) if own else first
        yield copy
        yield from rest
