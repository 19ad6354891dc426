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
never struck by another.  Concerns the main thread of a child alone.
"""

from __future__ import annotations

_allowed = False
_pending: BaseException | None = None


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


def interrupt(exc: BaseException) -> None:
    """Raise `exc` if the window is open, else keep it until it opens; for signal handlers."""
    global _allowed, _pending
    if _allowed:
        _allowed = False
        raise exc
    _pending = exc
