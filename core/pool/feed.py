"""The feed: work on its way from the parent to whichever child is idle.

All children read from one socket, and the kernel hands each record to one that waits; so no
child ever holds work that another could start.  What the socket does not take waits here, in
order.  The parent keeps the children's end too, and can read back what nobody has taken.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from collections.abc import Iterable

from .base import Work
from .frames import BUFFER_BYTES, HEAD_BYTES, Parcel, pack_work, socket_pair

#: A large record cannot go now for want of descriptors or memory; it can when some are freed.
_SCARCE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ETOOMANYREFS}


class Feed:
    """The waiting work and the socket that takes it; `outlet` is the children's end."""

    def __init__(self) -> None:
        self._inlet, self.outlet = socket_pair()
        self._waiting: deque[Work] = deque()
        #: The first of the waiting, packed, when the socket was too full for it.
        self._packed: Parcel | None = None
        #: Why a large record cannot go, when that is so.
        self.scarce: OSError | None = None
        self._buffer = bytearray(BUFFER_BYTES)
        self._requests = memoryview(self._buffer)[:HEAD_BYTES].cast("q")

    def fileno(self) -> int:
        """Return the descriptor that is writable when `flow` can go on."""
        return self._inlet.fileno()

    def __len__(self) -> int:
        """How many wait here, not counting what the socket holds."""
        return len(self._waiting)

    def requests(self) -> set[int]:
        """Return the requests that wait here."""
        return {work.request for work in self._waiting}

    def append(self, batch: Iterable[Work]) -> None:
        """Put the batch behind all others."""
        self._waiting.extend(batch)

    def prepend(self, batch: list[Work]) -> None:
        """Put the batch before all others, its own order kept."""
        self._unpack()
        self._waiting.extendleft(reversed(batch))

    def flow(self) -> bool:
        """Move what the socket takes; return whether it is full, and more waits."""
        waiting = self._waiting
        while waiting:
            try:
                parcel = self._packed or pack_work(waiting[0])
                self._packed = parcel
                parcel.send(self._inlet)
            except BlockingIOError:
                return True
            except OSError as exc:
                if exc.errno not in _SCARCE:
                    raise
                self.scarce = exc
                return False
            self._unpack()
            waiting.popleft()
        self.scarce = None
        return False

    def pull(self) -> list[int]:
        """Take back what the socket holds and no child has taken; return the requests."""
        taken: list[int] = []
        while True:
            try:
                # A plain receive: the kernel closes the descriptor of a large one.
                size = self.outlet.recv_into(self._buffer, 0, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return taken
            if size == 0:
                return taken
            taken.append(self._requests[0])

    def drain(self) -> list[int]:
        """Take back everything no child has taken; return the requests, oldest first."""
        requests = self.pull()
        requests.extend(work.request for work in self._waiting)
        self._unpack()
        self._waiting.clear()
        return requests

    def shut(self) -> None:
        """Let no more in: a child that has read all that was sent is told the end."""
        self._inlet.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close both ends."""
        self._unpack()
        self.close_inlet()
        self.outlet.close()

    def close_inlet(self) -> None:
        """Close the parent's end; what a child does first."""
        self._inlet.close()

    def _unpack(self) -> None:
        if self._packed is not None:
            self._packed.close()
            self._packed = None
