"""What taking from RabbitMQ keeps count of: queues that are consumed, messages on loan."""

from __future__ import annotations

from collections import deque

from ..wire.queues import Queue
from .amqp_codec import Content, Delivered


class Tap:
    """A queue that is consumed: its consumer, what that may still bring, and what it brought."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.name = queue.name
        #: The tag of the present consumer; None while there is none.
        self.consumer: str | None = None
        self.window = 0
        #: Unacknowledged messages that the present consumer brought.
        self.open = 0
        self.waiting: deque[tuple[Delivered, Content]] = deque()
        #: Whether it was deleted under us.
        self.lost = False

    @property
    def credit(self) -> int:
        """How many messages are on their way, or come as soon as they are there."""
        return 0 if self.consumer is None else max(0, self.window - self.open)


class Loan:
    """A delivery in somebody's hands."""

    __slots__ = (
        "consumer",
        "content",
        "deliveries",
        "due",
        "envelope",
        "exchange",
        "key",
        "marked",
        "number",
        "queue",
        "redelivered",
        "task_id",
        "times",
    )  # fmt: skip

    def __init__(self, queue: str, delivered: Delivered, content: Content) -> None:
        self.number = delivered.tag
        self.consumer = delivered.consumer
        self.queue = queue
        self.content = content
        self.exchange = delivered.exchange
        self.key = delivered.routing_key
        self.redelivered = delivered.redelivered
        self.deliveries = 0
        self.times = 0
        #: When it is due again, if it is parked.
        self.due: float | None = None
        self.task_id = ""
        self.envelope = b""
        #: What it is called in the book of losses; empty for one that has no id.
        self.marked = ""
