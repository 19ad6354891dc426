"""What a retry needs to know: its arguments, and the exception it ends with."""

from __future__ import annotations

import inspect
import sys
from typing import Any, NoReturn


def arguments_again(task: Any, request: Any, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return the arguments of a retry that was given only some of them.

    New positional ones replace keyword arguments of the same parameters, and the other way round.
    """
    if (args is None) == (kwargs is None):
        return args, kwargs
    parameters = [
        p
        for p in inspect.signature(task.run).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    by_name = [p.name if p.kind is p.POSITIONAL_OR_KEYWORD else None for p in parameters]
    if args is not None:
        taken = set(by_name[: len(args)])
        return args, {k: v for k, v in (request.kwargs or {}).items() if k not in taken}
    given = dict(kwargs)
    old = list(request.args or ())
    for position, name in enumerate(by_name[: len(old)]):
        if name in given:
            old[position] = given.pop(name)
    return old, given


def raise_with_context(exc: BaseException) -> NoReturn:
    """Raise `exc`; the exception that is being handled, if another one, is its cause."""
    handled = sys.exc_info()[1]
    if handled is None or handled is exc:
        raise exc
    raise exc from handled
