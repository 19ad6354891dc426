"""Coroutines met in code that is not one: finished on the event loop of this thread.

Imports no asyncio before the first coroutine comes: most programs never see one.
"""

from __future__ import annotations

import importlib
import threading
from types import AsyncGeneratorType, CoroutineType
from typing import Any

_here = threading.local()


def keep() -> None:
    """Let this thread keep one loop for all its coroutines until `close`.

    Then what one of them has opened on the loop, a connection for example, serves the next.
    """
    _here.kept = True


def kept() -> bool:
    """Return whether this thread keeps its loop."""
    return getattr(_here, "kept", False)


def close() -> None:
    """Close the loop that this thread has kept, if any; what is left on it is cancelled."""
    _here.kept = False
    if getattr(_here, "used", False):
        _here.used = False
        _steering().close_kept()


def finished(value: Any) -> Any:
    """Return `value`, or what it ends with when it is a coroutine or another awaitable.

    Time limits reach into it where they would reach into the caller.  Raises what the coroutine
    raises, TypeError for an async generator.
    """
    kind = type(value)
    if kind is not CoroutineType and not hasattr(kind, "__await__"):
        if kind is AsyncGeneratorType:
            raise TypeError(NO_GENERATORS)
        return value
    own = kept()
    _here.used = own or getattr(_here, "used", False)
    return _steering().complete(value, own)


#: What is wrong with `async def` and `yield` in one task.
NO_GENERATORS = (
    "an async generator has no one result: collect it in a list and return that, "
    "or tell of progress with update_state"
)


def _steering() -> Any:
    # asyncio takes as long to import as all of a client: only now is it wanted.
    return importlib.import_module(f"{__package__}.steering")
