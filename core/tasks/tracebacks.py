"""What went wrong in a task, told from the user's first frame on."""

from __future__ import annotations

import os
import traceback
from types import TracebackType

#: Frames of files below this folder are ours, and tell a user nothing.
_OWN_FILES = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class ExceptionInfo:
    """An exception as the hooks get it (`einfo`); `str` of it is the traceback."""

    def __init__(self, exception: BaseException) -> None:
        self.type = type(exception)
        self.exception = exception
        self.tb = exception.__traceback__
        self.internal = False
        self.traceback = traceback_text(exception)

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"


def traceback_text(exc: BaseException) -> str:
    """Return Python's traceback of `exc`, without our frames that led to the user's code."""
    tb = exc.__traceback__
    while tb is not None and tb.tb_frame.f_code.co_filename.startswith(_OWN_FILES):
        tb = tb.tb_next
    return "".join(traceback.format_exception(type(exc), exc, tb))


def forget_frames(exc: BaseException) -> None:
    """Let go of the frames `exc` holds, and with them of the task's local variables."""
    seen: set[int] = set()
    link: BaseException | None = exc
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
