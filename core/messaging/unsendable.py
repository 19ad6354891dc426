"""What in a call cannot be written: found when writing it has failed, to be named in the error."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..errors import EncodeError
from ..wire import codecs
from .drafts import Draft

#: Names that callers know for the parts of a body.
_OPTIONS = {"callbacks": "link", "errbacks": "link_error", "chain": "chain", "chord": "chord"}


def located(exc: EncodeError, draft: Draft, task: Any = None) -> EncodeError:
    """Return the error of a draft that could not be written: with the place in its arguments.

    `task`, if it is known here, tells the names of positional arguments.  What cannot be found
    leaves the error as it is.
    """
    args, kwargs, embed = draft.body
    options = {_OPTIONS.get(key, key): value for key, value in embed.items()}
    return located_in(exc, draft.name, args, kwargs, draft.serializer, task, options)


def located_in(
    exc: EncodeError,
    name: str,
    args: Any,
    kwargs: Mapping[str, Any],
    serializer: str,
    task: Any = None,
    options: Mapping[str, Any] | None = None,
) -> EncodeError:
    """Return the error of a call of task `name` whose arguments could not be written."""
    write = codecs.codec_named(serializer).encode if serializer != codecs.RAW else None
    if write is None:
        return exc
    names = _parameters(task, len(args))
    tops = [
        *((f"argument {names.get(i, f'args[{i}]')}", value) for i, value in enumerate(args)),
        *((f"argument {key}", value) for key, value in kwargs.items()),
        *((f"option {key}", value) for key, value in (options or {}).items()),
    ]
    for label, value in tops:
        reason = _refusal(write, value)
        if reason is not None:
            path, reason = _culprit(write, value, reason)
            return EncodeError(f"{name}: {label}{path} cannot be sent as {serializer}: {reason}")
    return exc


def _parameters(task: Any, count: int) -> dict[int, str]:
    """Return the names of a task's first positional parameters, by their place."""
    if task is None or not count:
        return {}
    try:
        given = inspect.signature(task.run).parameters.values()
    except (TypeError, ValueError):
        return {}
    positional = [p.name for p in given if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return dict(enumerate(positional[:count]))


def _refusal(write: Callable[[Any], bytes], value: Any) -> str | None:
    """Return why a value cannot be written, or None if it can."""
    try:
        write(value)
    except Exception as exc:  # an encoder of the user's may raise anything
        return " ".join(str(exc).split()) or type(exc).__name__
    return None


def _culprit(write: Callable[[Any], bytes], value: Any, reason: str) -> tuple[str, str]:
    """Return the path to the innermost value that cannot be written, and why."""
    path, above = "", {id(value)}
    while True:
        tried = ((step, part, _refusal(write, part)) for step, part in _parts(value))
        found = next((one for one in tried if one[2] is not None), None)
        if found is None:
            return path, reason
        step, value, reason = found  # type: ignore[assignment]  # it has a reason
        path += step
        if id(value) in above:
            return path, "it contains itself"
        above.add(id(value))


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{key!r}]", part
    elif isinstance(value, list | tuple):
        for index, part in enumerate(value):
            yield f"[{index}]", part
