from celery import shared_task
from celery.utils.log import get_task_logger
from django.db import connection
from django.db.models import F

from .models import Choice

logger = get_task_logger(__name__)


@shared_task
def vote(text):
    Choice.objects.filter(text=text).update(votes=F("votes") + 1)
    logger.info("one vote for %s", text)
    return Choice.objects.get(text=text).votes


@shared_task
def count_votes():
    return {choice.text: choice.votes for choice in Choice.objects.order_by("text")}


@shared_task(
    bind=True, autoretry_for=(Choice.DoesNotExist,), max_retries=1, retry_kwargs={"countdown": 1}
)
def find(self, text):
    return Choice.objects.get(text=text).pk


@shared_task
def database():
    return [connection.vendor, connection.in_atomic_block]
