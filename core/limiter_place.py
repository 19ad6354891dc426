"""Where limits that all workers share are counted: from an app's settings to a limiter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import ImproperlyConfigured
from .limiters import Limiter, can_limit, open_limiter
from .redact import mask_url


def make_limiter(app: Any) -> Limiter:
    """Return the limiter of `task_limits_url`, else at the broker, else at the result backend.

    Raises ImproperlyConfigured if none of them can count.
    """
    url, options = _place(app)
    return open_limiter(url, options=options)


def _place(app: Any) -> tuple[str, Mapping[str, Any]]:
    conf = app.conf
    broker, backend = app.broker_urls()[0], app.backend_url()
    if conf.task_limits_url:
        same = conf.task_limits_url == broker
        return str(conf.task_limits_url), app.broker_options() if same else {}
    if can_limit(broker):
        return broker, app.broker_options()
    if isinstance(backend, str) and can_limit(backend):
        return backend, dict(conf.result_backend_transport_options or {})
    kept = mask_url(backend) if isinstance(backend, str) else "none"
    raise ImproperlyConfigured(
        f"limits for all workers (Limit, Concurrency, Unique) cannot be counted at the broker "
        f"{mask_url(broker)}, nor at the result backend ({kept}): set task_limits_url to a "
        "redis:// or sqlite:// URL that all workers and callers reach"
    )
