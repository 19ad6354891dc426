"""`celery.security`: signed messages."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from taskctl.core import current
from taskctl.core.wire.trust import distrust_all_but


def setup_security(
    allowed_serializers: Iterable[str] | None = None,
    key: str | None = None,
    key_password: str | bytes | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
    app: Any = None,
) -> None:
    """Sign messages; see `App.setup_security`.  Without `app`, the current one."""
    app = current.get_app() if app is None else app
    app.setup_security(allowed_serializers, key, key_password, cert, store, digest, serializer)


def disable_untrusted_serializers(whitelist: Iterable[str] | None = None) -> None:
    """Let `kombu.serialization.loads` refuse all serializers but these."""
    distrust_all_but(whitelist or ())
