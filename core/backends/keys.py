"""Names under which key/value stores keep results, as Celery's do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

#: Must equal Celery 5.7 backends/base.py BaseKeyValueStoreBackend.
TASK_PREFIX, GROUP_PREFIX = "celery-task-meta-", "celery-taskset-meta-"
#: A global_keyprefix that ends in one of these is used as it is, any other gets an underscore.
_PREFIX_ENDS = ":_-."


class Keys:
    """Ids to keys and back.

    `fits` says whether the store can hold a key.  One it cannot hold, with which Celery fails,
    is kept under the SHA-256 of its id.
    """

    def __init__(self, options: Mapping[str, Any], fits: Callable[[str], bool]) -> None:
        prefix = str(options.get("global_keyprefix") or "")
        if prefix and prefix[-1] not in _PREFIX_ENDS:
            prefix += "_"
        self.task_prefix, self.group_prefix = prefix + TASK_PREFIX, prefix + GROUP_PREFIX
        self._fits = fits

    def of_task(self, task_id: str) -> str:
        """Return the key of a result."""
        return self._key(self.task_prefix, task_id)

    def of_group(self, group_id: str) -> str:
        """Return the key of a saved group."""
        return self._key(self.group_prefix, group_id)

    def _key(self, prefix: str, id: str) -> str:
        key = prefix + id
        if self._fits(key):
            return key
        return f"{prefix}sha256-{sha256(id.encode('utf-8', 'surrogatepass')).hexdigest()}"
