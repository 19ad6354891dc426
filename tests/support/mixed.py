"""Workers of Celery and of ours on one broker, from one app file, and both clients beside them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from celery import Celery

from taskctl import App

from .waiting import eventually

#: What both kinds of workers run; `SIDE` says whose package it is made with.
PROJECT = """\
import os, time
if os.environ["SIDE"] == "celery":
    from celery import Celery
    from celery.exceptions import Ignore, Reject
else:
    from taskctl import Celery
    from taskctl.core.errors import Ignore, Reject

app = Celery("proj", broker={url!r}, backend={backend!r})
app.conf.update({settings!r})

@app.task(name="proj.add", rate_limit="600/m")
def add(x, y):
    return x + y

@app.task(name="proj.mul")
def mul(x, y):
    return x * y

@app.task(name="proj.nap")
def nap(seconds):
    time.sleep(seconds)
    return seconds

@app.task(name="proj.hold")
def hold(path):
    open(path, "w").close()
    while os.path.exists(path):
        time.sleep(0.02)
    return path

@app.task(name="proj.fail")
def fail(*args):
    raise ValueError("boom", 42)

@app.task(name="proj.again", bind=True, max_retries=1)
def again(self):
    if not self.request.retries:
        raise self.retry(countdown=0, exc=KeyError("k"))
    return "done"

@app.task(name="proj.reject", bind=True, acks_late=True)
def reject(self):
    raise Reject("no", requeue=False)

@app.task(name="proj.ignore")
def ignore():
    raise Ignore()

@app.task(name="proj.progress", bind=True)
def progress(self):
    self.send_event("task-progress", done=50, total=100)
    return self.request.id

@app.task(name="proj.late", bind=True, acks_late=True)
def late(self, seconds):
    time.sleep(seconds)
"""
_ENV = ("TASKCTL_", "CELERY_", "COLUMNS", "NO_COLOR", "FORCE_COLOR")


class Member:
    """One worker process: `side` is "celery" or "taskctl", `name` its node name."""

    def __init__(self, side: str, name: str, process: subprocess.Popen[bytes], path: Path) -> None:
        self.side, self.name, self.process, self._path = side, name, process, path

    @property
    def log(self) -> str:
        return self._path.read_text(errors="replace")

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log
        return re.search(r" ready(\.| in)", self.log) is not None

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(20)


class Mixed:
    """A fleet on one broker; `theirs` and `ours` are the client apps."""

    def __init__(self, folder: Path, url: str, backend: str | None = None, **settings: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.url = folder, url
        self.settings = {"broker_connection_retry_on_startup": True, **settings}
        backend = backend or url
        text = PROJECT.format(url=url, backend=backend, settings=self.settings)
        (folder / "proj.py").write_text(text)
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(_ENV)}
        self.env |= {
            "C_FORCE_ROOT": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(folder),
            "TASKCTL_RUN_DIR": str(folder / "run"),
            "XDG_CACHE_HOME": str(folder / "cache"),
        }
        self.theirs = Celery("proj", broker=url, backend=backend, set_as_current=False)
        self.ours = App("proj", broker=url, backend=backend, set_as_current=False)
        for app in (self.theirs, self.ours):
            app.conf.update(self.settings)
        self.members: dict[str, Member] = {}
        self._programs: list[subprocess.Popen[bytes]] = []

    # --- workers --------------------------------------------------------------------------------

    def start(self, side: str, name: str, *words: str) -> Member:
        """Start a worker, and do not wait for it; `words` are further options."""
        node = name if "@" in name else f"{name}@h"
        number = len(list(self.folder.glob(f"{name}-*.log")))
        log = self.folder / f"{name}-{number}.log"
        line = ["-A", "proj", "worker", "-n", node, "-l", "INFO", *words]
        process = self._spawn(side, line, log)
        self.members[node] = Member(side, node, process, log)
        return self.members[node]

    def wait_ready(self, within: float = 60.0) -> None:
        """Wait until every worker says that it is ready."""
        for member in self.members.values():
            eventually(member.is_ready, within=within)

    def restart(self, name: str, *words: str) -> Member:
        """End a worker at once and start one of its name."""
        member = self.members.pop(name)
        member.end()
        return self.start(member.side, name, *words)

    # --- programs -------------------------------------------------------------------------------

    def run(self, side: str, *words: str, within: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a program of one side on the project to its end."""
        return subprocess.run(
            [sys.executable, "-m", side, "-A", "proj", *words],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            cwd=self.folder,
            env={**self.env, "SIDE": side},
            timeout=within,
        )

    def program(self, side: str, *words: str, log: str) -> subprocess.Popen[bytes]:
        """Start a program of one side; `close` ends it."""
        process = self._spawn(side, ["-A", "proj", *words], self.folder / log)
        self._programs.append(process)
        return process

    def _spawn(self, side: str, words: Iterable[str], log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return subprocess.Popen(
                [sys.executable, "-m", side, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**self.env, "SIDE": side},
                start_new_session=True,
            )

    # --- asking ---------------------------------------------------------------------------------

    def app(self, side: str) -> Any:
        return self.theirs if side == "celery" else self.ours

    def tell(
        self, side: str, method: str, arguments: Any = None, *nodes: str, **options: Any
    ) -> Any:
        """Broadcast with one side's client; return the replies by node.

        With `nodes` it returns once they have answered.
        """
        options = {"reply": True, "timeout": 10.0 if nodes else 2.0, **options}
        replies = self.app(side).control.broadcast(
            method, arguments=arguments or {}, destination=list(nodes) or None, **options
        )
        return {node: value for reply in replies or () for node, value in reply.items()}

    def hear(self, act: Callable[[], Any], enough: Callable[[list[Any]], bool]) -> list[Any]:
        """Return the events from when `act` begins until there are enough, as they came."""
        events: list[dict[str, Any]] = []
        with self.ours.connection() as connection:
            receiver = self.ours.events.Receiver(connection, {"*": events.append})
            connection.broker.listen("celeryev", "#")
            act()
            deadline = time.monotonic() + 30
            while not enough(events) and time.monotonic() < deadline:
                receiver.capture(limit=1, timeout=30, wakeup=False)
        assert enough(events), json.dumps(events, indent=1)
        return events

    def each(self, action: Callable[[str], Any], items: Iterable[str]) -> list[Any]:
        """Return what an action gives for each of several, all at once."""
        items = list(items)
        with ThreadPoolExecutor(len(items)) as pool:
            return list(pool.map(action, items))

    def close(self) -> None:
        for process in self._programs:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
        for member in self.members.values():
            member.end()
        self.theirs.close()
        self.ours.close()
