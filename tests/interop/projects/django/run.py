"""Use the site's tasks as its views would; print what came of it as JSON."""

import json
import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

import django

django.setup()

from celery import current_app, group
from django.core.management import call_command
from django.db import transaction
from mysite.celery import app, debug_task
from polls import tasks
from polls.models import Choice

call_command("migrate", verbosity=0)
Choice.objects.all().delete()
for text in ("red", "blue"):
    Choice.objects.create(text=text)

WAIT = {"timeout": 30}
said = {"current": current_app.main}
said["class"] = [kind.__name__ for kind in type(debug_task).__mro__ if "Django" in kind.__name__]
said["conf"] = [
    app.conf.task_track_started,
    app.conf.task_time_limit,
    app.conf.timezone,
    sorted(app.conf.beat_schedule),
    app.conf.task_acks_late,
]
said["vote"] = tasks.vote.delay("red").get(**WAIT)
# Side by side, two may see the count when both are in; the last one sees all.
said["votes"] = max(group(tasks.vote.s("blue") for _ in range(3))().get(**WAIT))
said["count"] = tasks.count_votes.delay().get(**WAIT)
said["database"] = tasks.database.delay().get(**WAIT)
missing = tasks.find.delay("green")
try:
    missing.get(**WAIT)
except Exception as exc:
    said["missing"] = [type(exc).__name__, type(exc) is Choice.DoesNotExist, missing.state]

sent = []
original = app.send_task
with transaction.atomic():
    tasks.vote.delay_on_commit("red")
    said["before commit"] = Choice.objects.get(text="red").votes
for _ in range(300):
    if Choice.objects.get(text="red").votes == 2:
        break
    __import__("time").sleep(0.1)
said["after commit"] = Choice.objects.get(text="red").votes
try:
    with transaction.atomic():
        tasks.vote.delay_on_commit("red")
        raise RuntimeError
except RuntimeError:
    said["rolled back"] = tasks.count_votes.delay().get(**WAIT)["red"]
if app.conf.result_backend == "django-db":
    from django_celery_results.models import TaskResult

    row = TaskResult.objects.get(task_id=missing.id)
    said["row"] = [row.status, row.task_name, TaskResult.objects.count() > 5]
print(json.dumps(said, indent=1, sort_keys=True, default=str))
