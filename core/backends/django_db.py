"""Results in a Django project's database, in the tables of django-celery-results.

Rows are written as that package writes them, through its models, so that its managers, its admin
and Celery read them.  It writes no traceback unless `result_extended` is on; here it is always
written.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings  # type: ignore[import-untyped,unused-ignore]
from django.db import Error as DatabaseError  # type: ignore[import-untyped,unused-ignore]
from django.db import InterfaceError, OperationalError, connections, router, transaction  # type: ignore[import-untyped,unused-ignore]
from django.db.models import Q  # type: ignore[import-untyped,unused-ignore]
from django.utils import timezone  # type: ignore[import-untyped,unused-ignore]

from ..errors import ContentDisallowed, DecodeError
from ..wire import codecs
from ..wire.outcome import StoredMeta
from ..wire.saferepr import saferepr
from . import rows
from .django_chords import CountsInDjango
from .django_site import model, need_settings
from .guards import SQLITE_GUARD
from .polling import PollingBackend, logger

_IDS_PER_QUERY = 500
#: Content type -> serializer.
_SERIALIZERS = {codec.content_type: name for name, codec in codecs.CODECS.items()}
#: Fields of a row that are read back.
_READ = (
    "task_id", "status", "content_type", "content_encoding", "result", "traceback", "meta",
    "date_done", "task_name", "task_args", "task_kwargs", "worker",
)  # fmt: skip
#: What `result_extended` knows and the table has no column for; it goes where the package puts
#: what a request brings along.
_BESIDE = ("retries", "queue")
#: Connections that were open when this process was forked: they are the parent's, and nobody
#: here may close them.
_parents: list[Any] = []


class DjangoDatabaseBackend(CountsInDjango, PollingBackend):
    """Results in Django's database; `django-db`.

    Connections are Django's own, one for each thread.  How long a result is kept is up to its
    readers, as with Celery.
    """

    def __init__(self, url: str, **given: Any) -> None:
        super().__init__(url, **given)
        self.where = "result backend django-db"
        self._serializer = str(self.options.get("result_serializer") or "json")
        self._accept = rows.accepted(self.options) | {
            codecs.codec_named(self._serializer).content_type
        }

    def open(self) -> None:
        need_settings(self.where)

    def close(self) -> None:
        if settings.configured:
            with SQLITE_GUARD:
                for alias in connections:
                    connection = connections[alias]
                    if not connection.in_atomic_block and not self.forked():
                        connection.close()

    # --- Django's connections ---------------------------------------------------------------

    @contextmanager
    def _database(self, name: str, *, write: bool) -> Iterator[tuple[Any, str]]:
        """Hand out (rows of a model, the alias of their database), errors in our words."""
        found = model(self.where, name)
        alias = router.db_for_write(found) if write else router.db_for_read(found)
        connection = connections[alias]
        if self.forked():
            _let_go(connection)
        with self._guard(connection):
            try:
                if connection.errors_occurred and not connection.in_atomic_block:
                    connection.close_if_unusable_or_obsolete()
                yield found._default_manager.using(alias), alias
            except DatabaseError as exc:
                text = str(exc)
                if ("django_celery_results" in text and "exist" in text) or "no such table" in text:
                    text = f"{text} (run: python manage.py migrate django_celery_results)"
                away = isinstance(exc, OperationalError | InterfaceError) and "(run:" not in text
                if away and not connection.in_atomic_block:
                    connection.close()
                raise self.error(text, away=away) from exc

    def _guard(self, connection: Any) -> AbstractContextManager[Any]:
        return SQLITE_GUARD if connection.vendor == "sqlite" else nullcontext()

    # --- metas ------------------------------------------------------------------------------

    def store(self, batch: Sequence[StoredMeta]) -> None:
        if not batch:
            return
        with self._database("TaskResult", write=True) as (table, alias):
            fields = table.model._meta
            items = [item for item in batch if self._fits(item, fields, connections[alias].vendor)]
            opened = [rows.opened(item, self.where, self._serializer) for item in items]
            values = [
                (taken[0].task_id, self._columns(*taken, fields)) for taken in opened if taken
            ]
            with transaction.atomic(using=alias):
                self._make(table, [task_id for task_id, _ in values], alias)
                for task_id, columns in values:
                    mine = table.filter(task_id=task_id)
                    mine.filter(self._open_to_change()).update(**columns)

    def _make(self, table: Any, ids: Sequence[str], alias: str) -> None:
        """Have a row for each task; one that is there stays as it is."""
        content_type, encoding = self._content(self._serializer)
        about = {"content_type": content_type, "content_encoding": encoding}
        if connections[alias].features.supports_ignore_conflicts:
            made = [table.model(task_id=id, **about) for id in dict.fromkeys(ids)]
            table.bulk_create(made, ignore_conflicts=True, batch_size=_IDS_PER_QUERY)
        else:
            for id in dict.fromkeys(ids):
                table.get_or_create(task_id=id, defaults=about)

    def _fits(self, item: StoredMeta, fields: Any, vendor: str) -> bool:
        longest = fields.get_field("task_id").max_length
        too_long = vendor != "sqlite" and len(item.task_id) > longest
        if too_long or rows.text(item.task_id) != item.task_id:
            text = "%s cannot keep the result of task %r: the column of its id holds %d characters"
            logger.error(text, self.where, item.task_id, longest)
            return False
        return True

    def _open_to_change(self) -> Q:
        """Say which rows may be written over: all but a SUCCESS that is still kept."""
        free = ~Q(status="SUCCESS")
        lifetime = self.lifetime("SUCCESS")
        return free if lifetime is None else free | Q(date_done__lte=_ago(lifetime))

    def _columns(
        self, item: StoredMeta, fields: dict[str, Any], serializer: str, about: Any
    ) -> dict[str, Any]:
        """Return the columns of a meta, as django-celery-results fills them."""
        content_type, encoding = self._content(serializer)
        beside = {name: fields[name] for name in _BESIDE if name in fields}
        stamps = fields.get("stamped_headers") or ()
        beside |= {name: fields[name] for name in ("stamped_headers", *stamps) if name in fields}
        columns: dict[str, Any] = {
            "status": item.state,
            "content_type": content_type,
            "content_encoding": encoding,
            "result": _encoded(fields.get("result"), serializer),
            "traceback": rows.text(fields.get("traceback")),
            "meta": _encoded({"children": fields.get("children") or [], **beside}, serializer),
            "date_done": _in_project(rows.done_at(fields) or datetime.now(UTC)),
            "task_name": fields.get("name"),
            "worker": fields.get("worker"),
            "task_args": None,
            "task_kwargs": None,
        }
        if item.state == "STARTED":
            columns["date_started"] = _ago(0)
        for column, name in (("task_args", "args"), ("task_kwargs", "kwargs")):
            if name in fields:
                columns[column] = _encoded(_shown(fields[name]), serializer)
        for column in ("status", "task_name", "worker"):
            value = rows.text(columns[column])
            columns[column] = value and value[: about.get_field(column).max_length]
        return columns

    def _content(self, serializer: str) -> tuple[str, str]:
        codec = codecs.codec_named(serializer)
        return codec.content_type, codec.content_encoding

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        metas: dict[str, bytes] = {}
        wanted = [id for id in dict.fromkeys(task_ids) if rows.text(id) == id]
        for start in range(0, len(wanted), _IDS_PER_QUERY):
            some = wanted[start : start + _IDS_PER_QUERY]
            with self._database("TaskResult", write=False) as (table, _):
                found = list(table.filter(task_id__in=some).values(*_READ))
            for row in found:
                if self._alive(row["status"], row["date_done"]):
                    metas[row["task_id"]] = self._meta(row)
        return metas

    def _meta(self, row: dict[str, Any]) -> bytes:
        try:
            beside = self._decoded(row, "meta") or {}
            if not isinstance(beside, dict):
                raise DecodeError("its column meta is no map")
            children = beside.pop("children", None)
            more = dict(beside)
            if row["task_name"] is not None or row["task_args"] is not None:
                more = {
                    "name": row["task_name"],
                    "args": self._decoded(row, "task_args"),
                    "kwargs": self._decoded(row, "task_kwargs"),
                    "worker": row["worker"],
                    **beside,
                }
            fields = rows.meta_fields(
                row["task_id"],
                row["status"],
                self._decoded(row, "result"),
                row["traceback"],
                children,
                rows.done_text(row["status"], _in_utc(row["date_done"])),
                more,
            )
            return rows.put_together(fields, self._serializer, self._accept)
        except (DecodeError, ContentDisallowed, ValueError) as exc:
            return rows.refused(exc, self._serializer)

    def _decoded(self, row: dict[str, Any], column: str) -> Any:
        """Return what a column holds; the row says how it was written."""
        data, content_type = row[column], row["content_type"]
        if data is None:
            return None
        if content_type not in _SERIALIZERS:
            raise DecodeError(f"unknown content type {content_type!r}")
        if content_type not in self._accept:
            if content_type == rows.PICKLE:
                raise ContentDisallowed("pickles are not in result_accept_content")
            raise DecodeError(f"{content_type} is not in result_accept_content")
        if row["content_encoding"] == "binary":
            data = base64.b64decode(data)
        return rows.read_stored(data, _SERIALIZERS[content_type], self._accept)

    def _alive(self, state: str, done: datetime | None) -> bool:
        lifetime = self.lifetime(state)
        return lifetime is None or done is None or done > _ago(lifetime)

    def find(self, prefix: str, limit: int = 10) -> list[str]:
        with self._database("TaskResult", write=False) as (table, _):
            query = table.filter(task_id__startswith=prefix).order_by()
            found = list(query.values_list("task_id", "status", "date_done")[: 10 * limit])
        # In SQLite, letters of either case begin alike.
        alive = (id for id, state, done in found if self._alive(state, done))
        return [id for id in alive if id.startswith(prefix)][:limit]

    def forget(self, task_ids: Sequence[str]) -> None:
        if task_ids:
            with self._database("TaskResult", write=True) as (table, _):
                for start in range(0, len(task_ids), _IDS_PER_QUERY):
                    some = task_ids[start : start + _IDS_PER_QUERY]
                    table.filter(task_id__in=some).delete()

    # --- groups -----------------------------------------------------------------------------

    def store_group(self, group_id: str, value: bytes) -> None:
        fields, serializer = rows.take_apart(value)
        content_type, encoding = self._content(serializer)
        columns = {
            "content_type": content_type,
            "content_encoding": encoding,
            "result": _encoded(fields.get("result"), serializer),
        }
        with self._database("GroupResult", write=True) as (table, _):
            table.update_or_create(group_id=group_id, defaults=columns)

    def load_group(self, group_id: str) -> bytes | None:
        wanted = ("content_type", "content_encoding", "result", "date_done")
        with self._database("GroupResult", write=False) as (table, _):
            row = table.filter(group_id=group_id).values(*wanted).first()
        kept = row if row and self._alive("SUCCESS", row["date_done"]) else None
        header = self.load_header(group_id) if kept is None else None
        if kept is None and header is None:
            return None
        try:
            value = {"result": header if kept is None else self._decoded(kept, "result")}
            return rows.put_together(value, self._serializer, self._accept)
        except (DecodeError, ContentDisallowed, ValueError) as exc:
            raise self.error(f"saved group {group_id} cannot be read: {exc}") from exc

    def forget_group(self, group_id: str) -> None:
        with self._database("GroupResult", write=True) as (table, _):
            table.filter(group_id=group_id).delete()

    def expire(self) -> int:
        dropped = self.sweep_chords()
        for name, state, which in (
            ("TaskResult", "FAILURE", Q(status="FAILURE")),
            ("TaskResult", "SUCCESS", ~Q(status="FAILURE")),
            ("GroupResult", "SUCCESS", Q()),
        ):
            lifetime = self.lifetime(state)
            if lifetime is not None:
                with self._database(name, write=True) as (table, _):
                    old = table.filter(which, date_done__lte=_ago(lifetime))
                    dropped += old.delete()[0]
        return dropped


def _let_go(connection: Any) -> None:
    """Forget the connection that is the parent's, without a word to its server."""
    if connection.connection is not None:
        _parents.append((os.getpid(), connection.connection))
        connection.connection = None


def _encoded(value: Any, serializer: str) -> str:
    """Return a field as the tables hold it: text, of binary serializers in base64."""
    data = rows.write(value, serializer)
    binary = codecs.codec_named(serializer).content_encoding == "binary"
    return base64.b64encode(data).decode() if binary else data.decode()


def _shown(value: Any) -> str:
    """Return arguments as the package shows them: their text."""
    revived = codecs.json_decode(json.dumps(value, default=repr).encode())
    return saferepr(tuple(revived) if isinstance(revived, list) else revived)


def _ago(seconds: float) -> datetime:
    return _in_project(datetime.now(UTC) - timedelta(seconds=seconds))


def _in_project(when: datetime) -> datetime:
    """Return a time as the project's tables hold it (`USE_TZ`)."""
    return when if settings.USE_TZ else timezone.make_naive(when)


def _in_utc(when: datetime | None) -> datetime | None:
    if when is None:
        return None
    return (timezone.make_aware(when) if timezone.is_naive(when) else when).astimezone(UTC)
