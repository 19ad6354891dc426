"""The project that process tests run: an app set by the environment, and tasks that leave marks.

A mark is a line in the file TRIAL_MARKS, appended when a task begins: what ran, and how often, is
counted there, outside of broker and backend.
"""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

from taskctl import App
from taskctl.core.errors import Ignore, Reject

app = App("trial", set_as_current=False, **json.loads(os.environ.get("TRIAL_SETTINGS", "{}")))


def leave_mark(key: str) -> int:
    """Append one line for `key`; return how many there are of it now."""
    path = os.environ["TRIAL_MARKS"]
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(fd, f"{key} {os.getpid()} {time.time():.3f}\n".encode())
    os.close(fd)
    with open(path) as file:
        return sum(line.split()[0] == key for line in file)


@app.task(name="trial.mark")
def mark(key: str, seconds: float = 0.0) -> str:
    leave_mark(key)
    time.sleep(seconds)
    return key


@app.task(name="trial.hang_once")
def hang_once(key: str, seconds: float = 120.0) -> str:
    """Hang in the first run; a later one is quick."""
    if leave_mark(key) == 1:
        time.sleep(seconds)
    return key


@app.task(name="trial.die")
def die(key: str, signum: int = signal.SIGKILL) -> None:
    leave_mark(key)
    os.kill(os.getpid(), signum)


@app.task(name="trial.kill_worker")
def kill_worker(key: str) -> None:
    leave_mark(key)
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)


@app.task(name="trial.early", acks_late=False)
def early(key: str, signum: int = signal.SIGKILL) -> None:
    leave_mark(key)
    os.kill(os.getpid(), signum)


@app.task(name="trial.fail")
def fail(key: str) -> None:
    leave_mark(key)
    raise ValueError("boom", 42)


@app.task(name="trial.again", bind=True, max_retries=3)
def again(self: Any, key: str, countdown: float = 0.1) -> int:
    leave_mark(key)
    if self.request.retries < 2:
        raise self.retry(countdown=countdown)
    return int(self.request.retries)


@app.task(name="trial.ignore")
def ignore(key: str) -> None:
    leave_mark(key)
    raise Ignore


@app.task(name="trial.reject")
def reject(key: str, requeue: bool = False) -> str:
    if leave_mark(key) == 1:
        raise Reject("not today", requeue=requeue)
    return key


@app.task(name="trial.refuse")
def refuse(key: str) -> None:
    leave_mark(key)
    raise Reject("never", requeue=False)


@app.task(name="trial.unserialisable")
def unserialisable(key: str) -> object:
    leave_mark(key)
    return object()


@app.task(name="trial.tracked", track_started=True)
def tracked(key: str, seconds: float = 0.0) -> str:
    leave_mark(key)
    time.sleep(seconds)
    return key


@app.task(name="trial.grow")
def grow(key: str, mib: int) -> int:
    """Take memory and give it back; return the child's pid."""
    leave_mark(key)
    block = bytearray(mib << 20)
    block[::4096] = b"x" * len(block[::4096])
    return os.getpid()


@app.task(name="trial.soft")
def soft(key: str) -> str:
    from taskctl.core.errors import SoftTimeLimitExceeded

    leave_mark(key)
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "soft"
    return "late"


@app.task(name="trial.add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="trial.echo")
def echo(value: Any) -> Any:
    return value


@app.task(name="trial.total")
def total(values: list[int]) -> int:
    return sum(values)


@app.task(name="trial.mean")
def mean(values: list[int]) -> int:
    return sum(values) // len(values)


@app.task(name="trial.note_end")
def note_end(values: Any, key: str) -> str:
    leave_mark(key)
    return key


@app.task(name="trial.heard")
def heard(task_id: str) -> None:
    leave_mark(f"heard-{task_id}")


@app.task(name="trial.leave")
def leave(key: str) -> None:
    """End the child without a word."""
    leave_mark(key)
    os._exit(3)


@app.task(name="trial.die_once")
def die_once(key: str) -> str:
    """Kill the child in the first run."""
    if leave_mark(key) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return key
