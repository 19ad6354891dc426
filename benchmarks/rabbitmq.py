"""The same on RabbitMQ: emptying a queue of no-op tasks, and sending with publisher confirms."""

from __future__ import annotations

import socket
import time

from .drain import BEGIN_WITHIN, END_WITHIN
from .report import Claim, Figure
from .rounds import Sample, take_turns
from .stand import CELERY_RABBITMQ, QUEUE, TASKCTL_RABBITMQ, Contestant, Stand, now

#: Tasks in the queue when the worker starts, and calls of each way to send.
TASKS = {"taskctl": 20_000, "celery": 4_000}
CALLS = 3_000

METHOD = """\
As on Redis: each product fills a durable classic queue with its own producer (taskctl {taskctl:,}
tasks, Celery {celery:,}), then `{{program}} worker -P prefork -c 2` starts. RabbitMQ does not tell
a client what is unacknowledged, so the clock stops when the last task of the queue begins, which
says so itself. Then, with no worker running, {calls:,} calls one by one and in groups of 500. Both
wait for publisher confirms, which are always on in taskctl and `confirm_publish` in Celery; of a
group, taskctl hands over all messages and then waits once. One by one, each call waits
for the server's own confirm: a bare socket that writes frames made beforehand, and waits for each,
sends some 2,000 a second on the machine of these figures.""".format(calls=CALLS, **TASKS)


def drain(stand: Stand, contestant: Contestant, tasks: int) -> float:
    """Return tasks a second, from the first that is taken to the begin of the last."""
    stand.clear()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ear:
        ear.bind(("127.0.0.1", 0))
        ear.settimeout(END_WITHIN)
        stand.send(contestant, "noop", tasks)
        stand.send(contestant, "last", ear.getsockname()[1])
        with stand.rabbit.connect() as line:
            channel = line.channel()

            def waiting() -> int:
                declared = channel.queue_declare(QUEUE, passive=True)
                return int(declared.method.message_count)

            full = waiting()
            with stand.worker(contestant):
                launched = now()
                while (left := waiting()) == full:
                    if now() - launched > BEGIN_WITHIN:
                        raise TimeoutError(f"nothing was taken:\n{stand.complaint()}")
                    time.sleep(0.02)
                began = now()
                ear.recv(8)
                return round(left / (now() - began), 1)


def send(stand: Stand, contestant: Contestant, way: str) -> float:
    """Return calls a second, to an empty queue."""
    stand.clear()
    return round(CALLS / stand.send(contestant, way, CALLS), 1)


def rabbitmq(stand: Stand, rounds: int) -> Figure:
    """Take the figures on RabbitMQ."""
    contestants = [TASKCTL_RABBITMQ, CELERY_RABBITMQ]

    def turn(contestant: Contestant) -> tuple[float, float, float]:
        return (
            drain(stand, contestant, TASKS[contestant.product]),
            send(stand, contestant, "noop"),
            send(stand, contestant, "group"),
        )

    taken = take_turns(contestants, rounds, turn)
    samples = {
        c: [Sample(list(values)) for values in zip(*taken[c], strict=True)] for c in contestants
    }
    ours, theirs = (samples[c] for c in contestants)
    ratios = [mine.over(other) for mine, other in zip(ours, theirs, strict=True)]
    return Figure(
        "RabbitMQ",
        METHOD.replace("{program}", "taskctl|celery"),
        ["", "drained a second", "sent one by one", "sent in groups"],
        [[c.label, *(sample.show() for sample in samples[c])] for c in contestants]
        + [["beside Celery", *(ratio.show(2) for ratio in ratios)]],
        rounds,
        [
            Claim("drain, taskctl / Celery", ratios[0], at_least=3),
            Claim("confirmed groups, taskctl / Celery", ratios[2], at_least=2),
        ],
    )
