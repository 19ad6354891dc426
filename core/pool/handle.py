"""The handle: the parent's end of one child.

Knows its pid and its slot, and aims signals: one meant for a request reaches that request or
nobody.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

from .dumps import SIGNAL as DUMP_SIGNAL
from .dumps import Dump
from .scoreboard import BOOTING, KILL, LEAVE, LEAVING, NOTHING, SERVING, SOFT, Slot

#: How long to wait for a child to stop before it is killed (float seconds).  It takes some
#: 0.1 ms; only a child deep in the kernel (a dead NFS server) takes longer, and that one cannot
#: go on to another request unseen either.
_FREEZE_WITHIN = 0.02

#: Signals that the child's own handler aims: it looks at the slot first.
_SELF_AIMED = {
    signal.SIGUSR1: SOFT,
    signal.SIGTERM: KILL,
    signal.SIGQUIT: KILL,
    signal.SIGHUP: KILL,
}


class Death:
    """How a child ended: its exit code, or the signal that killed it."""

    def __init__(self, status: int | None) -> None:
        self.signum: int | None = None
        self.code: int | None = None
        if status is not None and os.WIFSIGNALED(status):
            self.signum = os.WTERMSIG(status)
        elif status is not None:
            self.code = os.WEXITSTATUS(status)

    def __str__(self) -> str:
        if self.signum is not None:
            return f"killed by {signal_name(self.signum)}"
        if self.code is not None:
            return f"exited with {self.code}"
        return "gone, and somebody else has reaped it"


class Handle:
    """One child, seen from the parent."""

    def __init__(self, index: int, slot: Slot) -> None:
        self.index = index
        self.slot = slot
        self.pid = 0
        #: Readable when the child is dead; None where the system has no such thing.
        self.pidfd: int | None = None
        self.forked_at = 0.0
        #: What the child said of its trouble, when it could still speak.
        self.complaint = ""
        #: The request it was killed for at its hard limit, and the one that was warned.
        self.doomed: int | None = None
        self.warned: int | None = None
        self.leaving = False
        self.dump = Dump()

    def fork(self, main: Callable[[int, Slot], NoReturn]) -> None:
        """Start the child in `main`, which gets its index and slot.

        Raises OSError when the system has no room for it.
        """
        self.slot.clear(BOOTING)
        # Else the child would write out once more what lies in these buffers.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        # The child lets signals in when its own handlers stand.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                self.dump.answer()
                _run_child(main, self.index, self.slot)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        self.pid = pid
        self.forked_at = time.monotonic()
        if hasattr(os, "pidfd_open"):
            try:
                self.pidfd = os.pidfd_open(pid)
            except OSError as exc:
                if exc.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOSYS):
                    raise

    def reap(self) -> Death | None:
        """Return how the child ended, or None while it lives."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return Death(None)
        return Death(status) if pid else None

    def wait(self) -> Death:
        """Wait until the child has ended; return how."""
        try:
            return Death(os.waitpid(self.pid, 0)[1])
        except ChildProcessError:
            return Death(None)

    def close(self) -> None:
        """Let go of the descriptors."""
        self.dump.close()
        if self.pidfd is not None:
            os.close(self.pidfd)
            self.pidfd = None

    def send(self, signum: int) -> None:
        """Send a signal to the child, and to no other process that may have its pid by now."""
        try:
            if self.pidfd is not None:
                signal.pidfd_send_signal(self.pidfd, signum)
            else:
                os.kill(self.pid, signum)
        except ProcessLookupError:
            # Gone, and reaped by somebody else: `reap` will say so.
            return

    def ask_for_stacks(self) -> None:
        """Have the child write its stacks; `stacks_written` says when they are there."""
        self.dump.begin()
        self.send(DUMP_SIGNAL)

    def stacks_written(self) -> bool:
        """Return whether the stacks asked for last are there."""
        return self.dump.whole(self._asleep())

    def idle(self) -> bool:
        """Return whether it serves, and has claimed nothing."""
        return self.slot.state == SERVING and self.slot.request == NOTHING

    def ask_to_leave(self) -> None:
        """Mark the child to go after its task; one that waits for work goes now."""
        self.leaving = True
        self.slot.words[LEAVE] = 1
        if self.idle() or self.slot.state == BOOTING:
            self.send(signal.SIGTERM)

    def empty_handed(self) -> bool:
        """Return whether it is certain to hold no record that it has not claimed."""
        if self.slot.state == LEAVING:
            return True
        before = self.slot.done, self.slot.request
        if before[1] != NOTHING:
            return True
        return self._asleep() and (self.slot.done, self.slot.request) == before

    def _asleep(self) -> bool:
        try:
            with open(f"/proc/{self.pid}/stat", "rb") as file:
                # After the name, which is in parentheses and may hold anything: proc(5).
                return file.read().rpartition(b")")[2].split()[0] == b"S"
        except (OSError, IndexError):
            return False

    def strike(self, request: int, signum: int) -> bool:
        """Send `signum` to the child if it runs `request`, and to nothing else it might run."""
        if self.slot.request != request:
            return False
        word = _SELF_AIMED.get(signal.Signals(signum))
        if word is not None:
            self.slot.words[word] = request
            self.send(signum)
            return True
        return self._strike_frozen(request, signum)

    def _strike_frozen(self, request: int, signum: int) -> bool:
        # Without the freeze, the child may end this request and begin the next one between the
        # look at its slot and the signal.
        self.send(signal.SIGSTOP)
        if not self._stopped():
            return False
        aimed = self.slot.request == request
        if aimed:
            self.send(signum)
        if not aimed or signum != signal.SIGKILL:
            self.send(signal.SIGCONT)
        return aimed

    def _stopped(self) -> bool:
        """Wait until it has stopped; false if it has died instead."""
        deadline = time.monotonic() + _FREEZE_WITHIN
        look = os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG
        while True:
            try:
                found = os.waitid(os.P_PID, self.pid, look)
            except ChildProcessError:
                return False
            if found is not None:
                return found.si_code == os.CLD_STOPPED
            if time.monotonic() > deadline:
                return True
            time.sleep(0.0001)


def _run_child(main: Callable[[int, Slot], NoReturn], index: int, slot: Slot) -> NoReturn:
    # Nothing of the child may come back into the parent's code.
    try:
        signal.set_wakeup_fd(-1)
        main(index, slot)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(70)


def signal_name(signum: int) -> str:
    """Return the name of a signal, or `signal 42` for those without."""
    try:
        return signal.Signals(signum).name
    except ValueError:
        return f"signal {signum}"
