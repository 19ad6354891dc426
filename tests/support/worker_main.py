"""Run one worker of the trial project; its one argument holds the options, as JSON."""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys

from taskctl.core.worker.options import resolve
from taskctl.core.worker.worker import Worker

from .trial_async import app  # with the coroutines of the project


def main() -> int:
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(process)d %(levelname)s %(message)s"
    )
    if more := os.environ.get("TRIAL_MORE"):
        importlib.import_module(more).define(app)
    return Worker(app, resolve(app, **json.loads(sys.argv[1]))).run()


if __name__ == "__main__":
    sys.exit(main())
