"""What a client that is Celery sends, handed to an app of ours: no server between them."""

from __future__ import annotations

import json
from typing import Any

from celery.backends.redis import RedisBackend

from taskctl.core.tasks.result import result_from_tuple
from taskctl.core.wire.message import Publication, encode_envelope


class _Chords(RedisBackend):
    """Says to the backend of our app what Celery's says to Redis of a chord."""

    ours: Any

    def set_chord_size(self, group_id: str, chord_size: int) -> None:
        self.ours.backend.begin_chord(group_id, chord_size)

    def save_group(self, group_id: str, result: Any) -> None:
        result_from_tuple(result.as_tuple(), self.ours).save_as_header(self.ours.backend)

    _save_group = save_group

    def on_task_call(self, *args: Any, **kwargs: Any) -> None:
        """Nobody waits with this backend."""

    def add_pending_result(self, result: Any, *args: Any, **kwargs: Any) -> Any:
        return result


class CelerySender:
    """Sends signatures of a Celery app to the memory broker of ours."""

    def __init__(self, theirs: Any, ours: Any) -> None:
        self.theirs, self.ours = theirs, ours
        backend = _Chords(app=theirs, url="redis://nowhere")
        backend.ours = ours
        theirs._local.backend = backend

    def send(self, made: Any) -> Any:
        """Publish what Celery publishes for `made`; return our result object of it."""
        publications: list[Publication] = []

        def take(producer: Any, name: str, message: Any, **options: Any) -> None:
            headers, properties, body, _ = message
            publications.append(_publication(headers, properties, body))

        amqp = self.theirs.amqp
        amqp.send_task_message = take
        try:
            sent = made.apply_async()
        finally:
            del amqp.send_task_message
        self.ours.shared_connection().broker.publish(publications)
        return None if sent is None else result_from_tuple(sent.as_tuple(), self.ours)


def _publication(headers: Any, properties: Any, body: Any) -> Publication:
    return Publication(
        exchange="",
        routing_key="celery",
        envelope=encode_envelope(
            json.dumps(body).encode(),
            content_type="application/json",
            content_encoding="utf-8",
            headers=headers,
            properties={**properties, "delivery_mode": 2},
            exchange="",
            routing_key="celery",
            priority=0,
        ),
        priority=0,
        due=None,
        task_id=headers["id"],
    )
