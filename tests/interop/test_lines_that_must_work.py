"""Lines from scripts and unit files: as they stand with `taskctl`, beside them with `celery`."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ..support.products import Product, Products
from ..support.shell import Said
from ..support.waiting import eventually

HOST = socket.gethostname()

WORKER = "taskctl -A proj worker -l INFO -c 4 -Q a,b -n w1@%h"
START = "taskctl multi start 10 -A proj -Q:1-3 images,video -Q:4,5 data -Q default -L:4,5 DEBUG"
RESTART = (
    "taskctl -A proj multi restart w1 w2 -c:1 10 --pidfile=/run/x/%n.pid --logfile=/log/x/%n%I.log"
)
ACTIVE = "taskctl -A proj inspect active -d w1@host -j -t 2"
PING = "taskctl -A proj inspect -t 2 -d w1@host,w2@host ping"
RATE = "taskctl -A proj control rate_limit tasks.add 10/m"
ADD = "taskctl -A proj control -d w1@host add_consumer video"
STATUS = "taskctl -A proj status | grep -o ': OK'"
PURGE = (
    "taskctl -A proj purge -f -Q images && taskctl -A proj call tasks.add -a '[2,3]' --countdown 5"
)
STATS = "CELERY_APP=proj CELERY_INSPECT_TIMEOUT=5 taskctl inspect stats -j | jq 'keys'"

#: Celery puts its own folders in, which only root may make.
PLACES = " --pidfile=/run/x/%n.pid --logfile=/log/x/%n%I.log"
FIRST_THREE = {"celery1", "celery2", "celery3"}
_TASK_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def normal(text: str) -> str:
    """Return what was said without ids, process numbers, times, colours, name and version."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    text = _TASK_ID.sub("ID", text)
    text = re.sub(r"(?:celery|taskctl) multi v\S+( \(\w+\))?", "PROGRAM", text)
    text = re.sub(r"-> [\d, ]+\.*$", "-> PIDS", text, flags=re.MULTILINE)
    return text.replace(HOST, "HOST")


def replies(text: str) -> list[str]:
    """Return what nodes answered in the order of their names; they answer in any."""
    return sorted(part.rstrip() for part in re.split(r"^(?=->)|\n\n", text, flags=re.MULTILINE))


@pytest.fixture
def place(products: Products) -> Iterator[Products]:
    """Both products; nodes that a line starts end with the test."""
    standing = products.each(lambda product: set(product.pids()))
    yield products
    for product, names in zip(products, standing, strict=True):
        for name, pid in product.pids().items():
            if name not in names:
                product.end(pid)


def test_worker(place: Products) -> None:
    nodes = place.each(lambda product: product.start(WORKER))
    asked = place.each(lambda product: queues_and_children(place, product, f"w1@{HOST}"))
    for process, _ in nodes:
        process.send_signal(signal.SIGTERM)
    codes = [process.wait(30) for process, _ in nodes]

    assert codes == [0, 0]
    assert asked == ((["a", "b"], 4), (["a", "b"], 4))


def queues_and_children(place: Products, product: Product, node: str) -> tuple[list[str], int]:
    """Return what a node says it takes from, and how many children it has."""
    queues = place.ask(product, f"inspect active_queues -d {node} -t 5")[node]
    stats = place.ask(product, f"inspect stats -d {node} -t 5")[node]
    return sorted(queue["name"] for queue in queues), stats["pool"]["max-concurrency"]


def test_multi_start_works_here_and_celery_fails_at_its_own_example(place: Products) -> None:
    def start(product: Product) -> Said:
        return product.line(START + (PLACES if product is place.theirs else ""))

    theirs, ours = place.each(start)

    assert (theirs.code, ours.code) == (0, 0)
    started = {f"celery{number}" for number in range(1, 11)}
    assert set(place.ours.pids()) - {"w1", "w2"} == started
    assert took(normal(ours.out)) == {name: "OK" for name in started}
    # What is wrong there is `-L`, and nothing else.
    failed = {"celery4": "FAILED", "celery5": "FAILED"}
    assert took(normal(theirs.out)) == {name: failed.get(name, "OK") for name in started}
    assert theirs.err.count("Error") == theirs.err.count("No such option '-L'") == 2
    # It does not wait for them; only who has its pidfile is ended with the test.
    eventually(lambda: set(place.theirs.pids()) >= started - set(failed))
    queues = {name: option(place.ours, name, "-Q") for name in started}
    assert {name for name in started if queues[name] == "images,video"} == FIRST_THREE
    assert {name for name in started if queues[name] == "data"} == set(failed)
    levels = {name: option(place.ours, name, "-l") for name in started}
    assert {name for name in started if levels[name] == "DEBUG"} == set(failed)


def option(product: Product, node: str, name: str) -> str | None:
    """Return the value an option has in the command line of a node that runs."""
    words = Path(f"/proc/{product.pids()[node]}/cmdline").read_text().split("\0")
    return words[words.index(name) + 1] if name in words else None


def took(text: str) -> dict[str, str]:
    """Return how the start of each node went, as `multi` says it."""
    found = re.findall(r"> (\w+)@HOST: (?:\* Child terminated.*\n)?(\w+)", text)
    return dict(found)


def test_multi_restart(place: Products) -> None:
    first = place.line(RESTART)
    before = place.each(lambda product: running(place, product))
    again = place.line(RESTART)
    after = place.each(lambda product: running(place, product))

    for theirs, ours in (first, again):
        assert (theirs.code, ours.code) == (0, 0), ours.err
        assert spoken(ours.out) == spoken(theirs.out)
    for (old, _), (new, children) in zip(before, after, strict=True):
        assert set(old) == set(new) == {"w1", "w2"}
        assert old["w1"] != new["w1"] and old["w2"] != new["w2"]
        assert children == 10


def running(place: Products, product: Product) -> tuple[dict[str, int], int]:
    """Return the nodes that multi started, once they answer, and the children of w1."""
    names = [f"w1@{HOST}", f"w2@{HOST}"]

    def answers() -> dict[str, Any]:
        found = place.ask(product, f"inspect stats -d {','.join(names)}")
        return found if set(found) == set(names) else {}

    stats = eventually(answers, within=20)
    return product.pids(), stats[names[0]]["pool"]["max-concurrency"]


def spoken(text: str) -> list[str]:
    """Return the lines of multi without those about waiting, which are as many as it takes.

    They are sorted: whichever node is down first starts first.
    """
    return sorted(line for line in normal(text).splitlines() if line and "Waiting" not in line)


def test_inspect_active(place: Products) -> None:
    flags = place.each(lambda product: product.folder / "held")
    held = place.each(
        lambda p: p.line(f"taskctl -A proj call tasks.hold -a '[\"{p.folder}/held\"]' --queue hold")
    )
    eventually(lambda: all(flag.exists() for flag in flags))
    theirs, ours = place.line(ACTIVE)
    for flag in flags:
        flag.unlink()

    assert [theirs.code, ours.code] == [0, 0]
    [[request], [own]] = [list(json.loads(said.out)["w1@host"]) for said in (theirs, ours)]
    assert [request["id"], own["id"]] == [said.out.strip() for said in held]
    assert shape(own) == shape(request)


#: What differs from call to call; and what differs by a default that is listed elsewhere.
_OWN = {"id", "time_start", "worker_pid", "args", "acknowledged"}


def shape(request: dict[str, Any]) -> dict[str, Any]:
    """Return a request of `inspect active`: of what changes only its type is left."""
    return {k: type(v).__name__ if k in _OWN else v for k, v in request.items()}


@pytest.mark.parametrize("line", [PING, RATE, ADD, STATUS], ids=["ping", "rate", "add", "status"])
def test_in_a_pipe_every_byte_is_the_same(place: Products, line: str) -> None:
    theirs, ours = place.line(line)

    assert (ours.code, replies(ours.out)) == (theirs.code, replies(theirs.out))
    assert (theirs.code, ours.err) == (0, "")
    assert theirs.out.count("OK") == (1 if line == ADD else 2)


@pytest.fixture(scope="module")
def slow(products: Products) -> dict[str, tuple[Said, Said]]:
    """What the two lines say that take five seconds each, run at once, and the tasks' results."""
    products.line("taskctl -A proj call tasks.add --queue images; " * 2 + "true")
    result = " | { read one; read id; echo $one; echo $id; taskctl -A proj result $id; }"
    lines = {"purge": f"{{ {PURGE}; }}{result}", "stats": STATS}
    with ThreadPoolExecutor() as pool:
        said = pool.map(products.line, lines.values())
    return dict(zip(lines, said, strict=True))


def test_purge_and_call(slow: dict[str, tuple[Said, Said]]) -> None:
    theirs, ours = slow["purge"]

    assert (ours.code, normal(ours.out)) == (theirs.code, normal(theirs.out))
    assert normal(ours.out) == "Purged 2 messages from 1 known task queue.\nID\n5\n"


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
def test_inspect_stats_by_variables(slow: dict[str, tuple[Said, Said]]) -> None:
    theirs, ours = slow["stats"]

    assert (ours.code, ours.out) == (theirs.code, theirs.out)
    assert (ours.code, json.loads(ours.out)) == (0, ["w1@host", "w2@host"])
