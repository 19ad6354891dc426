"""What both apps do beside nothing."""

from __future__ import annotations

import socket
import struct
import time


def nap() -> None:
    """Sleep for a second."""
    time.sleep(1)


def answer(port: int) -> None:
    """Say to a UDP port of this host when this began, in seconds of time.time()."""
    began = struct.pack("d", time.time())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mouth:
        mouth.sendto(began, ("127.0.0.1", port))
