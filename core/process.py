"""Who a process is: the same pid is not the same process.

A pid is handed out again after its process ended; the moment of its start is not.
So a process is known here by pid and birth together, and signalled only if both fit.
On Linux this reads /proc; elsewhere psutil answers.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time

_PROC = sys.platform.startswith("linux")
if not _PROC:
    # 30 ms that `multi status` need not pay where there is /proc.
    import psutil  # type: ignore[import-untyped, unused-ignore]

#: Fields of /proc/PID/stat counted from behind the name; proc(5) calls them 3 and 22.
_STATE, _STARTTIME = 0, 19
#: prctl(2): the signal a process gets when the thread that forked it is gone.
_PR_SET_PDEATHSIG = 1
#: Zombie and dead: the program is over, its parent has not looked yet.
_OVER = frozenset("ZXx")
#: Stopped by a signal, and by a tracer.
_HALTED = frozenset("Tt")


def birth(pid: int) -> str | None:
    """Return what tells this process from any other that had or gets its pid.

    None if it is over (a zombie is over) or cannot be seen.
    """
    if pid <= 0:
        return None
    if not _PROC:
        return _psutil_birth(pid)
    fields = _stat(pid)
    if fields is None or fields[_STATE] in _OVER:
        return None
    return f"{fields[_STARTTIME]}@{_boot_id()}"


def age(pid: int) -> float | None:
    """Return the seconds since the process started, or None if it is over."""
    if not _PROC:
        created = _psutil_birth(pid)
        return None if created is None else max(0.0, time.time() - float(created))
    fields = _stat(pid)
    if fields is None:
        return None
    ticks = int(fields[_STARTTIME]) / os.sysconf("SC_CLK_TCK")
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks)


def is_stopped(pid: int) -> bool:
    """Return whether a signal or a debugger has halted the process; false if it is over."""
    if not _PROC:
        return _psutil_is_stopped(pid)
    fields = _stat(pid)
    return fields is not None and fields[_STATE] in _HALTED


def is_alive(pid: int, born: str) -> bool:
    """Return whether exactly this process still runs."""
    return birth(pid) == born


def send_signal(pid: int, born: str, number: int) -> bool:
    """Signal exactly this process; False if it is over.

    Where the kernel has pidfds the pid cannot change hands between look and signal.

    Raises PermissionError if it belongs to another user.
    """
    try:
        handle = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
    except ProcessLookupError:
        return False
    except OSError:  # a kernel or sandbox without pidfds
        handle = None
    try:
        if not is_alive(pid, born):
            return False
        if handle is None:
            os.kill(pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def describe(pid: int) -> str:
    """Return the start of the command line of a process, or '' if it cannot be seen."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
    except OSError:
        return ""
    return " ".join(word.decode(errors="replace") for word in words if word)[:80]


def die_with_parent(parent: int, number: int) -> None:
    """Let this process get signal `number` when `parent`, who forked it, is gone.

    Linux sees to it; elsewhere nothing happens. If the parent is gone already, this process ends.
    """
    if sys.platform == "linux":
        import ctypes  # 5 ms that only forked children pay

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)


def _stat(pid: int) -> list[str] | None:
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            text = file.read()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
    # The name may hold blanks and brackets; the last bracket ends it.
    return text[text.rindex(")") + 2 :].split()


@functools.cache
def _boot_id() -> str:
    """Eight letters that change with every boot; ticks count from there."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read(8)
    except OSError:
        return ""


def _psutil_is_stopped(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False


def _psutil_birth(pid: int) -> str | None:
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        return repr(process.create_time())
    except psutil.Error:
        return None
