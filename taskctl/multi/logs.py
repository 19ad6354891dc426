"""The ends of several logs on one screen, and what is added to them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import BinaryIO

from taskctl.core.daemon import tail
from taskctl.core.redact import mask_text

#: Seconds between two looks for new lines.
_EVERY = 0.2


def print_logs(files: Mapping[str, str], *, lines: int, follow: bool) -> list[str]:
    """Print the last lines of each node's log; return the nodes that have none.

    With `follow` it goes on until interrupted; a log that was rotated is opened anew.
    """
    several = len(files) > 1
    missing = []
    followed: dict[str, _Followed] = {}
    for name, path in files.items():
        if not os.path.isfile(path):
            missing.append(name)
            continue
        followed[name] = _Followed(path)
        for line in tail(path, 0, lines):
            _print(name if several else "", line)
    while follow and followed:
        for name, log in followed.items():
            for line in log.new_lines():
                _print(name if several else "", line)
        time.sleep(_EVERY)
    return missing


class _Followed:
    """A log from its present end on."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: BinaryIO = open(path, "rb")  # noqa: SIM115 - closed when it is rotated
        self._file.seek(0, os.SEEK_END)
        self._begun = b""

    def new_lines(self) -> list[str]:
        """Return the whole lines that came since; a begun one waits for its end."""
        text = self._begun + self._file.read()
        if not text and self._rotated():
            self._file.close()
            self._file = open(self.path, "rb")  # noqa: SIM115
            text = self._file.read()
        *whole, self._begun = text.split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def _rotated(self) -> bool:
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            return False
        mine = os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino) or (
            now.st_size < self._file.tell()
        )


def _print(name: str, line: str) -> None:
    print(f"{name}  {mask_text(line)}" if name else mask_text(line), flush=True)
