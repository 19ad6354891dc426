"""Hide the secrets of our own command line from everybody who can list processes.

`/proc/PID/cmdline` is open to all users of a host, the environment is not.  On Linux it is the
memory where the kernel put the arguments, which belongs to the process: what stands there may be
written over, and children that are forked later show the same.  Python has its own copy, so
`sys.argv` and `sys.orig_argv` keep the truth.  Elsewhere nothing is done.

Between the start of the program and this call, some 20 ms, the arguments can be seen: a password
is best given in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

#: Fields of /proc/PID/stat counted from behind the name; proc(5) calls them 48 and 49.
_ARG_START, _ARG_END = 45, 46


def hide_secrets() -> bool:
    """Mask the arguments of this process as others see them; return whether any was changed."""
    try:
        shown = Path("/proc/self/cmdline").read_bytes()
        if not may_hold_secret(shown):
            return False
        changed = masked(shown)
        return changed != shown and _write_over(shown, changed)
    except OSError:  # no /proc, or a sandbox that closes it
        return False


def may_hold_secret(words: bytes) -> bool:
    """Return whether a closer look is worth its import; most command lines hold nothing."""
    return b"://" in words or b"=" in words or b"-----BEGIN" in words


def masked(words: bytes) -> bytes:
    """Return arguments, each ended by NUL, with secrets masked; the length stays the same."""
    # Regular expressions that a command without such arguments need not compile.
    from .redact import MASK, mask

    given = [os.fsdecode(word) for word in words.removesuffix(b"\0").split(b"\0")]
    hidden = mask(given)
    found = _joined(hidden)
    if len(found) > len(words):
        found = _joined([word.replace(MASK, "*") for word in hidden])
    return found[: len(words) - 1].ljust(len(words), b"\0")


def _joined(words: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(word) + b"\0" for word in words)


def _write_over(shown: bytes, changed: bytes) -> bool:
    """Replace the arguments where the kernel reads them; False if they are not found there."""
    text = Path("/proc/self/stat").read_text(errors="replace")
    fields = text[text.rindex(")") + 2 :].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    if end - start != len(shown):
        return False
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        if os.pread(memory, len(shown), start) != shown:
            return False
        return os.pwrite(memory, changed, start) == len(changed)
    finally:
        os.close(memory)
