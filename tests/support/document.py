"""Run a document: write its files, type its Python, run its shell lines, compare what it shows.

Blocks, by the words behind their fence:
    python title=PATH   a file to write, below the folder
    pycon               examples for one Python, which is a new one in each chapter (`##`)
    console             shell lines (`$ `) and what a terminal shows for them
    console worker      one shell line that stays, a worker, and what it shows until it is ready;
                        it ends when the next one starts
    log                 what the worker's terminal shows by now
Other blocks are for reading.  In expected text `...` stands for anything, spaces count as one,
and what differs from run to run (host, process ids, seconds) is not compared; see VARYING.
"""

from __future__ import annotations

import contextlib
import doctest
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from .waiting import eventually

_FENCE = re.compile(r"^```(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
_ID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

#: What is not compared: a pattern, and what stands for all that fits it.
VARYING = (
    (re.compile(_ID), "ID"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[ T]"), ""),
    (re.compile(r"\b\d\d:\d\d:\d\d([.,]\d+)?"), "TIME"),
    (re.compile(r"\b(pid|to|was|child) \d+"), r"\1 PID"),
    (re.compile(r"\b[\d.,]+ (ms|s|min|m|h|MiB|KiB)\b( \d+ s\b)?"), "AMOUNT"),
    (re.compile(r"\b\d+\.\d+s\b"), "AMOUNT"),
    (re.compile(r"\bready +\d+\b"), "ready PID"),
    (re.compile(r"\bPython \d+\.\d+\.\d+\S*"), "Python"),
)
#: Seconds a shell line may take, and a worker to get ready or to end.
PATIENCE = 30.0


class Block(NamedTuple):
    """One fenced block of a document."""

    words: list[str]
    text: str
    line: int
    chapter: int


def blocks(path: Path) -> Iterator[Block]:
    """Yield the blocks of a document in order."""
    document = path.read_text()
    for found in _FENCE.finditer(document):
        before = document[: found.start()]
        words = found.group(1).split()
        chapter = len(re.findall(r"^## ", before, re.MULTILINE))
        yield Block(words, found.group(2), before.count("\n") + 2, chapter)


def alike(expected: str, got: str) -> bool:
    """Return whether a terminal shows what the document says, the varying parts apart."""
    return doctest.OutputChecker().check_output(
        _plain(expected) + "\n", _plain(got) + "\n", doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    )


def _plain(text: str) -> str:
    text = _ESCAPES.sub("", text).replace(socket.gethostname(), "web3")
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return " ".join(text.split())


def newcomer(folder: Path) -> dict[str, str]:
    """Return the environment of somebody who has set nothing: taskctl is on the path, and what
    nodes leave behind is kept in `folder`."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("TASKCTL_", "CELERY_", "PYTEST"))
    }
    clean["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{clean.get('PATH', '')}"
    kept = {f"TASKCTL_{kind}_DIR": str(folder / kind.lower()) for kind in ("RUN", "LOG", "STATE")}
    return {**clean, **kept, "XDG_CACHE_HOME": str(folder / "cache")}


class Terminal:
    """A shell line at work on a terminal of its own, 100 columns wide."""

    def __init__(self, line: str, folder: Path, env: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self._read = b""
        self.process = subprocess.Popen(
            ["sh", "-c", line],
            cwd=folder,
            env={**env, "COLUMNS": "100", "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)

    @property
    def shown(self) -> str:
        """All that was shown so far."""
        if self._master >= 0:
            self._pump(0.0)
        return self._read.decode(errors="replace")

    def _pump(self, wait: float) -> bool:
        """Read what is there; return whether more may come."""
        while select.select([self._master], [], [], wait)[0]:
            try:
                data = os.read(self._master, 65536)
            except OSError:  # EIO: nobody has the other end any more
                return False
            if not data:
                return False
            self._read += data
            wait = 0.0
        return True

    def end(self) -> int:
        """Wait until it has ended; return its exit code."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            self._pump(0.05)
        if self.process.poll() is None:
            self.interrupt(signal.SIGKILL)
            raise AssertionError(f"not done in {PATIENCE:g} s; it showed:\n{self.shown}")
        self._pump(0.0)
        os.close(self._master)
        self._master = -1
        return self.process.returncode

    def interrupt(self, number: int = signal.SIGINT) -> None:
        """Do what Ctrl-C does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)


class Python:
    """A Python that is fed examples, as somebody would type them."""

    def __init__(self, folder: Path, env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("typed_python.py"))],
            cwd=folder,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def type(self, block: Block) -> str:
        """Run the examples of a block; return what went otherwise than shown."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([block.text, block.line]) + "\n")
        self.process.stdin.flush()
        return str(json.loads(self.process.stdout.readline()))

    def close(self) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=PATIENCE)
        self.process.stdout.close()


class Reader:
    """Follows a document in `folder`, block by block.

    `places` replaces paths that the document names and this run may not use.
    """

    def __init__(self, folder: Path, env: Mapping[str, str], places: Mapping[str, str]) -> None:
        self.folder = folder
        self.env = env
        self.places = places
        self._python: tuple[int, Python] | None = None
        self._worker: Terminal | None = None

    def follow(self, block: Block) -> None:
        """Do what a block says; AssertionError if something else happens."""
        kind, *options = block.words or [""]
        titles = [word.removeprefix("title=") for word in options if word.startswith("title=")]
        if titles:
            self._write(titles[0], block.text)
        elif kind == "pycon":
            self._type(block)
        elif kind == "console" and "worker" in options:
            self._start_worker(block)
        elif kind == "console":
            self._run_lines(block)
        elif kind == "log":
            self._look_at_log(block)

    def _write(self, path: str, text: str) -> None:
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def _type(self, block: Block) -> None:
        if self._python is not None and self._python[0] != block.chapter:
            self._python[1].close()
            self._python = None
        if self._python is None:
            self._python = block.chapter, Python(self.folder, self.env)
        complaint = self._python[1].type(block)
        assert not complaint, f"{complaint}\nthe worker showed:\n{self._worker_shows()}"

    def _run_lines(self, block: Block) -> None:
        for line, expected in _shell_lines(block.text):
            terminal = Terminal(self._placed(line), self.folder, self.env)
            code = terminal.end()
            got = terminal.shown
            told = f"line {block.line}: $ {line}\nexpected:\n{expected}\ngot (exit {code}):\n{got}"
            assert alike(self._placed(expected), got), told
            assert code == 0, told

    def _start_worker(self, block: Block) -> None:
        self.stop_worker()
        ((line, expected),) = _shell_lines(block.text)
        # In place of the shell: what ends is the worker, with its own exit code.
        self._worker = Terminal(f"exec {self._placed(line)}", self.folder, self.env)
        eventually(lambda: self._shows_that_it_is_ready(expected), within=PATIENCE)

    def _shows_that_it_is_ready(self, expected: str) -> bool:
        assert self._worker is not None
        shown = self._worker.shown
        assert self._worker.process.poll() is None, shown
        if " ready in " not in shown or not expected:
            return " ready in " in shown
        # All of it may not be there yet; once the last line is, it must be right.  What comes
        # after that is the log.
        last = expected.splitlines()[-1].rpartition(";")[2]
        before, found, _ = shown.partition(last)
        assert not found or alike(expected, before + found), f"expected:\n{expected}\ngot:\n{shown}"
        return bool(found)

    def _look_at_log(self, block: Block) -> None:
        for line in block.text.splitlines():
            eventually(lambda line=line: alike(f"...{line}...", self._worker_shows()))

    def _worker_shows(self) -> str:
        return "" if self._worker is None else self._worker.shown

    def _placed(self, text: str) -> str:
        for path, place in self.places.items():
            text = text.replace(path, place)
        return text

    def stop_worker(self) -> None:
        """End the worker as Ctrl-C does; it must go well."""
        if self._worker is None:
            return
        worker, self._worker = self._worker, None
        worker.interrupt()
        code = worker.end()
        assert code == 0, f"the worker ended with {code}:\n{worker.shown}"

    def close(self) -> None:
        """Leave nothing behind."""
        if self._python is not None:
            self._python[1].close()
        self.stop_worker()


def _shell_lines(text: str) -> Iterator[tuple[str, str]]:
    """Yield each shell line with what it shows."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        line, _, expected = part.partition("\n")
        yield line, expected.rstrip("\n")
