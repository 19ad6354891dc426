"""A Django project in the process of the tests: a database file, a cache, the admin."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.contrib import admin
from django.core.management import call_command
from django.urls import path

_folder: list[tempfile.TemporaryDirectory[str]] = []


def options(folder: Path, memcached_port: int) -> dict[str, Any]:
    """Return the settings of the site whose database is in `folder`."""
    return dict(
        SECRET_KEY="only for tests",
        USE_TZ=True,
        TIME_ZONE="Asia/Tokyo",
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["testserver"],
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "django_celery_results",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(folder / "site.db"),
                "OPTIONS": {"timeout": 30},
            }
        },
        CACHES={
            "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"},
            "results": {
                "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
                "LOCATION": f"127.0.0.1:{memcached_port}",
            },
        },
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    )


def set_up(memcached_port: int) -> dict[str, str]:
    """Set Django up with its tables made, once for a process.

    Returns the environment in which other processes are of the same site.
    """
    if not _folder:
        if settings.configured:
            raise RuntimeError("another test has set Django up in this process")
        _folder.append(tempfile.TemporaryDirectory(prefix="taskctl-django-"))
        settings.configure(**options(Path(_folder[0].name), memcached_port))
        django.setup()
        call_command("migrate", verbosity=0)
    return {
        "DJANGO_SETTINGS_MODULE": "tests.support.djangosettings",
        "DJANGO_SITE": f"{memcached_port}:{_folder[0].name}",
    }


def emptied() -> None:
    """Empty the tables of results."""
    from django_celery_results import models  # needs Django set up

    models.TaskResult.objects.all().delete()
    models.GroupResult.objects.all().delete()
    models.ChordCounter.objects.all().delete()


def __getattr__(name: str) -> Any:
    """Give Django the pages of the site, which need its apps loaded."""
    if name == "urlpatterns":
        return [path("admin/", admin.site.urls)]
    raise AttributeError(name)
