"""What a request says of its call under Celery's names, for listeners (5.7 worker/request.py).

All of it is worked out when it is asked for: a worker itself asks for nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import TaskctlError
from ..tasks.context import open_body
from ..wire.codecs import accepted_types
from ..wire.message import decode_envelope
from ..wire.task_message import TaskBody, TaskHeaders, TaskMessage

if TYPE_CHECKING:
    from ..messaging.consumer import Delivery


class RequestFacts:
    """The call a message stands for, read only."""

    __slots__ = ()

    if TYPE_CHECKING:
        acked: bool
        delivery: Delivery
        limits: tuple[float | None, float | None]
        message: TaskMessage
        started: float | None
        task: Any

        @property
        def headers(self) -> TaskHeaders: ...

    @property
    def _content(self) -> TaskBody:
        conf = self.app.conf
        accept = accepted_types(conf.accept_content, conf.task_max_decompressed_size)
        return open_body(self.message, accept)

    @property
    def app(self) -> Any:
        return self.task.app

    @property
    def task_id(self) -> str:
        return self.headers.id or ""

    @property
    def task_name(self) -> str:
        return self.headers.task or ""

    @property
    def args(self) -> Any:
        """The positional arguments; raises DecodeError or ContentDisallowed."""
        return self._content.args

    @property
    def kwargs(self) -> Any:
        """The keyword arguments; raises DecodeError or ContentDisallowed."""
        return self._content.kwargs

    @property
    def errbacks(self) -> Any:
        return self._content.errbacks

    @property
    def chord(self) -> Any:
        return self._content.chord

    @property
    def argsrepr(self) -> str:
        return self.headers.argsrepr or ""

    @property
    def kwargsrepr(self) -> str:
        return self.headers.kwargsrepr or ""

    @property
    def root_id(self) -> str | None:
        return self.headers.root_id

    @property
    def parent_id(self) -> str | None:
        return self.headers.parent_id

    @property
    def group(self) -> str | None:
        return self.headers.group

    @property
    def group_index(self) -> int | None:
        return self.headers.group_index

    @property
    def eta(self) -> str | None:
        return self.headers.eta

    @property
    def expires(self) -> str | None:
        return self.headers.expires

    @property
    def ignore_result(self) -> bool | None:
        return self.headers.ignore_result

    @property
    def replaced_task_nesting(self) -> int:
        return self.headers.replaced_task_nesting or 0

    @property
    def stamped_headers(self) -> Any:
        return self.headers.stamped_headers

    @property
    def stamps(self) -> dict[str, Any]:
        return self.headers.stamps or {}

    @property
    def time_limits(self) -> tuple[float | None, float | None]:
        """The limits in force, in Celery's order: hard, soft; seconds."""
        return self.limits

    @property
    def time_start(self) -> float | None:
        return self.started

    @property
    def acknowledged(self) -> bool:
        return self.acked

    @property
    def correlation_id(self) -> str | None:
        return self.message.properties.correlation_id

    @property
    def reply_to(self) -> str | None:
        return self.message.properties.reply_to

    @property
    def content_type(self) -> str | None:
        return self.message.content_type

    @property
    def content_encoding(self) -> str | None:
        return self.message.content_encoding

    @property
    def delivery_info(self) -> dict[str, Any]:
        place, priority = self.message.properties.delivery_info, self.message.properties.priority
        if self.task is not None:
            priority = self.task.app.queues.priority_of(priority, self.delivery.queue)
        return {
            "exchange": place.exchange,
            "routing_key": place.routing_key,
            "priority": priority,
            "redelivered": self.delivery.redelivered,
        }

    @property
    def request_dict(self) -> dict[str, Any]:
        """The headers as they came; {} if they cannot be read any more."""
        try:
            return decode_envelope(self.delivery.envelope).headers
        except TaskctlError:
            return {}
