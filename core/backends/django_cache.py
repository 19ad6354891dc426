"""Results in a cache of a Django project, as django-celery-results keeps them there.

A cache has no step that looks and writes: of two tasks' ends that come in the same moment, the
later wins, also over a SUCCESS.  And it may drop what it has no room for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from django.core.cache import caches  # type: ignore[import-untyped,unused-ignore]
from django.core.cache.backends.base import InvalidCacheBackendError  # type: ignore[import-untyped,unused-ignore]
from django.db import Error as DatabaseError  # type: ignore[import-untyped,unused-ignore]

from ..errors import BackendError, DecodeError, ImproperlyConfigured
from ..wire import codecs
from ..wire.outcome import StoredMeta
from ..wire.result_meta import encode_exception
from . import rows
from .django_site import need_settings
from .keys import Keys
from .polling import PollingBackend

#: What every cache takes as a key; Django puts some characters before it.  Source: Django docs,
#: "Cache key warnings".
_KEY = re.compile(r"[\x21-\x7e]{1,230}")


class DjangoCacheBackend(PollingBackend):
    """Results in the cache that `cache_backend` names, else the default one; `django-cache`.

    What is kept is the meta itself, an object: Django's caches pickle, and trust who can write to
    them.
    """

    naps = (0.002, 0.1)

    def __init__(self, url: str, **given: Any) -> None:
        super().__init__(url, **given)
        self.where = "result backend django-cache"
        self._serializer = str(self.options.get("result_serializer") or "json")
        self._accept = rows.accepted(self.options)
        self._keys = Keys(self.options, lambda key: _KEY.fullmatch(key) is not None)

    def open(self) -> None:
        need_settings(self.where)
        self._cache()

    def close(self) -> None:
        if not self.forked():
            self._cache().close()

    def _cache(self) -> Any:
        name = self.options.get("cache_backend") or "default"
        try:
            return caches[name]
        except InvalidCacheBackendError as exc:
            raise ImproperlyConfigured(f"{self.where}: cache_backend: {exc}") from exc

    def _ask(self, verb: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the cache.

        Caches raise what their drivers raise, which has no common root.
        """
        if self.forked():
            caches.close_all()
        try:
            return getattr(self._cache(), verb)(*args, **kwargs)
        except BackendError:
            raise
        except (OSError, DatabaseError) as exc:
            raise self.error(exc, away=True) from exc
        except Exception as exc:  # any class of any driver
            raise self.error(f"{type(exc).__name__}: {exc}") from exc

    # --- metas ------------------------------------------------------------------------------

    def store(self, batch: Sequence[StoredMeta]) -> None:
        for given in batch:
            taken = rows.opened(given, self.where, self._serializer)
            if taken is None:
                continue
            item = taken[0]
            key = self._keys.of_task(item.task_id)
            value, lifetime = self._object(item.meta), self._timeout(item.state)
            if not self._ask("add", key, value, lifetime):
                old = self._ask("get", key)
                if not (isinstance(old, dict) and old.get("status") == "SUCCESS"):
                    self._ask("set", key, value, lifetime)

    def _timeout(self, state: str) -> int | None:
        """Return how long a state is kept in whole seconds, which is what every cache takes."""
        lifetime = self.lifetime(state)
        return None if lifetime is None else max(1, math.ceil(lifetime))

    def _object(self, meta: bytes) -> dict[str, Any]:
        """Return what is kept: a meta with all its values."""
        fields, serializer = rows.take_apart(meta)
        if serializer == "json":
            plain = rows.write(fields, "json")
            return dict(codecs.json_decode(plain))
        return fields

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        if not task_ids:
            return {}
        ids = {self._keys.of_task(task_id): task_id for task_id in task_ids}
        found = self._ask("get_many", list(ids))
        return {ids[key]: self._meta(value) for key, value in found.items()}

    def _meta(self, value: Any) -> bytes:
        if not isinstance(value, dict) or not isinstance(value.get("status"), str):
            kind = type(value).__name__
            return rows.refused(DecodeError(f"it is {kind}, no map"), self._serializer)
        result = value.get("result")
        if isinstance(result, BaseException) and self._serializer != "pickle":
            value = {**value, "result": encode_exception(result, self._serializer)}
        try:
            return rows.put_together(value, self._serializer, self._accept)
        except DecodeError as exc:
            return rows.refused(exc, self._serializer)

    def forget(self, task_ids: Sequence[str]) -> None:
        if task_ids:
            self._ask("delete_many", [self._keys.of_task(task_id) for task_id in task_ids])

    # --- groups -----------------------------------------------------------------------------

    def store_group(self, group_id: str, value: bytes) -> None:
        key = self._keys.of_group(group_id)
        self._ask("set", key, self._object(value), self._timeout("SUCCESS"))

    def load_group(self, group_id: str) -> bytes | None:
        value = self._ask("get", self._keys.of_group(group_id))
        if value is None:
            return None
        try:
            return rows.put_together(value, self._serializer, self._accept)
        except (DecodeError, TypeError, ValueError) as exc:
            raise self.error(f"saved group {group_id} cannot be read: {exc}") from exc

    def forget_group(self, group_id: str) -> None:
        self._ask("delete", self._keys.of_group(group_id))

    def expire(self) -> int:
        return 0
