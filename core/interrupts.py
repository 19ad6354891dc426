"""When a running task may be interrupted: only while its own code runs.

A signal handler runs between any two steps of the main thread, so an exception it raises could
strike the code around a task and lose its result.  Whoever runs a task opens a window around the
user's code alone:

    try:
        interrupts.allow()
        value = task(*args, **kwargs)
    finally:
        interrupts.forbid()

Inside the window `interrupt` raises; outside it waits for the window to open, or is dropped by
`reset` when the request is over.  One interrupt closes the window, so that the `finally` above is
never struck by another.  While a coroutine runs, its loop's code is around it: what brings an
interrupt to it then is named with `divert`.  Concerns the main thread of a child alone.
"""

from __future__ import annotations

from collections.abc import Callable

_allowed = False
_pending: BaseException | None = None
_carrier: Callable[[], None] | None = None


def allow() -> None:
    """Open the window; raises at once what arrived while it was closed."""
    global _allowed, _pending
    _allowed = True
    if _pending is not None:
        exc, _pending, _allowed = _pending, None, False
        raise exc


def forbid() -> None:
    """Close the window: nothing is raised until it is opened again."""
    global _allowed
    _allowed = False


def reset() -> None:
    """Close the window and forget what arrived: the request is over."""
    global _allowed, _pending
    _allowed = False
    _pending = None


def divert(carrier: Callable[[], None] | None) -> Callable[[], None] | None:
    """Call `carrier` instead of raising, None: raise again; return what was called before."""
    global _carrier
    before, _carrier = _carrier, carrier
    return before


def interrupt(exc: BaseException) -> None:
    """Raise `exc` if the window is open, else keep it until it opens; for signal handlers."""
    global _allowed, _pending
    if not _allowed:
        _pending = exc
    elif _carrier is not None:
        _carrier()
    else:
        _allowed = False
        raise exc
