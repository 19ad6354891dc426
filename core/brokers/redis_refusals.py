"""What a Redis server refuses, put in one sentence that says what to do.

The one place where exceptions of redis-py become ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import redis

from ..errors import BrokerConnectionError, BrokerError

#: Beginnings of replies that pass by themselves: a server that starts, or a master that changed.
_PASSING = ("MASTERDOWN", "LOADING", "BUSY", "TRYAGAIN", "UNBLOCKED")
NO_CLUSTER = (
    "is a node of a Redis Cluster, which Celery's queues cannot live on, for their keys belong"
    " together: name a server without cluster mode, or the sentinel:// URL of one with a replica"
)
#: A user's rights, as Redis 7.0 (first, third) and Valkey 9 (second) say it inside a script.
_IN_SCRIPT = ("The user executing the script can't", "ACL failure in script")


def lacks_right(exc: Exception) -> bool:
    """Return whether a server refused because its user may not do this."""
    text = str(exc)
    permission = isinstance(exc, redis.exceptions.NoPermissionError) or text.startswith("NOPERM")
    return permission or any(words in text for words in _IN_SCRIPT)


def translated(
    exc: Exception, where: str, user: str | None = None, missing: Sequence[str] = ()
) -> BrokerError:
    """Return redis-py's exception as one of ours; `missing` are the rights the user lacks."""
    text = " ".join(str(exc).split()).rstrip(".")
    if lacks_right(exc):
        return rights_wanted(where, user, missing, text)
    if isinstance(exc, redis.AuthenticationError) or text.startswith(("NOAUTH", "WRONGPASS")):
        return BrokerError(f"{where} refuses access, check user and password: {text}")
    if isinstance(exc, redis.exceptions.BusyLoadingError):
        return BrokerConnectionError(f"{where} is still loading its data: try again")
    if isinstance(exc, redis.TimeoutError | TimeoutError):
        return BrokerConnectionError(f"{where} did not answer in time: {text}")
    if "protected mode" in text:
        return BrokerError(
            f"{where} is in protected mode and answers its own host only: give it a password"
            " (requirepass) and write that into the URL, or bind it to an inner network and set"
            " protected-mode no"
        )
    if isinstance(exc, redis.ConnectionError | OSError):
        return BrokerConnectionError(f"broker {where}: {reason(exc) or text}")
    return _of_reply(exc, where, text)


def rights_wanted(
    where: str, user: str | None, missing: Sequence[str], text: str = ""
) -> BrokerError:
    """Return the error that says what an ACL user lacks; `text` is the server's, if unknown."""
    who = user or "default"
    hint = f"ACL SETUSER {who} {' '.join(missing)}" if missing else text
    return BrokerError(f"{where}: user {who!r} lacks rights: {hint}")


def _of_reply(exc: Exception, where: str, text: str) -> BrokerError:
    if isinstance(exc, redis.exceptions.OutOfMemoryError) or "OOM" in text[:40]:
        return BrokerError(
            f"{where} is out of memory and stored nothing: raise maxmemory or drain its queues"
        )
    if isinstance(exc, redis.exceptions.ReadOnlyError) or "READONLY" in text[:40]:
        return BrokerConnectionError(
            f"{where} is a replica and takes no writes: name its master, or try again if it is"
            " about to become one"
        )
    if text.startswith("NOREPLICAS"):
        return BrokerConnectionError(
            f"{where} takes no writes while too few replicas follow it (min-replicas-to-write):"
            " try again"
        )
    if text.startswith("MISCONF"):
        return BrokerConnectionError(
            f"{where} takes no writes, for it could not write to its disk: look at its log"
        )
    if isinstance(exc, _CLUSTER):
        return BrokerError(f"{where} {NO_CLUSTER}")
    if isinstance(exc, redis.exceptions.MasterDownError) or text.startswith(_PASSING):
        return BrokerConnectionError(f"{where} takes no writes now, try again: {text}")
    if "DB index is out of range" in text:
        return BrokerError(
            f"{where}: the server has no database of this number, see `databases` in its"
            " configuration (16 by default: 0 to 15)"
        )
    if "WRONGTYPE" in text:
        return BrokerError(
            f"{where} holds something else under the name of a queue or a table of ours "
            f"(look with TYPE, then move it away): {text}"
        )
    return BrokerError(f"{where} refused: {text}")


#: Replies of a node of a Redis Cluster to whom does not speak to the whole of it.
_CLUSTER = (
    redis.exceptions.AskError,
    redis.exceptions.MovedError,
    redis.exceptions.ClusterDownError,
    redis.exceptions.ClusterCrossSlotError,
)


def reason(exc: Exception) -> str:
    """Return what the system says of a connection that failed, without the driver's words."""
    for error in (exc, exc.__cause__, exc.__context__):
        if isinstance(error, OSError) and error.strerror:
            return error.strerror[:1].lower() + error.strerror[1:]
    return ""
