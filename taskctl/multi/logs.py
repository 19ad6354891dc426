"""The ends of several logs on one screen, in order of time, and what is added to them.

Logs may be large: they are read from their end, or from the place where a time begins, block by
block. A log that is rotated while it is followed is read to its end and opened anew.
"""

from __future__ import annotations

import heapq
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import BinaryIO

from taskctl.logtool_lines import read_line

#: Seconds between two looks for new lines.
_EVERY = 0.2
#: Bytes read at once.
_BLOCK = 65536
#: A begun line is shown without its end when it is longer than this.
_LONGEST = 1 << 20

#: Takes the name of a node and one line of its log.
Show = Callable[[str, str], None]


def show_logs(
    files: Mapping[str, str],
    show: Show,
    *,
    lines: int | None = 20,
    since: float | None = None,
    follow: bool = False,
) -> list[str]:
    """Show the last `lines` of each node's log, `since` a time; return the nodes without a log.

    Lines of several nodes come in order of time. With `follow` it goes on until interrupted, and
    waits for logs that are not there yet.
    """
    missing = [name for name, path in files.items() if not os.path.isfile(path)]
    logs = {name: _Log(path) for name, path in files.items() if name not in missing}
    if follow:
        logs.update({name: _Log(files[name]) for name in missing})
    begun = [
        _timed(name, log.first(lines, since, begun_too=not follow)) for name, log in logs.items()
    ]
    for _, name, line in heapq.merge(*begun, key=lambda entry: entry[0]):
        show(name, line)
    while follow:
        for name, log in logs.items():
            for line in log.more():
                show(name, line)
        time.sleep(_EVERY)
    return missing


def point_in_time(text: str, now: datetime | None = None) -> float:
    """Return the unix time of `10m` (ago), `14:30` (the last one), or an ISO date or time.

    Raises ValueError.
    """
    now = now or datetime.now()
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
    if text[-1:] in units and text[:-1].replace(".", "", 1).isdecimal():
        return now.timestamp() - float(text[:-1]) * units[text[-1]]
    for form in ("%H:%M", "%H:%M:%S"):
        try:
            clock = datetime.strptime(text, form).time()
        except ValueError:
            continue
        found = datetime.combine(now.date(), clock)
        return (found if found <= now else found - timedelta(days=1)).timestamp()
    return datetime.fromisoformat(text).timestamp()


def _timed(name: str, lines: Iterable[str]) -> Iterator[tuple[float, str, str]]:
    """Yield lines with their times; one without stands at the time of the one above."""
    at = 0.0
    for line in lines:
        record = read_line(line)
        if record is not None and record.at is not None:
            at = max(at, record.at)
        yield at, name, line


class _Log:
    """A log file, from some place in it on."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._file: BinaryIO | None = None
        self._begun = b""
        self._open()

    def first(self, lines: int | None, since: float | None, *, begun_too: bool) -> Iterator[str]:
        """Yield the lines that are wanted of what is there now."""
        if self._file is None:
            return
        end = self._file.seek(0, os.SEEK_END)
        start = 0 if since is None else _begin_of(self._file, since, end)
        if lines is not None:
            start = max(start, _begin_of_last(self._file, lines, end))
        self._file.seek(start)
        yield from self._whole_lines(end)
        if begun_too and self._begun:
            yield self._begun.decode(errors="replace")

    def more(self) -> Iterator[str]:
        """Yield the whole lines that came since; a begun one waits for its end."""
        if self._file is None:
            self._open()
        yield from self._whole_lines(None)
        if self._rotated():
            # What the old file got last stands in it by now, and nothing more will come.
            yield from self._whole_lines(None)
            assert self._file is not None
            self._file.close()
            self._file = None
            self._open()
            yield from self._whole_lines(None)

    def _open(self) -> None:
        try:
            self._file = open(self.path, "rb")  # noqa: SIM115 - closed when it is rotated
        except OSError:
            self._file = None  # not there yet, or not for us; the next look tells

    def _whole_lines(self, end: int | None) -> Iterator[str]:
        while self._file is not None:
            room = _BLOCK if end is None else min(_BLOCK, end - self._file.tell())
            part = self._file.read(room) if room > 0 else b""
            if not part:
                return
            *whole, self._begun = (self._begun + part).split(b"\n")
            for line in whole:
                yield line.decode(errors="replace")
            if len(self._begun) > _LONGEST:
                yield self._begun.decode(errors="replace")
                self._begun = b""

    def _rotated(self) -> bool:
        if self._file is None:
            return False
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            return False
        mine = os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino) or (
            now.st_size < self._file.tell()
        )


def _begin_of_last(file: BinaryIO, lines: int, end: int) -> int:
    """Return where the last `lines` whole lines before `end` begin."""
    position, seen = end, 0
    while position > 0:
        size = min(_BLOCK, position)
        position -= size
        file.seek(position)
        block = file.read(size)
        place = len(block)
        while (place := block.rfind(b"\n", 0, place)) >= 0:
            seen += 1
            if seen > lines:
                return position + place + 1
    return 0


def _begin_of(file: BinaryIO, since: float, end: int) -> int:
    """Return where the first line stands that is not older than `since`; halving, as logs grow."""
    low, high = 0, end
    while high - low > _BLOCK:
        middle = (low + high) // 2
        at = _first_time(file, middle, high)
        if at is None or at >= since:
            high = middle
        else:
            low = middle
    file.seek(low)
    position = low
    for line in file:
        record = read_line(line.decode(errors="replace"))
        if record is not None and record.at is not None and record.at >= since:
            return position
        position += len(line)
        if position >= end:
            return end
    return end


def _first_time(file: BinaryIO, start: int, end: int) -> float | None:
    """Return the first time that a line behind `start` bears."""
    file.seek(start)
    file.readline()
    while file.tell() < end:
        record = read_line(file.readline().decode(errors="replace"))
        if record is not None and record.at is not None:
            return record.at
    return None
