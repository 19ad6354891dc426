import os
from pathlib import Path

SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "polls.apps.PollsConfig"]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("SITE_DATABASE", Path(__file__).with_name("db.sqlite3")),
        "OPTIONS": {"timeout": 20},
    }
}
USE_TZ = True
TIME_ZONE = "Europe/Vienna"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CELERY_BROKER_URL = os.environ.get("SITE_BROKER", "redis://localhost/0")
CELERY_RESULT_BACKEND = os.environ.get("SITE_RESULTS", CELERY_BROKER_URL)
CELERY_TASK_TRACK_STARTED = True
CELERY_TASK_TIME_LIMIT = 30 * 60
CELERY_RESULT_EXTENDED = True
CELERY_BEAT_SCHEDULE = {"count": {"task": "polls.tasks.count_votes", "schedule": 60.0}}
CELERY_CACHE_BACKEND = "default"
if os.environ.get("SITE_BEAT"):
    INSTALLED_APPS.append("django_celery_beat")
if CELERY_RESULT_BACKEND == "django-db":
    INSTALLED_APPS.append("django_celery_results")
