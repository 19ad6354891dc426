"""What the number of a priority means: the highest comes first, on every broker.

Redis has Celery's lists, which its workers empty from 0 to 9; a call of ours therefore travels
there under 9 less its number, so that workers of both kinds serve it in the same order.  Nothing
can be served before list 0, where all calls without a priority lie: so a queue has priorities only
if it was declared with them (`max_priority`), on Redis as on RabbitMQ.
See docs/decisions/0040-one-meaning-of-priority.md.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from ..brokers import SCHEMES
from ..wire.queues import Queue

log = logging.getLogger("taskctl.producer")

#: The highest number that Redis tells from others (kombu 5.7 transport/virtual `max_priority`).
_TOP = 9


class Ranking:
    """Turns the priority of a call into the number on the wire, and back.

    `turned`: low numbers are served first there.  `declared`: a queue has priorities only if it
    was declared with them.
    """

    def __init__(self, *, turned: bool = False, declared: bool = False) -> None:
        self.turned = turned
        self.declared = declared
        self._told: set[str] = set()

    def wire(self, number: int, queue: Queue | None) -> int:
        """Return the number that the message of a call to `queue` bears."""
        top = None if queue is None else queue.top_priority
        if top is None:
            if number and self.declared and queue is not None:
                self._tell(number, queue.name)
            return number
        if not self.turned:
            return number
        return _TOP - max(0, min(number, top, _TOP))

    def place(self, number: int, queue: Queue | None) -> int:
        """Return the priority by which the broker ranks a message that bears `number`."""
        plain = self.turned and (queue is None or queue.top_priority is None)
        return 0 if plain else number

    def own(self, number: int | None, queue: Queue | None) -> int | None:
        """Return the priority that a number on the wire stands for in a queue."""
        if not self.turned or number is None or queue is None or queue.top_priority is None:
            return number
        return _TOP - max(0, min(number, _TOP))

    def _tell(self, number: int, queue: str) -> None:
        if queue not in self._told:
            self._told.add(queue)
            log.warning(
                "priority %s has no effect: queue %r was declared without priorities"
                " (set task_queue_max_priority, or max_priority of the queue)",
                number, queue,
            )  # fmt: skip


#: Numbers travel as they were given, and mean what the broker takes them for.
AS_GIVEN = Ranking()


def ranking_of(urls: Iterable[str], order: str) -> Ranking:
    """Return the ranking of a broker at `urls`; `order` is the setting task_priority_order."""
    kinds = {SCHEMES.get(url.partition("://")[0].lower(), ("",))[0] for url in urls}
    if order == "celery":
        return Ranking()
    return Ranking(turned=kinds == {"redis"}, declared=kinds <= {"redis", "amqp"})
