"""Names of nodes.  Behaviour: Celery 5.7 utils/nodenames.py."""

from __future__ import annotations

import functools
import os
import socket
from typing import Any

from .logs import current_process_index
from .queues import Exchange, Queue
from .text import simple_format

NODENAME_SEP = "@"
NODENAME_DEFAULT = "celery"
WORKER_DIRECT_EXCHANGE = Exchange("C.dq2")
WORKER_DIRECT_QUEUE_FORMAT = "{hostname}.dq2"

gethostname = functools.cache(socket.gethostname)


def worker_direct(hostname: Any) -> Any:
    """Return the queue that one node alone takes from; a queue as it is."""
    if not isinstance(hostname, str):
        return hostname
    name = WORKER_DIRECT_QUEUE_FORMAT.format(hostname=hostname)
    return Queue(name, WORKER_DIRECT_EXCHANGE, hostname)


def nodename(name: str, hostname: str) -> str:
    """Return the name of a node on a host."""
    return f"{name}{NODENAME_SEP}{hostname}"


def anon_nodename(hostname: str | None = None, prefix: str = "gen") -> str:
    """Return the name of this process as a sender."""
    return nodename(f"{prefix}{os.getpid()}", hostname or gethostname())


def nodesplit(name: str) -> Any:
    """Return name and host of a node; None is the name of one that has none."""
    first, sep, host = name.partition(NODENAME_SEP)
    return [first, host] if sep else (None, first)


def default_nodename(hostname: str | None, default_name: str = NODENAME_DEFAULT) -> str:
    """Return the full name of a node of which either half may be missing."""
    name, host = nodesplit(hostname or "")
    return nodename(name or default_name, host or gethostname())


def node_format(s: str, name: str, **extra: Any) -> str:
    """Return text with the letters of a node's name filled in; %p is all of it."""
    first, host = nodesplit(name)
    return host_format(s, host, first or NODENAME_DEFAULT, p=name, **extra)


def host_format(s: str, host: str | None = None, name: str | None = None, **extra: Any) -> str:
    """Return text with %h (host), %n (name), %d (domain), %i and %I (child) filled in."""
    host = host or gethostname()
    short, _, domain = host.partition(".")
    index = current_process_index() or 0
    letters = {
        "h": host, "n": name or short, "d": domain, "i": str(index),
        "I": f"-{index}" if index else "", **extra,
    }  # fmt: skip
    return simple_format(s, letters)
