"""Whether the terminal that this process was started on is still there."""

from __future__ import annotations

import errno
import os


def is_gone() -> bool:
    """Return whether standard input, output or error is a terminal that was hung up."""
    return any(_is_hung_up(fd) for fd in (0, 1, 2))


def _is_hung_up(fd: int) -> bool:
    try:
        os.tcgetpgrp(fd)
    except OSError as exc:
        # ENOTTY: a file, a pipe, or a terminal that does not control this process.
        return exc.errno == errno.EIO
    return False
