"""The node's side of remote control: finds the method of a command, and makes a reply of it.

The methods are named as the commands of the vocabulary are; they take its arguments by name and
return the value of the reply.  What one raises becomes `{"error": repr}`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import BrokerConnectionError
from ..remote.panel import Panel
from ..remote.vocabulary import find
from ..wire.command_message import CommandRequest
from .commands_node import NodeOrders

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")


class State:
    """What a command of the app's own is given: Celery's names, and the worker itself."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.app = worker.app
        self.hostname = worker.hostname
        self.consumer = worker.consumer
        self.tset = set


class Commands(NodeOrders):
    """Obeys remote commands for one worker; those of the app win over those of the same name."""

    def obey(self, request: CommandRequest) -> Any:
        """Return the reply value of a request; never raises but for a lost broker."""
        method = self._method(request.method)
        if method is None:
            log.error("unknown remote command %r", request.method)
            return {"error": repr(KeyError(request.method))}
        try:
            return method(**request.arguments)
        except BrokerConnectionError:
            raise
        except Exception as exc:
            log.warning("remote command %s failed: %r", request.method, exc)
            return {"error": self._told(exc)}

    def _method(self, name: str) -> Callable[..., Any] | None:
        entry = Panel.find(name)
        if entry is not None:
            state, obey = State(self.worker), entry.obey
            return lambda **arguments: obey(state, **arguments)
        command = find(name)
        return None if command is None else getattr(self, command.name, None)

    def _told(self, exc: Exception) -> str:
        """Return an exception in Celery's words: its commands are functions of no class."""
        text = repr(exc)
        for kind in type(self).__mro__[:-1]:
            text = text.replace(f"{kind.__name__}.", "")
        return text
