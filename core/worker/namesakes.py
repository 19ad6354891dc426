"""Two nodes of one name: remote commands and results of `status` would mix them up."""

from __future__ import annotations

import logging
import os
import socket
from typing import TYPE_CHECKING, Any

from ..process import birth

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")


def warn_of_namesakes(worker: Worker) -> None:
    """Warn if another live node on this broker bears the worker's name.

    Raises BrokerError.
    """
    for node in worker.consumer.broker.nodes():
        if node.name == worker.hostname and node.alive and not _is_over(node.record):
            log.warning(
                "another node is called %s: pid %s on %s, seen %.0f s ago; "
                "remote commands reach both: stop one, or name it with -n",
                node.name, node.record.get("pid", "?"), node.record.get("host", "?"), node.age,
            )  # fmt: skip


def _is_over(record: dict[str, Any]) -> bool:
    """Return whether a record is that of a process of this host which has ended, or of us."""
    if record.get("host") != socket.gethostname():
        return False
    pid = record.get("pid")
    return isinstance(pid, int) and (pid == os.getpid() or birth(pid) is None)
