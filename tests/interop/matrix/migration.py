"""A fleet goes over from Celery to taskctl node by node and back, under load, and loses nothing."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import project
from .cells import LIBRARIES, Station, settings_for

NODES = 4


@dataclass
class Sent:
    """What a producer expects: the result, its value, and which keys must have run."""

    result: Any
    value: Any
    keys: list[str]


class Producer(threading.Thread):
    """Sends single tasks, chains, groups and chords in turn, by both libraries' clients."""

    def __init__(self, station: Station, total: int) -> None:
        super().__init__(name="producer")
        self.station, self.total = station, total
        self.sent: list[Sent] = []
        self.tasks = 0
        self.error: BaseException | None = None
        self._keys = itertools.count()
        self._shapes = random.Random(7)

    def run(self) -> None:
        try:
            for number in itertools.count():
                if self.tasks >= self.total:
                    return
                api = self.station.clients[LIBRARIES[number % 2]]
                self._send(api)
                while self.tasks - self.station.ran() > 600:  # the work lasts through all changes
                    time.sleep(0.02)
        except BaseException as exc:
            self.error = exc

    def _take(self, count: int) -> list[str]:
        self.tasks += count
        return [f"k{next(self._keys)}" for _ in range(count)]

    def _send(self, api: Any) -> None:
        shape = self._shapes.choices(["single", "chain", "group", "chord"], [70, 10, 10, 10])[0]
        if shape == "single":
            (key,) = keys = self._take(1)
            self.sent.append(Sent(api.note.delay(key, key), key, keys))
        elif shape == "chain":
            one, two, three = keys = self._take(3)
            result = api.chain(api.note.s(one, one), api.note.s(two), api.note.s(three))()
            self.sent.append(Sent(result, one, keys))
        elif shape == "group":
            keys = self._take(4)
            result = api.group(api.note.s(n, key) for n, key in enumerate(keys))()
            self.sent.append(Sent(result, [0, 1, 2, 3], keys))
        else:
            keys = self._take(5)
            header = [api.note.s(n, key) for n, key in enumerate(keys[:4])]
            result = api.chord(header, api.note_total.s(keys[4]))()
            self.sent.append(Sent(result, 6, keys))


def migrate(station: Station, share: Callable[[float], None]) -> None:
    """Replace each node by one of ours, then each of those by one of Celery's."""
    steps = 2 * NODES
    for number in range(steps):
        share((number + 1) / (steps + 1))
        old, new = ("celery", "taskctl") if number < NODES else ("taskctl", "celery")
        node = number % NODES
        station.start(f"{new}{node}.{number}", "-c", "1", kind=new)
        name = f"{old}{node}.{number - NODES}" if number >= NODES else f"celery{node}"
        assert station.stop(name) == 0, station.log(name)


def read(station: Station, sent: Sent) -> Any:
    """Return the value of a call as a client sees it that comes later."""
    app = station.readers[len(sent.keys) % 2]
    ids = [child.id for child in getattr(sent.result, "results", [sent.result])]
    values = [app.AsyncResult(one).get(timeout=60) for one in ids]
    return values if hasattr(sent.result, "results") else values[0]


def logged(station: Station, producer: Producer, key: str) -> list[str]:
    """Return what the logs of all nodes say of the call that a key belongs to."""
    results = [one.result for one in producer.sent if key in one.keys]
    ids = [child.id for result in results for child in getattr(result, "results", [result])]
    return [
        f"{key} {path.stem}: {line}"
        for path in sorted(station.folder.glob("*.log"))
        for line in path.read_text(errors="replace").splitlines()
        if any(one in line for one in ids)
    ]


def run(station: Station, total: int) -> None:
    producer = Producer(station, total)
    producer.start()

    def share(part: float) -> None:
        while station.ran() < part * total:
            assert producer.error is None, producer.error
            assert station.alive(), "a node has ended by itself"
            time.sleep(0.05)

    migrate(station, share)
    producer.join()
    assert producer.error is None, producer.error

    deadline = time.monotonic() + 60
    while station.ran() < producer.tasks and time.monotonic() < deadline:
        time.sleep(0.1)
    runs = Counter(station.keys())
    keys = [key for one in producer.sent for key in one.keys]
    lost = [key for key in keys if not runs[key]]
    wrong = [] if lost else [one for one in producer.sent if read(station, one) != one.value]
    again = {key: times for key, times in runs.items() if times > 1}
    print(
        f"{station.broker}: {len(keys)} tasks in {len(producer.sent)} calls, {2 * NODES} nodes "
        f"replaced: {len(lost)} lost, {len(again)} run twice, {len(wrong)} wrong results"
    )
    for key in again:
        print("\n".join(logged(station, producer, key)))
    assert not lost and not wrong
    # A Celery node that stops on Redis now and then gives back what it has just run ("Restoring 1
    # unacknowledged message(s)" in its log), and the rest of a chain runs again with it.
    assert len(again) <= 3 * NODES, again


def fleet_on(broker: str, request: pytest.FixtureRequest, folder: Path) -> Iterator[Station]:
    """Run four nodes of Celery."""
    settings = settings_for(broker, request, 72)
    station = Station("celery", broker, folder, settings)
    station.readers = [project.make(kind, **settings) for kind in LIBRARIES]
    try:
        for node in range(NODES):
            station.start(f"celery{node}", "-c", "1", await_answer=False)
        for node in range(NODES):
            station.await_answer(f"celery{node}")
        yield station
    finally:
        for reader in station.readers:
            reader.close()
        station.close()
