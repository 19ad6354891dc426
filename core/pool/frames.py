"""Frames: the records between parent and children, as bytes.

Each record is one message on a SOCK_SEQPACKET socket: it arrives whole or not at all, whoever is
killed meanwhile.  Down go pieces of work; up go notes and outcomes.  What is larger than
INLINE_BYTES stays in an unnamed file in memory, whose descriptor travels in its place.
"""

from __future__ import annotations

import array
import os
import socket
import struct
import tempfile
from typing import Any

import msgspec

from ..wire.outcome import Outcome, decode_outcome, encode_outcome
from .base import Started, Work

#: Largest record that travels inside the socket; with the kernel's default buffer of 208 KiB
#: several of them fit at once, so that no child waits for the parent to refill.
INLINE_BYTES = 60 * 1024
#: What a reader's buffer holds: the largest record, and the head before it.
BUFFER_BYTES = 64 * 1024
#: Asked for as SO_SNDBUF: the largest the kernel grants unasked (net.core.wmem_max), some 300
#: records of 700 bytes.  Enough for a parent that looks every 2 ms, cheap to take back (0.5 ms).
SOCKET_BYTES = 212_992

#: Head of a piece of work: its request, and the size of its file (0 when inline).  The reader
#: needs the request before anything else, at a fixed place.
_HEAD = struct.Struct("=qq")
HEAD_BYTES = _HEAD.size

#: First byte of a record that goes up.
OUTCOME, STARTED, READY, TROUBLE, IN_FILE = b"osrtf"

_TAG_OUTCOME = bytes([OUTCOME])
_FD_SPACE = socket.CMSG_SPACE(array.array("i").itemsize)
_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

_encode = msgspec.msgpack.Encoder().encode
_decode_work = msgspec.msgpack.Decoder(Work).decode
_decode_started = msgspec.msgpack.Decoder(Started).decode
_decode_trouble = msgspec.msgpack.Decoder(tuple[int, str]).decode


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends that carry whole records; the first never waits.

    Raises OSError where the system has no such sockets.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
    return ours, theirs


class Parcel:
    """One record packed to be sent: its bytes, and the file it stands for, if any."""

    __slots__ = ("fd", "record")

    def __init__(self, record: bytes, fd: int | None = None) -> None:
        self.record = record
        self.fd = fd

    def send(self, end: socket.socket) -> None:
        """Send it whole; raises BlockingIOError, and sends nothing, if it must wait."""
        if self.fd is None:
            end.send(self.record)
        else:
            rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [self.fd]))
            end.sendmsg([self.record], [rights])

    def close(self) -> None:
        """Let go of the file; the receiver has a descriptor of its own."""
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None


def pack_work(work: Work) -> Parcel:
    """Return the record of a piece of work.

    Raises OSError when it needs a file and there is none to be had.
    """
    body = _encode(work)
    if len(body) <= INLINE_BYTES:
        return Parcel(_HEAD.pack(work.request, 0) + body)
    return Parcel(_HEAD.pack(work.request, len(body)), _to_file(body))


def unpack_work(body: Any) -> Work:
    """Return the work in the body of a record (what follows the head, or its file)."""
    return _decode_work(body)


def pack_outcome(outcome: Outcome) -> Parcel:
    """Return the record of an outcome; one with a file must go over the bulk socket."""
    body = encode_outcome(outcome)
    if len(body) <= INLINE_BYTES:
        return Parcel(_TAG_OUTCOME + body)
    return Parcel(_HEAD.pack(outcome.request, len(body)), _to_file(body))


def pack_note(tag: int, body: Started | None = None) -> bytes:
    """Return the record of a note: STARTED, READY or IN_FILE."""
    return bytes([tag]) + (_encode(body) if body is not None else b"")


def pack_trouble(pid: int, text: str) -> bytes:
    """Return the record by which a child says why it must go."""
    return bytes([TROUBLE]) + _encode((pid, text[:1024]))


def unpack_trouble(body: Any) -> tuple[int, str]:
    """Return pid and text of a TROUBLE record behind its tag."""
    return _decode_trouble(body)


def unpack_outcome(body: Any) -> Outcome:
    """Return the outcome in a record behind its tag, or in its file."""
    return decode_outcome(body)


def unpack_head(record: Any) -> tuple[int, int]:
    """Return request and file size from the head of a record."""
    request, size = _HEAD.unpack_from(record)
    return request, size


def unpack_started(body: Any) -> Started:
    """Return what is in a STARTED record behind its tag."""
    return _decode_started(body)


def receive(
    end: socket.socket, buffer: bytearray | memoryview, flags: int = 0
) -> tuple[int, int | None, bool]:
    """Receive one record into `buffer`; return its size, its file if any, and whether a
    descriptor was lost on the way because this process has none left.

    Size 0 says that the other end is closed.  Costs 1.6 us a record on the build machine, 0.4 us
    more than a plain recv_into, which would throw descriptors away.
    """
    size, ancillary, got_flags, _ = end.recvmsg_into([buffer], _FD_SPACE, flags | _CLOEXEC)
    fd: int | None = None
    for _, _, rights in ancillary:
        fd = array.array("i", rights[:4])[0]
    return size, fd, bool(got_flags & socket.MSG_CTRUNC)


def read_file(fd: int) -> bytes:
    """Return all that is in the file, and close it."""
    try:
        size = os.fstat(fd).st_size
        body = bytearray()
        while len(body) < size:
            chunk = os.pread(fd, size - len(body), len(body))
            if not chunk:
                raise EOFError(f"file of {size} bytes ends after {len(body)}")
            body += chunk
    finally:
        os.close(fd)
    return bytes(body)


def _to_file(body: bytes) -> int:
    fd = unnamed_file()
    try:
        view = memoryview(body)
        while view:
            view = view[os.write(fd, view) :]
    except BaseException:
        os.close(fd)
        raise
    return fd


def unnamed_file() -> int:
    """Return the descriptor of a new empty file without a name; raises OSError."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("taskctl")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
