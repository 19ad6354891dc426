"""Results in Redis, in Celery's keys (protocol: one string a task, announced on a channel).

Every command of this file has a deadline of its own, so that a server that hangs costs a waiting
client no more than the time it was willing to wait.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha1
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from ..errors import BackendError
from ..redact import mask_url
from ..wire.outcome import StoredMeta
from ..wire.result_meta import says_success
from .base import is_news
from .redis_chords import RedisChords, ScriptMissing
from .redis_lines import LOST, Ear, NoRoomToListen, Pool, may_pass, read_answer
from .redis_places import Connection, read_place
from .redis_watch import RedisWatch
from .watching import Watch

logger = logging.getLogger(__name__)

#: Key prefixes.  Must equal Celery 5.7 backends/base.py BaseKeyValueStoreBackend.
TASK_PREFIX, GROUP_PREFIX = "celery-task-meta-", "celery-taskset-meta-"
#: A global_keyprefix that ends in one of these is used as it is, any other gets an underscore.
_PREFIX_ENDS = ":_-."
#: What has a meaning of its own in a pattern of keys.
_GLOB = re.compile(rb"[][*?\\^]")

# KEYS: result keys.
# ARGV[1]: "1" to write over a compressed meta, whose state cannot be seen here.
# ARGV[2i], ARGV[2i + 1]: the meta of KEYS[i], and how long to keep it in ms (0: for ever).
# Writes and announces every meta but over a SUCCESS.
# Returns the keys that were left alone because what they hold is compressed.
_STORE_SCRIPT = r"""
local function succeeded(meta)
  if string.sub(meta, 1, 12) == '{"status": "' then
    return string.sub(meta, 12, 20) == '"SUCCESS"'
  end
  if string.sub(meta, 1, 1) == '{' then
    local readable, fields = pcall(cjson.decode, meta)
    return readable and type(fields) == 'table' and fields.status == 'SUCCESS'
  end
  local key = string.find(string.sub(meta, 1, 64), 'status', 1, true)
  if key and string.find(string.sub(meta, key, key + 23), 'SUCCESS', 1, true) then
    return true
  end
  return string.find(meta, '\nstatus: SUCCESS\n', 1, true) ~= nil
end
local compressed = {}
for i, key in ipairs(KEYS) do
  local old, meta, ttl = redis.call('GET', key), ARGV[2 * i], ARGV[2 * i + 1]
  if old and ARGV[1] ~= '1' and string.sub(old, 2, 18) == 'celery-compressed' then
    compressed[#compressed + 1] = key
  elseif not (old and succeeded(old)) then
    if ttl == '0' then
      redis.call('SET', key, meta)
    else
      redis.call('SET', key, meta, 'PX', ttl)
    end
    redis.call('PUBLISH', key, meta)
  end
end
return compressed
"""
_STORE_SHA = sha1(_STORE_SCRIPT.encode()).hexdigest()

#: Metas, and bytes of metas, per run of the script: it holds up the server for about 1 ms.
_SCRIPT_ITEMS, _SCRIPT_BYTES = 200, 1 << 20
#: Ids per MGET and DEL.
_IDS_PER_COMMAND = 500
#: Bytes that a string of Redis may have (redis.io/docs, data types; Celery 5.7 refuses more too).
_LARGEST = 512 << 20
#: Seconds a look at what is stored may take, however soon the wait is to end.
_GRACE = 1.0
#: Seconds between two tries of a wait whose connection is lost: (first, longest).
_RETRIES = (0.05, 1.0)


class RedisBackend(RedisChords):
    """Results in one Redis database; `redis://`, `rediss://`, `redis+socket:///path?db=1`, or
    `sentinel://host:port/db;sentinel://...` with `master_name` among the options.

    Connections are made as threads need them: one for each command under way, and one for each
    thread that waits.  After a fork, new ones are made.
    """

    compresses = True
    max_bytes = _LARGEST

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        prefix = str(self.options.get("global_keyprefix") or "")
        if prefix and prefix[-1] not in _PREFIX_ENDS:
            prefix += "_"
        self._task_prefix = (prefix + TASK_PREFIX).encode()
        self._group_prefix = (prefix + GROUP_PREFIX).encode()
        self._place = read_place(url, self.options)
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._pool = Pool(self._place.connect, self._place.max_connections)
        self._ears: weakref.WeakSet[Ear] = weakref.WeakSet()
        self._of_thread = threading.local()

    def open(self) -> None:
        self._ask([("PING",)])

    def close(self) -> None:
        self._pool.close()
        for ear in list(self._ears):
            ear.close()

    # --- metas ------------------------------------------------------------------------------

    def store(self, batch: Sequence[StoredMeta]) -> None:
        for item in batch:
            if len(item.meta) > self.max_bytes:
                raise BackendError(
                    f"the result of task {item.task_id} takes {len(item.meta)} bytes, and Redis"
                    f" keeps at most {self.max_bytes}"
                )
        items = [(self._task_key(item.task_id), item.meta, self._ttl(item.state)) for item in batch]
        compressed = set(self._run_store(items, force=False)) if items else set()
        if compressed:
            held = dict(zip(compressed, self._ask([("MGET", *compressed)])[0], strict=True))
            settled = {key for key, meta in held.items() if meta and says_success(meta)}
            open_keys = compressed - settled
            self._run_store([item for item in items if item[0] in open_keys], force=True)

    def _run_store(self, items: list[tuple[bytes, bytes, int]], *, force: bool) -> list[bytes]:
        """Store in one round trip; return the keys that hold a compressed meta."""
        flag = b"1" if force else b"0"
        runs = []
        for portion in _portions(items):
            values = [value for _, meta, ttl in portion for value in (meta, ttl)]
            keys = [key for key, _, _ in portion]
            runs.append(("EVALSHA", _STORE_SHA, len(keys), *keys, flag, *values))
        try:
            answers = self._ask(runs)
        except ScriptMissing:
            answers = self._ask([("SCRIPT LOAD", _STORE_SCRIPT), *runs])[1:]
        return [key for answer in answers for key in answer]

    def load(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        found = {}
        for start in range(0, len(task_ids), _IDS_PER_COMMAND):
            some = task_ids[start : start + _IDS_PER_COMMAND]
            metas = self._mget([self._task_key(task_id) for task_id in some])
            found.update({i: meta for i, meta in zip(some, metas, strict=True) if meta is not None})
        return found

    def _mget(self, keys: Sequence[bytes], deadline: float | None = None) -> list[bytes | None]:
        metas: list[bytes | None] = self._ask([("MGET", *keys)], deadline)[0]
        return metas

    def forsake(self, task_ids: Iterable[str]) -> None:
        ear = self._my_ear()
        if ear.latest:
            try:
                ear.unsubscribe([self._task_key(task_id) for task_id in task_ids])
            except LOST:
                ear.close()

    def wait(
        self,
        task_ids: Sequence[str],
        deadline: float | None,
        known: Mapping[str, bytes] | None = None,
    ) -> dict[str, bytes]:
        """As the contract says; a lost connection is made anew until the deadline.

        This thread's subscriptions are those of its last wait: they stay for the next one, and
        end with `forsake` or a wait for other ids.  `expect` has nothing to do: a stored meta
        cannot slip by a client that subscribes first and looks then.
        """
        ids = {self._task_key(task_id): task_id for task_id in task_ids}
        nap, longest = _RETRIES
        while True:
            try:
                return self._listen(ids, deadline, known)
            except NoRoomToListen:
                return super().wait(task_ids, deadline, known)
            except BackendError as exc:
                remaining = longest if deadline is None else deadline - time.monotonic()
                if not may_pass(exc.__cause__) or remaining <= 0:
                    raise
                if nap == _RETRIES[0]:
                    logger.warning("%s; still waiting, trying again", exc)
                time.sleep(min(nap, remaining))
                nap = min(nap * 2, longest)

    def _listen(
        self, ids: dict[bytes, str], deadline: float | None, known: Mapping[str, bytes] | None
    ) -> dict[str, bytes]:
        ear = self._my_ear()
        try:
            self._attend(ear, ids, deadline)
            while True:
                metas = {ids[key]: meta for key, meta in ear.latest.items() if meta is not None}
                longest = self._place.ping_after
                remaining = longest if deadline is None else deadline - time.monotonic()
                if is_news(metas, known) or remaining <= 0:
                    return metas
                if ear.hear(min(remaining, longest)):
                    while ear.hear(0):  # what came together is looked at together
                        pass
        except RedisError as exc:
            ear.close()
            raise self._error(exc) from exc

    def _attend(self, ear: Ear, ids: Mapping[bytes, str], deadline: float | None) -> None:
        """Turn the ear to exactly these channels, and know what is stored under the new ones."""
        ear.unsubscribe([key for key in ear.latest if key not in ids])
        while ear.hear(0):
            pass
        fresh = [key for key in ids if key not in ear.latest]
        if fresh:
            if deadline is not None:
                deadline = max(deadline, time.monotonic() + _GRACE)
            ear.subscribe(fresh, deadline)
            for start in range(0, len(fresh), _IDS_PER_COMMAND):
                some = fresh[start : start + _IDS_PER_COMMAND]
                ear.latest.update(zip(some, self._mget(some, deadline), strict=True))

    def watch(self) -> Watch:
        self._notice_fork()
        return RedisWatch(
            self.load,
            pool=self._pool,
            ping_after=self._place.ping_after,
            key=self._task_key,
            error=self._error,
        )

    def forget(self, task_ids: Sequence[str]) -> None:
        for start in range(0, len(task_ids), _IDS_PER_COMMAND):
            some = task_ids[start : start + _IDS_PER_COMMAND]
            self._ask([("DEL", *map(self._task_key, some))])

    def find(self, prefix: str, limit: int = 10) -> list[str]:
        pattern = _GLOB.sub(rb"\\\g<0>", self._task_key(prefix)) + b"*"
        cursor, found = b"0", set[str]()
        while True:
            cursor, keys = self._ask([("SCAN", cursor, "MATCH", pattern, "COUNT", 1000)])[0]
            found |= {key.removeprefix(self._task_prefix).decode() for key in keys}
            if cursor == b"0" or len(found) >= limit:
                return list(found)[:limit]

    # --- groups -----------------------------------------------------------------------------

    def store_group(self, group_id: str, value: bytes) -> None:
        ttl = self._ttl("SUCCESS")
        self._ask([("SET", self._group_key(group_id), value, *(("PX", ttl) if ttl else ()))])

    def load_group(self, group_id: str) -> bytes | None:
        value: bytes | None = self._ask([("GET", self._group_key(group_id))])[0]
        return value

    def forget_group(self, group_id: str) -> None:
        self._ask([("DEL", self._group_key(group_id))])

    def expire(self) -> int:
        return 0

    # --- keys, connections ------------------------------------------------------------------

    def _task_key(self, task_id: str) -> bytes:
        return self._task_prefix + task_id.encode()

    def _group_key(self, group_id: str) -> bytes:
        return self._group_prefix + group_id.encode()

    def _ttl(self, state: str) -> int:
        """Return how long a meta is kept in ms, 0 for ever."""
        lifetime = self.lifetime(state)
        return 0 if lifetime is None else max(1, int(lifetime * 1000))

    def _my_ear(self) -> Ear:
        """Return the subscriber of this thread."""
        self._notice_fork()
        ear: Ear | None = getattr(self._of_thread, "ear", None)
        if ear is None:
            ear = self._of_thread.ear = Ear(self._pool, self._place.ping_after)
            self._ears.add(ear)
        return ear

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            self._reset()

    def _ask(self, commands: Sequence[Sequence[Any]], deadline: float | None = None) -> list[Any]:
        """Send the commands at once and return their answers.

        Without a deadline they have `redis_socket_timeout`; with `redis_retry_on_timeout`, twice.
        """
        self._notice_fork()
        tries = 2 if deadline is None and self._place.retry_on_timeout else 1
        while True:
            tries -= 1
            try:
                return self._ask_once(commands, deadline or time.monotonic() + self._place.timeout)
            except NoScriptError as exc:
                raise ScriptMissing from exc
            except RedisTimeoutError as exc:
                if not tries:
                    raise self._error(exc) from exc
            except RedisError as exc:
                raise self._error(exc) from exc

    def _ask_once(self, commands: Sequence[Sequence[Any]], deadline: float) -> list[Any]:
        """Ask over a connection that lies idle; one the server has closed since is replaced."""
        connection, used = self._pool.take(deadline)
        try:
            return self._ask_on(connection, commands, deadline)
        except RedisConnectionError:
            if not used:
                raise
        connection, _ = self._pool.take(deadline, fresh=True)
        return self._ask_on(connection, commands, deadline)

    def _ask_on(
        self, connection: Connection, commands: Sequence[Sequence[Any]], deadline: float
    ) -> list[Any]:
        try:
            connection.send_packed_command(connection.pack_commands(commands))
            answers = [read_answer(connection, deadline) for _ in commands]
        except BaseException:
            self._pool.drop(connection)
            raise
        refusal = next((answer for answer in answers if isinstance(answer, RedisError)), None)
        if isinstance(refusal, ReadOnlyError):  # the master has become a replica
            self._pool.drop(connection)
            self._pool.close()
        else:
            self._pool.give(connection)
        if refusal is not None:
            raise refusal
        return answers

    def may_pass(self, exc: BackendError) -> bool:
        return may_pass(exc.__cause__)

    def _error(self, exc: RedisError) -> BackendError:
        return BackendError(f"result backend {mask_url(self.url)}: {exc}")


def _portions(
    items: Sequence[tuple[bytes, bytes, int]],
) -> Iterator[list[tuple[bytes, bytes, int]]]:
    """Yield the items in runs of the script."""
    portion: list[tuple[bytes, bytes, int]] = []
    size = 0
    for item in items:
        if portion and (len(portion) == _SCRIPT_ITEMS or size + len(item[1]) > _SCRIPT_BYTES):
            yield portion
            portion, size = [], 0
        portion.append(item)
        size += len(item[1])
    if portion:
        yield portion
