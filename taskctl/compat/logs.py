"""Loggers and processes by Celery's names.  Behaviour: Celery 5.7 utils/log.py."""

from __future__ import annotations

import logging
import multiprocessing
from typing import Any

from taskctl.core.log import TextFormatter, add_task, base_logger, parse_level


def get_logger(name: str) -> logging.Logger:
    """Return a logger; one that would speak to nobody but the root speaks to Celery's."""
    logger = logging.getLogger(name)
    if logging.root not in (logger, logger.parent) or logger is base_logger:
        return logger
    if name not in ("celery", "taskctl"):
        logger.parent = logging.getLogger("celery")
    return logger


def get_multiprocessing_logger() -> logging.Logger:
    """Return the logger of multiprocessing."""
    return multiprocessing.get_logger()


def mlevel(level: Any) -> int:
    """Return the number of a log level; 0 for none."""
    return parse_level(level) if level else 0


def current_process() -> Any:
    """Return the process that runs here, as multiprocessing sees it."""
    return multiprocessing.current_process()


def current_process_index(base: int = 1) -> int | None:
    """Return the number of this child in its pool, or None outside of one."""
    index = getattr(multiprocessing.current_process(), "index", None)
    return index + base if index is not None else None


class ColorFormatter(TextFormatter):
    """Lines with a colour for each level."""

    def __init__(self, fmt: str | None = None, use_color: bool = True, datefmt: Any = None) -> None:
        super().__init__(fmt or "%(message)s", datefmt, use_color)


class TaskFormatter(ColorFormatter):
    """Lines that name the task which runs."""

    def format(self, record: logging.LogRecord) -> str:
        add_task(record)
        return super().format(record)
