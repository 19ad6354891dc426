"""Who is alive: the registry of nodes, and how a node keeps its place in it."""

from __future__ import annotations

import os
import socket
import time
from typing import Any
from uuid import uuid4

from ..brokers.base import Broker, NodeRecord
from .connection import Connection


def new_owner(node: str) -> str:
    """Return a name for one run of `node`: a restarted node never owns what its past held."""
    return f"{node}#{os.getpid()}-{uuid4().hex[:8]}"


class Registration:
    """One node's place in the registry.

    `lease` is how long peers believe in it, in seconds (float), after each `renew`.
    """

    def __init__(self, node: str, *, lease: float = 15.0) -> None:
        self.node = node
        self.lease = lease

    def renew(self, broker: Broker, record: dict[str, Any]) -> None:
        """Say that the node lives; `record` is what `status` shows of it."""
        # `at` is this host's clock, which others compare with their own.
        facts = {"pid": os.getpid(), "host": socket.gethostname(), "at": time.time(), **record}
        broker.register(self.node, facts, self.lease)

    def reclaim(self, broker: Broker) -> list[str]:
        """Take over from nodes whose lease has ended; return their names."""
        return [owner.partition("#")[0] for owner in broker.reclaim()]

    def retire(self, broker: Broker) -> None:
        """Leave the registry; what is still on loan goes back."""
        broker.retire()


def live_nodes(connection: Connection, *, timeout: float = 1.0) -> list[NodeRecord]:
    """Return every registered node, also those whose lease has ended, ordered by name."""
    return connection.call(lambda broker: broker.nodes(), deadline=timeout)
