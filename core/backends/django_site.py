"""The Django project around us: whether it is set up, and its errors in our words."""

from __future__ import annotations

import os
from typing import Any

import django  # type: ignore[import-untyped,unused-ignore]
from django.apps import apps  # type: ignore[import-untyped,unused-ignore]
from django.conf import settings  # type: ignore[import-untyped,unused-ignore]
from django.core.exceptions import AppRegistryNotReady  # type: ignore[import-untyped,unused-ignore]
from django.core.exceptions import ImproperlyConfigured as DjangoImproperlyConfigured  # type: ignore[import-untyped,unused-ignore]

from ..errors import BackendError, ImproperlyConfigured

_VARIABLE = "DJANGO_SETTINGS_MODULE"


def need_settings(where: str) -> None:
    """Refuse to work in a program that has no Django project."""
    if not settings.configured and not os.environ.get(_VARIABLE):
        raise ImproperlyConfigured(
            f"{where} needs a Django project: set {_VARIABLE}, or call django.setup() first"
        )


def need_apps(where: str) -> None:
    """Have the project's apps loaded.

    Raises BackendError while somebody else is loading them: it is too early for results.
    """
    need_settings(where)
    if apps.ready:
        return
    try:
        django.setup()
    except (RuntimeError, AppRegistryNotReady) as exc:
        raise BackendError(f"{where}: Django's apps are still being loaded: {exc}") from exc
    except (ImportError, DjangoImproperlyConfigured) as exc:
        raise ImproperlyConfigured(f"{where}: Django cannot be set up: {exc}") from exc


def model(where: str, name: str) -> Any:
    """Return a model of django-celery-results."""
    need_apps(where)
    if not apps.is_installed("django_celery_results"):
        raise ImproperlyConfigured(
            f"{where} needs 'django_celery_results' among INSTALLED_APPS (pip install"
            " django-celery-results), and its tables: python manage.py migrate"
        )
    try:
        return apps.get_model("django_celery_results", name)
    except LookupError:
        raise ImproperlyConfigured(
            f"{where}: this django-celery-results has no {name}: pip install -U"
            " django-celery-results, then python manage.py migrate"
        ) from None
