"""Use the shop as a client would; print what came of it as JSON, the same each time."""

import json

from celery import chain, chunks, current_app, group, signature
from celery.contrib.abortable import AbortableAsyncResult
from celery.exceptions import TimeoutError
from celery.result import AsyncResult, GroupResult, result_from_tuple
from shop import tasks
from shop.celery import app

WAIT = {"timeout": 30}
said = {}


def outcome(result):
    """Return what a result says once it is there."""
    try:
        return [result.get(**WAIT), result.state, result.successful()]
    except Exception as exc:
        return [type(exc).__name__, str(exc), result.state]


said["conf"] = [
    app.conf.task_acks_late,
    app.conf.worker_prefetch_multiplier,
    app.main,
    app.conf.timezone,
    sorted(app.conf.beat_schedule),
    app.conf.task_serializer,
    app.conf.result_expires,
    current_app.main,
]
said["schedule"] = [repr(app.conf.beat_schedule["nightly-report"]["schedule"])]
said["tasks"] = sorted(name for name in app.tasks if name.startswith("shop."))
said["queues"] = sorted(app.amqp.queues)
said["repr"] = [repr(tasks.add.s(1, 2)), repr(chain(tasks.add.s(1, 2), tasks.add.s(3)))]
said["json"] = json.loads(json.dumps(tasks.add.s(2, y=3).set(queue="mail")))

said["add"] = outcome(tasks.add.delay(2, 3))
said["direct"] = tasks.add(4, 5)
said["apply"] = outcome(tasks.add.apply((1, 2)))
said["by name"] = outcome(app.send_task("shop.tasks.add", (1, 1)))
said["signature"] = outcome(signature("shop.tasks.add", args=(1,), app=app).delay(1))
said["pickle"] = outcome(tasks.add.apply_async(((1, 2), (3,)), serializer="pickle"))
said["reserve"] = outcome(tasks.reserve.delay("pen", 1))
said["no stock"] = outcome(tasks.reserve.delay("pen", wanted=3))
said["flaky"] = outcome(tasks.flaky.delay(2))
said["flaky too often"] = outcome(tasks.flaky.delay(5))
said["divide"] = outcome(tasks.divide.delay(1, 0))
said["gives up"] = outcome(tasks.gives_up.delay())
said["whoami"] = outcome(
    tasks.whoami.apply_async(
        (1,), {"a": 2}, headers={"tenant": "t1"}, shadow="me", expires=60, soft_time_limit=9.5
    )
)
said["progress"] = outcome(tasks.progress.delay())
said["slow"] = outcome(tasks.slow.delay())
said["limited"] = outcome(tasks.limited.delay())
said["discount"] = outcome(tasks.Discount.delay(50))
said["when"] = str(tasks.when.delay().get(**WAIT))
said["starts others"] = outcome(tasks.starts_others.delay())
said["wrong arguments"] = None
try:
    tasks.add.delay(1)
except TypeError as exc:
    said["wrong arguments"] = "missing 1 required positional argument" in str(exc)

said["chain"] = outcome((tasks.add.s(1, 1) | tasks.add.s(10) | tasks.square.s()).delay())
grouped = group(tasks.add.s(i, i) for i in range(4)).apply_async()
said["group"] = [grouped.get(**WAIT), grouped.completed_count(), grouped.ready(), len(grouped)]
grouped.save()
said["restored"] = GroupResult.restore(grouped.id).get(**WAIT)
said["tuple"] = result_from_tuple(grouped.as_tuple()).get(**WAIT)
said["map"] = outcome(tasks.total.map([[1, 2], [3, 4]]).delay())
said["starmap"] = outcome(tasks.add.starmap([(1, 2), (3, 4)]).delay())
said["chunks"] = chunks(tasks.add.s(), zip(range(4), range(4)), 2).apply_async().get(**WAIT)
said["partial"] = outcome(tasks.add.s(2).clone((3,)).delay())
said["linked"] = outcome(tasks.add.apply_async((1, 2), link=tasks.send_mail.si("boss")))
said["errback"] = outcome(tasks.reserve.apply_async(("ink", 9), link_error=tasks.on_error.s()))
said["workflow"] = outcome(tasks.workflow().delay())
said["chord"] = outcome(tasks.fan_in(4).delay())

patient = tasks.patient.delay()
AbortableAsyncResult(patient.id, app=app).abort()
said["aborted"] = isinstance(patient, AbortableAsyncResult)
said["same"] = AsyncResult(grouped[1].id).get(**WAIT)
said["countdown"] = outcome(tasks.add.apply_async((5, 5), countdown=0.5))
revoked = tasks.add.apply_async((0, 0), countdown=60)
revoked.revoke()
said["revoked"] = outcome(revoked)
try:
    AsyncResult("no-such-task", app=app).get(timeout=0.2)
except TimeoutError as exc:
    said["timeout"] = type(exc).__name__

reply = app.control.broadcast(
    "set_discount", arguments={"percent": 20}, reply=True, timeout=20, limit=1
)
said["command"] = [list(one.values()) for one in reply]
inspected = app.control.inspect(timeout=20, limit=1)
said["asked"] = list((inspected._request("shop_name") or {}).values())
said["registered"] = [
    sorted(n for n in names if n.startswith("shop.")) and True
    for names in inspected.registered().values()
]
with app.connection_for_read() as connection:
    connection.ensure_connection(max_retries=1)
    tasks.add.apply_async((1, 1), queue="shelf")
    said["waiting"] = connection.default_channel.queue_declare("shelf", passive=True).message_count
with app.producer_pool.acquire(block=True) as producer:
    said["lent"] = outcome(tasks.add.apply_async((8, 8), producer=producer))
with app.pool.acquire(block=True) as connection:
    said["uri"] = connection.as_uri().split(":")[0]

print(json.dumps(said, indent=1, sort_keys=True, default=str))
