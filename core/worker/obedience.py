"""What each signal means to a worker; asked from the loop, never from a handler."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

from .stacks import stacks

if TYPE_CHECKING:
    from .worker import Worker

log = logging.getLogger("taskctl.worker")


def obey(worker: Worker, number: int) -> None:
    """Do what a signal asks for; those that end the worker are `Shutdown`'s."""
    if number == signal.SIGUSR1:
        log.warning("%s", stacks(worker))
    elif number == signal.SIGUSR2:
        worker.attendants.debugger.knock()
    elif number == signal.SIGHUP:
        worker.shutdown.start_again()
    else:
        worker.shutdown.obey(number)
