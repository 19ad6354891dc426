"""Send tasks, as a program: `python -m benchmarks.apps.send PRODUCT TASK N`.

TASK is one of noop, group, answer, last, nap, anap.

`noop` prints how many seconds N calls one by one took, `group` how many N calls in groups of 500;
`last` sends one task that answers to UDP port N when it begins, and prints 0; `answer` sends each
when the one before has begun and the worker has been idle for a moment, and prints a JSON list of
the seconds from before the call to the begin of the task; `nap` and `anap` send N sleeps of a
second each, and print time.time() before the first.
"""

from __future__ import annotations

import functools
import importlib
import json
import random
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

#: Pause before a call, seconds: drawn anew each time, or a beat with a poll could hide it.
PAUSE = (0.010, 0.025)
#: Seconds after which an answer counts as lost.
PATIENCE = 30.0


def send_noops(app: Any, count: int) -> float:
    """Return how many seconds `count` calls take."""
    noop = app.tasks["bench.noop"]
    noop.delay()  # connects, and declares the queue
    began = time.perf_counter()
    for _ in range(count - 1):
        noop.delay()
    return (time.perf_counter() - began) * count / (count - 1)


def send_groups(app: Any, count: int, size: int = 500) -> float:
    """Return how many seconds `count` calls in groups of `size` take."""
    noop = app.tasks["bench.noop"]
    noop.delay()
    group = importlib.import_module(type(app).__module__.partition(".")[0]).group
    began = time.perf_counter()
    for _ in range(count // size):
        group([noop.si() for _ in range(size)], app=app).apply_async()
    return time.perf_counter() - began


def send_naps(app: Any, count: int, name: str) -> float:
    """Send `count` sleeps; return time.time() before the first."""
    nap = app.tasks[f"bench.{name}"]
    began = time.time()
    for _ in range(count):
        nap.delay()
    return began


def send_last(app: Any, port: int) -> float:
    """Send the task that tells when those before it are through."""
    app.tasks["bench.answer"].delay(port)
    return 0.0


def ask_answers(app: Any, count: int) -> list[float]:
    """Return for each of `count` calls the seconds from the call to the begin of the task."""
    answer = app.tasks["bench.answer"]
    latencies = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(PATIENCE)
        port = ear.getsockname()[1]
        for call in range(-5, count):
            time.sleep(random.uniform(*PAUSE))
            sent = time.time()
            answer.delay(port)
            began = struct.unpack("d", ear.recv(8))[0]
            if call >= 0:  # the first few find caches cold
                latencies.append(began - sent)
    return latencies


if __name__ == "__main__":
    product, task, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
    module = importlib.import_module(f"benchmarks.apps.{product}_app")
    send: dict[str, Callable[[Any, int], Any]] = {
        "noop": send_noops,
        "group": send_groups,
        "answer": ask_answers,
        "last": send_last,
    }
    send["nap"] = functools.partial(send_naps, name="nap")
    send["anap"] = functools.partial(send_naps, name="anap")
    print(json.dumps(send[task](module.app, number)))
