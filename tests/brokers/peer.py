"""Another process at the same broker: `python -m tests.brokers.peer VERB URL QUEUE [ARGS]`.

Each verb prints one JSON line when it is ready or done, and flushes.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from taskctl.core.brokers import open_broker
from taskctl.core.brokers.base import Broker
from taskctl.core.wire.message import Publication, decode_envelope, encode_envelope
from taskctl.core.wire.queues import direct_queue

ROOT = Path(__file__).resolve().parents[2]


def envelope(text: str, queue: str = "q") -> bytes:
    """Return an envelope whose body is `text`."""
    return encode_envelope(
        text.encode(),
        content_type="text/plain",
        content_encoding="utf-8",
        headers={"id": text},
        properties={},
        exchange="",
        routing_key=queue,
    )


def text_of(encoded: bytes) -> str:
    """Return the text that `envelope` put in."""
    return decode_envelope(encoded).body.decode()


def publication(text: str, queue: str = "q", **options: Any) -> Publication:
    """Return a message for `queue` by the anonymous exchange; its task id is `text`."""
    return Publication(
        exchange=options.pop("exchange", ""),
        routing_key=options.pop("routing_key", queue),
        envelope=envelope(text, queue),
        task_id=text,
        **options,
    )


def wait_readable(broker: Broker, seconds: float) -> bool:
    """Wait until the broker's descriptor is readable, at most `seconds`."""
    poller = select.poll()
    poller.register(broker.fileno(), select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)


def publish(url: str, queue: str, *texts: str) -> None:
    """Publish the texts and say so."""
    broker = open_broker(url)
    broker.open()
    broker.publish([publication(text, queue) for text in texts])
    broker.close()
    say(len(texts))


def stamp(url: str, queue: str) -> None:
    """Publish the time, once for every line on stdin."""
    broker = open_broker(url)
    broker.open()
    say("ready")
    for _ in sys.stdin:
        broker.publish([publication(repr(time.time()), queue)])
    broker.close()


def consume(url: str, queue: str, owner: str, limit: str) -> None:
    """Receive and ack until the queue has stayed empty for a second; say what came."""
    broker = open_broker(url, owner=owner)
    broker.open()
    broker.register(owner, {}, 30.0)
    broker.subscribe(direct_queue(queue))
    say("ready")
    sys.stdin.readline()
    texts: list[str] = []
    last = time.monotonic()
    while time.monotonic() - last < 1.0:
        deliveries = broker.receive(int(limit))
        if not deliveries:
            wait_readable(broker, 0.1)
            continue
        last = time.monotonic()
        texts += [text_of(delivery.envelope) for delivery in deliveries]
        broker.ack([delivery.tag for delivery in deliveries])
    broker.retire()
    broker.close()
    say(texts)


def hold(url: str, queue: str, owner: str, count: str, lease: str) -> None:
    """Take `count` messages, the first one started; then sit there until killed."""
    broker = open_broker(url, owner=owner)
    broker.open()
    broker.register(owner + "@host", {"pid": 1}, float(lease))
    broker.subscribe(direct_queue(queue))
    held: list[str] = []
    while len(held) < int(count):
        deliveries = broker.receive(int(count) - len(held))
        held += [delivery.tag for delivery in deliveries]
        if not deliveries:
            wait_readable(broker, 0.1)
    broker.started(held[:1])
    say(held)
    for line in sys.stdin:  # each line: ack what was held long ago
        broker.ack(held)
        say(line.strip())


def relay(url: str, queue: str, owner: str) -> None:
    """Ack each message and publish its successor in one step, until killed."""
    broker = open_broker(url, owner=owner)
    broker.open()
    broker.register(owner, {}, 0.5)
    broker.subscribe(direct_queue(queue))
    say("ready")
    while True:
        for delivery in broker.receive(1):
            text = str(int(text_of(delivery.envelope)) + 1)
            broker.ack([delivery.tag], [publication(text, queue)])


def reclaim(url: str, queue: str, rounds: str) -> None:
    """Reclaim over and over, and say whose loans were given back."""
    broker = open_broker(url, owner="reclaimer")
    broker.open()
    say("ready")
    names: list[str] = []
    for _ in range(int(rounds)):
        names += broker.reclaim()
        time.sleep(0.005)
    broker.close()
    say(names)


def start(verb: str, url: str, queue: str, *args: Any) -> subprocess.Popen[str]:
    """Start a peer; its caller reads, kills and waits."""
    command = [sys.executable, "-m", "tests.brokers.peer", verb, url, queue, *map(str, args)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )


def heard_from(peer: subprocess.Popen[str]) -> Any:
    """Return the next line a peer said."""
    assert peer.stdout is not None
    line = peer.stdout.readline()
    assert line, f"peer ended with {peer.wait()}"
    return json.loads(line)


def tell(peer: subprocess.Popen[str], line: str = "go") -> None:
    """Send a peer one line."""
    assert peer.stdin is not None
    peer.stdin.write(line + "\n")
    peer.stdin.flush()


VERBS = {verb.__name__: verb for verb in (publish, stamp, consume, hold, relay, reclaim)}

if __name__ == "__main__":
    VERBS[sys.argv[1]](*sys.argv[2:])
