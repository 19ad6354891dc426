"""Run one worker of the trial project that somebody watches; its one argument is JSON.

`resolve`: options of the command line; `options`: fields of WorkerOptions. While the file of
WATCHED_BLOCK exists, the main loop stands still in a receiver of a signal, as broken user code
would have it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

from taskctl.core import signals
from taskctl.core.worker.listener import parse_address
from taskctl.core.worker.options import resolve
from taskctl.core.worker.worker import Worker

from .trial import app


@signals.heartbeat_sent.connect
def stand_still(**_: Any) -> None:
    while os.path.exists(os.environ["WATCHED_BLOCK"]):
        time.sleep(0.01)


def main() -> int:
    logging.basicConfig(level=logging.INFO)
    given = json.loads(sys.argv[1])
    options = resolve(app, **given["resolve"])
    for name, value in given["options"].items():
        setattr(options, name, parse_address(value) if name.endswith("listen") else value)
    return Worker(app, options).run()


if __name__ == "__main__":
    sys.exit(main())
