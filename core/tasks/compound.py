"""What the compound signatures share: a chain and a group hold members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Self, cast

from .. import current
from .signature import Signature, maybe_signature
from .typevars import R_co


class Compound(Signature[R_co], Generic[R_co]):
    """A signature of several: its members stand under `kwargs.tasks`."""

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], app: Any = None) -> Signature:
        (given,) = needed(fields, "tasks")
        tasks = [maybe_signature(task, app=app) for task in given]
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
    ) -> Self:
        copy = super().clone(args, None, **options)
        assert isinstance(copy, Compound)
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


def needed(fields: Mapping[str, Any], *names: str) -> list[Any]:
    """Return what the `kwargs` of a compound signature hold under these names.

    Raises ValueError for fields that are no such signature.
    """
    kwargs = fields.get("kwargs")
    kwargs = kwargs if isinstance(kwargs, Mapping) else {}
    for name in names:
        listed = name in ("tasks", "it")
        if name not in kwargs or (listed and not isinstance(kwargs[name], list | tuple)):
            kind, a = fields.get("subtask_type"), " a list" if listed else ""
            raise ValueError(
                f"a signature of kind {kind!r} has{a} in kwargs[{name!r}], this one has"
                f" {kwargs.get(name)!r:.100}"
            )
    return [kwargs[name] for name in names]


def members_of(tasks: tuple[Any, ...]) -> list[Any]:
    """Return the members given one by one, or as one iterable."""
    if len(tasks) == 1 and not isinstance(tasks[0], Mapping):
        return list(tasks[0])
    return list(tasks)


def without_repeated_module(first: Signature, text: str) -> str:
    """Name the module of the first task once: proj.add(2, 2) | mul(8)."""
    module = str(first.task or "").rpartition(".")[0]
    if not module:
        return text
    head, dot, rest = text.partition(f"{module}.")
    return head + dot + rest.replace(f"{module}.", "")
