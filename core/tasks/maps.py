"""The same task over many items: in one message, or some to a message."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Generic

from .canvas import group
from .compound import needed
from .signature import Signature, maybe_signature
from .typevars import R_co


class _Mapped(Signature[list[R_co]], Generic[R_co]):
    """One message that runs a task over many items."""

    _task_name = ""
    _kind = ""

    def __init__(self, task: Any, it: Iterable[Any], **options: Any) -> None:
        app = options.pop("app", None)
        member = maybe_signature(task, app=app)
        super().__init__(
            self._task_name, (), {"task": member, "it": list(it)}, options, app=app, immutable=True
        )
        self.subtask_type = self._kind

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], app: Any = None) -> Signature:
        task, it = needed(fields, "task", "it")
        return cls(task, it, app=app, **fields.get("options") or {})

    def apply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        # Goes where the mapped task would go: a worker that runs map but not it is no use.
        merged = {**self.options, **{k: v for k, v in options.items() if v is not None}}
        return self.type.apply_async(
            (), self.kwargs, route_name=self.kwargs["task"]["task"], **merged
        )

    def __repr__(self) -> str:
        task, it = self.kwargs["task"], self.kwargs["it"]
        return f"[{task['task']}({'*' if self._kind == 'xstarmap' else ''}x) for x in {it!r}]"


@Signature.register_type("xmap")
class xmap(_Mapped[R_co]):
    """A task called with each item in turn, in one message; the value is the list of values."""

    _task_name = "celery.map"
    _kind = "xmap"


@Signature.register_type("xstarmap")
class xstarmap(_Mapped[R_co]):
    """As xmap, each item unpacked into arguments."""

    _task_name = "celery.starmap"
    _kind = "xstarmap"


@Signature.register_type("chunks")
class chunks(Signature[list[R_co]], Generic[R_co]):
    """Many argument lists, `n` to a message; sends a group of xstarmap."""

    def __init__(self, task: Any, it: Iterable[Any], n: int, **options: Any) -> None:
        app = options.pop("app", None)
        if n < 1:
            raise ValueError(f"chunks of {n} items: n must be 1 or more")
        member = maybe_signature(task, app=app)
        kwargs = {"task": member, "it": list(it), "n": n}
        super().__init__("celery.chunks", (), kwargs, options, app=app, immutable=True)
        self.subtask_type = "chunks"

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], app: Any = None) -> Signature:
        task, it, n = needed(fields, "task", "it", "n")
        return cls(task, it, n, app=app, **fields.get("options") or {})

    def __call__(self, **options: Any) -> Any:
        return self.apply_async(**options)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        route_name: str | None = None,
        **options: Any,
    ) -> Any:
        return self.group().apply_async(**{**self.options, **options})

    def group(self) -> group:
        """Return the group that is sent."""
        task, items = self.kwargs["task"], iter(self.kwargs["it"])
        parts = iter(lambda: list(itertools.islice(items, self.kwargs["n"])), [])
        return group((xstarmap(task, part, app=self._app) for part in parts), app=self._app)
