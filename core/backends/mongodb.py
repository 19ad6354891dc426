"""Results in MongoDB, one document each, as Celery's backend writes them.

A document's `_id` is the task's.  `result` is what `result_serializer` makes of it; the other
fields are BSON's own types.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import bson
from bson.errors import InvalidDocument
from pymongo import MongoClient, ReplaceOne
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.uri_parser import parse_uri

from ..errors import ContentDisallowed, DecodeError, ImproperlyConfigured
from ..wire.outcome import StoredMeta
from . import rows
from .polling import PollingBackend, logger

T = TypeVar("T")

#: Names where neither URL nor settings say otherwise.  Source: Celery 5.7 backends/mongodb.py.
_DATABASE, _TASKS, _GROUPS = "celery", "celery_taskmeta", "celery_groupmeta"
#: Options of the client where nobody says otherwise; its own time-outs are half a minute.
_CLIENT_OPTIONS = {
    "maxPoolSize": 10,
    "serverSelectionTimeoutMS": 5000,
    "connectTimeoutMS": 5000,
    "socketTimeoutMS": 10000,
}
#: Most bytes of one document.  Source: MongoDB manual, "MongoDB Limits and Thresholds".
_LARGEST = 16 * 1024 * 1024
#: Room for what a document has beside the bytes of its meta.
_MARGIN = 64 * 1024
#: Codes of errors.  Source: MongoDB manual, "Error Codes".
_AUTHENTICATION_FAILED, _DUPLICATE_KEY = 18, 11000
_IDS_PER_QUERY = 1000
#: Fields of a meta that are kept as they are, with whatever `result_extended` adds.
_TEXTS = ("name", "worker", "queue", "group_id", "parent_id")
#: Our own field of a saved group whose members are more than tasks; Celery reads past it.
_TUPLE = "taskctl_tuple"


class MongoBackend(PollingBackend):
    """Results in two collections; `mongodb://user:password@host:27017/database?option=value`.

    How long a result is kept is up to its readers, as with Celery.  After a fork, new connections
    are made.
    """

    compresses = True
    max_bytes = _LARGEST - _MARGIN
    naps = (0.005, 0.2)

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        self._serializer = str(self.options.get("result_serializer") or "json")
        self._accept = rows.accepted(self.options)
        self._lock = threading.Lock()
        self._client: MongoClient[dict[str, Any]] | None = None
        self._choose(self.options.get("mongodb_backend_settings") or {})

    def _choose(self, given: Mapping[str, Any]) -> None:
        """Work out where to connect to: the URL, and over it the settings."""
        if not isinstance(given, Mapping):
            raise ImproperlyConfigured("mongodb_backend_settings must be a dict")
        own = dict(given)
        options: dict[str, Any] = dict(_CLIENT_OPTIONS)
        database = None
        if self.url.startswith("mongodb+srv://"):
            options["host"] = self.url
            database = re.sub(r"^[^/]*//[^/]*/?|\?.*$", "", self.url)
        else:
            try:
                parsed = parse_uri(self.url if self.url != "mongodb://" else "mongodb://localhost")
            except (PyMongoError, ValueError) as exc:
                raise ImproperlyConfigured(f"{self.where}: {exc}") from exc
            options["host"] = [f"{host}:{port}" for host, port in parsed["nodelist"]]
            options |= {k: parsed[k] for k in ("username", "password") if parsed[k]}
            options |= dict(parsed["options"])
            database = parsed["database"]
        if "host" in own or "port" in own:
            host = own.pop("host", "localhost")
            port = own.pop("port", 27017)
            whole = not isinstance(host, str) or "://" in host
            options["host"] = host if whole else f"mongodb://{host}:{port}"
        options["host"] = own.pop("mongo_host", None) or options["host"]
        for key, name in (("user", "username"), ("password", "password")):
            if own.get(key):
                options[name] = own[key]
            own.pop(key, None)
        self._database = own.pop("database", None) or database or _DATABASE
        self._task_name = own.pop("taskmeta_collection", None) or _TASKS
        self._group_name = own.pop("groupmeta_collection", None) or _GROUPS
        options |= own.pop("options", None) or {}
        self._client_options = {**options, **own}

    # --- the client -------------------------------------------------------------------------

    def open(self) -> None:
        self._ask(lambda: self._db().command("ping"))

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
            if client is not None and not self.forked():
                client.close()

    def _db(self) -> Any:
        with self._lock:
            if self.forked():
                self._client = None
            if self._client is None:
                try:
                    self._client = MongoClient(**self._client_options)
                except (ConfigurationError, TypeError, ValueError) as exc:
                    raise ImproperlyConfigured(f"{self.where}: {exc}") from exc
                self._index(self._client[self._database])
            return self._client[self._database]

    def _index(self, database: Any) -> None:
        """Let what is old be found fast, as Celery does."""
        for name in (self._task_name, self._group_name):
            try:
                database[name].create_index("date_done", background=True)
            except OperationFailure as exc:
                if exc.code == _AUTHENTICATION_FAILED:
                    raise
                logger.debug("%s: no index on %s.date_done: %s", self.where, name, exc)

    def _ask(self, work: Callable[[], T]) -> T:
        """Do some work; once more if a connection was lost while it lay idle."""
        with self._errors():
            try:
                return work()
            except ServerSelectionTimeoutError:
                raise
            except AutoReconnect:
                return work()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except ConnectionFailure as exc:
            text = str(exc).partition(" (configured timeouts")[0].partition(", Timeout:")[0]
            raise self.error(text, away="uthentication failed" not in text) from exc
        except PyMongoError as exc:
            text = (getattr(exc, "details", None) or {}).get("errmsg") or str(exc)
            raise self.error(text) from exc

    # --- metas ------------------------------------------------------------------------------

    def store(self, batch: Sequence[StoredMeta]) -> None:
        documents: dict[str, dict[str, Any]] = {}
        for item in batch:
            if item.task_id in documents:  # the steps of one task, in their order
                self._replace(documents)
                documents = {}
            if (document := self._document(item)) is not None:
                documents[item.task_id] = document
        self._replace(documents)

    def _replace(self, documents: Mapping[str, dict[str, Any]]) -> None:
        """Write documents, each in one step that leaves a SUCCESS alone.

        Where there is one, nothing matches and the insertion fails.  So it does if somebody else
        inserts the same id in that moment, therefore it is tried again; and in between, over a
        SUCCESS that has outlived its time.
        """
        pending = list(documents.values())
        free: dict[str, Any] = {"status": {"$ne": "SUCCESS"}}
        lifetime = self.lifetime("SUCCESS")
        old: list[dict[str, Any]] = (
            [] if lifetime is None else [{"date_done": {"$lte": _ago(lifetime)}}]
        )
        for which in (free, *old, free):
            steps = [ReplaceOne({"_id": d["_id"], **which}, d, upsert=True) for d in pending]
            if steps:
                taken = self._ask(partial(self._write, steps))
                pending = [pending[index] for index in taken]

    def _write(self, steps: list[ReplaceOne[dict[str, Any]]]) -> list[int]:
        """Take the steps; return which of them met a document that they do not match."""
        try:
            self._tasks().bulk_write(steps, ordered=False)
        except BulkWriteError as exc:
            errors = exc.details["writeErrors"]
            if any(error["code"] != _DUPLICATE_KEY for error in errors):
                raise
            return [error["index"] for error in errors]
        return []

    def _document(self, item: StoredMeta) -> dict[str, Any] | None:
        """Return a meta as a document; None for an id that no document can have."""
        if rows.text(item.task_id) != item.task_id:
            logger.error("%s cannot keep the result of task %r", self.where, item.task_id)
            return None
        if len(item.meta) > self.max_bytes:
            reason = f"{len(item.meta)} bytes are more than a document of MongoDB may have (16 MiB)"
            logger.error("%s: result of task %s: %s", self.where, item.task_id, reason)
            item = rows.unfit(item, reason, self._serializer)
        taken = rows.opened(item, self.where, self._serializer)
        if taken is None:
            return None
        item, fields, serializer = taken
        result = rows.write(fields.get("result"), serializer)
        packed = rows.compress_like(item.meta, result)
        textual = packed is result and serializer in ("json", "yaml")
        document = {
            "status": item.state,
            "result": packed.decode() if textual else packed,
            "traceback": rows.text(fields.get("traceback")),
            "children": _native(fields.get("children") or [], serializer),
            "date_done": rows.done_at(fields),
        }
        for name, value in fields.items():
            if name in _TEXTS:
                document[name] = rows.text(value)
            elif name not in document and name != "task_id":
                document[name] = _native(value, serializer)
        return {**document, "_id": item.task_id}

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        metas: dict[str, bytes] = {}
        wanted = [id for id in dict.fromkeys(task_ids) if rows.text(id) == id]
        for start in range(0, len(wanted), _IDS_PER_QUERY):
            query = {"_id": {"$in": wanted[start : start + _IDS_PER_QUERY]}}
            for document in self._ask(partial(self._found, query)):
                if self._alive(document.get("status"), document.get("date_done")):
                    metas[document["_id"]] = self._meta(document)
        return metas

    def _found(self, query: dict[str, Any]) -> list[dict[str, Any]]:
        return list(self._tasks().find(query))

    def _meta(self, document: dict[str, Any]) -> bytes:
        task_id = document["_id"]
        known = {"_id", "status", "result", "traceback", "children", "date_done"}
        try:
            fields = rows.meta_fields(
                task_id,
                document["status"],
                rows.read_stored(document.get("result"), self._serializer, self._accept),
                document.get("traceback"),
                document.get("children"),
                rows.done_text(document["status"], document.get("date_done")),
                {name: value for name, value in document.items() if name not in known},
            )
            return rows.put_together(fields, self._serializer, self._accept)
        except (DecodeError, ContentDisallowed, KeyError, AttributeError) as exc:
            return rows.refused(exc, self._serializer)

    def _alive(self, state: Any, done: datetime | None) -> bool:
        lifetime = self.lifetime(str(state))
        if lifetime is None or not isinstance(done, datetime):
            return True
        return (done if done.tzinfo else done.replace(tzinfo=UTC)) > _ago(lifetime)

    def find(self, prefix: str, limit: int = 10) -> list[str]:
        query = {"_id": {"$regex": "^" + re.escape(prefix)}}
        wanted = {"status": 1, "date_done": 1}
        found = self._ask(lambda: list(self._tasks().find(query, wanted).limit(10 * limit)))
        alive = (d for d in found if self._alive(d.get("status"), d.get("date_done")))
        return [document["_id"] for document in alive][:limit]

    def forget(self, task_ids: Sequence[str]) -> None:
        if task_ids:
            self._ask(lambda: self._tasks().delete_many({"_id": {"$in": list(task_ids)}}))

    # --- groups -----------------------------------------------------------------------------

    def store_group(self, group_id: str, value: bytes) -> None:
        fields, serializer = rows.take_apart(value)
        (_, parent), members = fields["result"]
        ids = rows.write([member[0][0] for member in members], serializer)
        document: dict[str, Any] = {
            "_id": group_id,
            "result": ids.decode() if serializer in ("json", "yaml") else ids,
            "date_done": datetime.now(UTC),
        }
        if parent or any(member[0][1] or member[1] is not None for member in members):
            document[_TUPLE] = rows.write(fields["result"], serializer)
        self._ask(lambda: self._groups().replace_one({"_id": group_id}, document, upsert=True))

    def load_group(self, group_id: str) -> bytes | None:
        document = self._ask(lambda: self._groups().find_one({"_id": group_id}))
        if document is None or not self._alive("SUCCESS", document.get("date_done")):
            return None
        try:
            if _TUPLE in document:
                value = rows.read_stored(document[_TUPLE], self._serializer, self._accept)
            else:
                ids = rows.read_stored(document["result"], self._serializer, self._accept)
                value = [[group_id, None], [[[id, None], None] for id in ids]]
            return rows.put_together({"result": value}, self._serializer, self._accept)
        except (DecodeError, ContentDisallowed, KeyError, TypeError) as exc:
            raise self.error(f"saved group {group_id} cannot be read: {exc}") from exc

    def forget_group(self, group_id: str) -> None:
        self._ask(lambda: self._groups().delete_one({"_id": group_id}))

    def expire(self) -> int:
        dropped = 0
        for collection, state, which in (
            (self._tasks, "FAILURE", {"status": "FAILURE"}),
            (self._tasks, "SUCCESS", {"status": {"$ne": "FAILURE"}}),
            (self._groups, "SUCCESS", {}),
        ):
            lifetime = self.lifetime(state)
            if lifetime is not None:
                old = {**which, "date_done": {"$lte": _ago(lifetime)}}
                dropped += self._ask(partial(self._delete, collection, old))
        return dropped

    def _delete(self, collection: Callable[[], Any], which: dict[str, Any]) -> int:
        return int(collection().delete_many(which).deleted_count)

    def _tasks(self) -> Any:
        return self._db()[self._task_name]

    def _groups(self) -> Any:
        return self._db()[self._group_name]


def _ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def _native(value: Any, serializer: str) -> Any:
    """Return a value in BSON's own types, or its encoded text where they cannot hold it."""
    try:
        bson.encode({"value": value})
        return value
    except (InvalidDocument, OverflowError, bson.errors.InvalidStringData):
        encoded = rows.write(value, serializer)
        return encoded.decode() if serializer in ("json", "yaml") else encoded
