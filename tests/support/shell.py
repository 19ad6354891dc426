"""A folder with a project in it, and `taskctl` typed there: real programs, real workers."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .waiting import eventually

APP = """\
import os, time
from taskctl import App

app = App("proj")

@app.task
def add(x, y):
    return x + y

@app.task
def nap(seconds):
    time.sleep(seconds)

@app.task
def say(text):
    print(text)
    return os.getpid()
"""


@dataclass
class Said:
    """What a program said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Shell:
    """A working folder with the package `proj`, and folders of its own for every kind of file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        package = folder / "proj"
        package.mkdir()
        (package / "__init__.py").touch()
        (package / "celery.py").write_text(APP)
        self.env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TASKCTL_", "CELERY_", "COLUMNS", "NO_COLOR", "FORCE_COLOR"))
        }
        self.env.update({f"TASKCTL_{k.upper()}_DIR": str(folder / k) for k in ("run", "log")})
        self.env["TASKCTL_STATE_DIR"] = str(folder / "state")
        self.env["XDG_CACHE_HOME"] = str(folder / "cache")
        self._started: list[subprocess.Popen[str]] = []

    def argv(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "taskctl", *words]

    def run(self, *words: str, stdin: str = "", **env: str) -> Said:
        """Run a command to its end, in pipes."""
        done = subprocess.run(
            self.argv(*words),
            input=stdin,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.env, **env},
            timeout=60,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def proj(self, *words: str, **settings: str) -> Said:
        """Run a command with -A proj."""
        return self.run("-A", "proj", *words, **settings)

    def python(self, code: str) -> str:
        """Run a few lines that may use the project; return what they print."""
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=self.env,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()

    def start(self, *words: str, **env: str) -> subprocess.Popen[str]:
        """Start a command and leave it running; its talk goes to `folder/err`."""
        with (self.folder / "err").open("a") as err:
            process = subprocess.Popen(
                self.argv(*words),
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
                cwd=self.folder,
                env={**self.env, **env},
                start_new_session=True,
            )
        self._started.append(process)
        return process

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text()

    def node(self, name: str = "w1", *words: str, **env: str) -> subprocess.Popen[str]:
        """Start a worker and return once it is ready."""
        process = self.start(
            "-A", "proj", "worker", "-l", "INFO", "-c", "2", "-n", f"{name}@h", *words, **env
        )
        eventually(
            lambda: f"{name}@h ready in" in self.err or process.poll() is not None, within=20
        )
        assert process.poll() is None, self.err
        return process

    def type(self, *words: str, answer: str = "", columns: int = 80, **env: str) -> Said:
        """Run a command on a terminal to its end; `out` is all the terminal shows."""
        line = f"exec {shlex.join(self.argv(*words))}"
        return self.type_line(line, answer=answer, columns=columns, **env)

    def type_line(self, line: str, *, answer: str = "", columns: int = 80, **env: str) -> Said:
        """Run a line of sh on a terminal to its end."""
        leader, follower = pty.openpty()
        process = subprocess.Popen(
            ["sh", "-c", line],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            cwd=self.folder,
            env={**self.env, "TERM": "xterm", "COLUMNS": str(columns), **env},
            start_new_session=True,
        )
        os.close(follower)
        if answer:
            os.write(leader, answer.encode())
        shown, deadline = b"", time.monotonic() + 60
        # EIO is how a terminal says that nobody has it open any more.
        with contextlib.suppress(OSError):
            while time.monotonic() < deadline and (part := os.read(leader, 65536)):
                shown += part
        os.close(leader)
        return Said(process.wait(10), shown.decode().replace("\r\n", "\n"), "")

    def close(self) -> None:
        """End what still runs here: nodes that were started, and those that detached."""
        for process in self._started:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.stdout is not None:
                process.stdout.close()
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and self._is_ours(entry):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)

    def _is_ours(self, entry: Path) -> bool:
        try:
            folder = os.readlink(entry / "cwd")
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return folder == str(self.folder) and b"taskctl" in words
