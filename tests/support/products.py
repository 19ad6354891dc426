"""Celery's program and ours side by side: a project, a database and two nodes for each."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from .shell import Said
from .waiting import eventually

PROJECT = """\
import os, time
from {module} import Celery

app = Celery("proj", broker={url!r}, backend={url!r})

@app.task(name="tasks.add")
def add(x, y):
    return x + y

@app.task(name="tasks.hold")
def hold(path):
    open(path, "w").close()
    while os.path.exists(path):
        time.sleep(0.05)
"""
_NOISE = ("TASKCTL_", "CELERY_", "COLUMNS", "NO_COLOR", "FORCE_COLOR", "TERM")

T = TypeVar("T")


class Product:
    """One of the two programs, in a folder with `proj` and its pidfiles, logs and records."""

    def __init__(self, folder: Path, program: str, url: str) -> None:
        self.folder, self.program, self.url = folder, program, url
        for name in ("", "bin", "run", "log"):
            (folder / name).mkdir()
        (folder / "proj.py").write_text(PROJECT.format(module=program, url=url))
        script = folder / "bin" / program
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m {program} "$@"\n')
        script.chmod(0o755)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(_NOISE)}
        self.env["PATH"] = f"{folder / 'bin'}:{self.env['PATH']}"
        self.env["PYTHONPATH"] = str(folder)
        self.env["PYTHONWARNINGS"] = "ignore"
        self.env["C_FORCE_ROOT"] = "1"
        self.env["XDG_CACHE_HOME"] = str(folder / "cache")
        self.env.update({f"TASKCTL_{k.upper()}_DIR": str(folder / k) for k in ("run", "log")})
        self.env["TASKCTL_STATE_DIR"] = str(folder / "state")
        self._started: list[subprocess.Popen[bytes]] = []
        self._numbers = itertools.count()  # two may be started at once

    def line(self, line: str, **env: str) -> Said:
        """Run a line of sh as it stands, but for the name of the program, /run/x and /log/x."""
        for kind in ("run", "log"):
            line = line.replace(f"/{kind}/x/", f"{self.folder / kind}/")
        done = subprocess.run(
            ["sh", "-c", line.replace("taskctl", self.program)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**self.env, **env},
            timeout=120,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def start(self, line: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a worker from its line; return once it is ready, with the stem of its output."""
        stem = self.folder / f"worker-{next(self._numbers)}"
        words = line.replace("taskctl", self.program).split()
        with stem.with_suffix(".out").open("wb") as out, stem.with_suffix(".err").open("wb") as err:
            process = subprocess.Popen(
                words, stdout=out, stderr=err, cwd=self.folder, env=self.env,
                start_new_session=True,
            )  # fmt: skip
        self._started.append(process)

        def ready() -> bool:
            assert process.poll() is None, stem.with_suffix(".err").read_text()
            return re.search(r" ready(\.| in)", stem.with_suffix(".err").read_text()) is not None

        eventually(ready, within=30)
        return process, stem

    def pids(self) -> dict[str, int]:
        """Return the process of each pidfile, by the short name of its node."""
        return {file.stem: int(file.read_text()) for file in (self.folder / "run").glob("*.pid")}

    def end(self, pid: int) -> None:
        """Kill a node that `multi` started, with its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(os.getpgid(pid), signal.SIGKILL)
        for file in (self.folder / "run").glob("*.pid"):
            if file.read_text().strip() == str(pid):
                file.unlink()

    def close(self) -> None:
        """End every process of this folder."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        for entry in Path("/proc").iterdir():
            # Celery's nodes go to / when they detach, but were told where their pidfiles are.
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and bytes(self.folder) in (entry / "cmdline").read_bytes():
                    os.kill(int(entry.name), signal.SIGKILL)


class Products:
    """Both of them, each with the nodes w1@host and w2@host."""

    def __init__(self, folder: Path, urls: tuple[str, str]) -> None:
        self.theirs = Product(folder / "theirs", "celery", urls[0])
        self.ours = Product(folder / "ours", "taskctl", urls[1])

    def start(self) -> None:
        """Start the nodes; only w1 takes from the queue `hold`."""
        options = "-c 1 -l INFO"
        queues = {"w1": "celery,hold", "w2": "celery"}
        lines = [f"taskctl -A proj worker {options} -n {n}@host -Q {queues[n]}" for n in queues]
        with ThreadPoolExecutor() as pool:
            work = [pool.submit(p.start, line) for p in self for line in lines]
        for one in work:
            one.result()

    def __iter__(self) -> Any:
        return iter((self.theirs, self.ours))

    def each(self, action: Callable[[Product], T]) -> tuple[T, T]:
        """Return what an action gives for Celery and for us, both at once."""
        with ThreadPoolExecutor() as pool:
            theirs, ours = pool.map(action, self)
        return theirs, ours

    def line(self, line: str) -> tuple[Said, Said]:
        """Run a line in both."""
        return self.each(lambda product: product.line(line))

    def ask(self, product: Product, words: str) -> dict[str, Any]:
        """Return what the nodes of one product say, by name; asked by ours, which is quicker."""
        said = self.ours.line(f"taskctl -b {product.url} {words} -j")
        found: dict[str, Any] = json.loads(said.out) if said.out else {}
        return found

    def close(self) -> None:
        for product in self:
            product.close()
