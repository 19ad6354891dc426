"""What a Redis server refuses, put in one sentence that says what to do.

The one place where exceptions of redis-py become ours.
"""

from __future__ import annotations

import re
import ssl
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

#: What Redis 6.2 puts before an error of a command that a script called.
_IN_OLD_SCRIPT = re.compile(r"^Error running script \(call to \w+\): (@\w+: ?\d+: )*-?")


def lacks_right(exc: Exception) -> bool:
    """Return whether a server refused because its user may not do this."""
    text = str(exc)
    permission = isinstance(exc, redis.exceptions.NoPermissionError) or text.startswith("NOPERM")
    return permission or any(words in text for words in _IN_SCRIPT)


def translated(
    exc: Exception,
    where: str,
    user: str | None = None,
    missing: Sequence[str] = (),
    *,
    opening: bool = False,
) -> BrokerError:
    """Return redis-py's exception as one of ours; `missing` are the rights the user lacks.

    A line that ends while it is `opening` may have met a server that speaks another language.
    """
    text = _IN_OLD_SCRIPT.sub("", " ".join(str(exc).split()).rstrip("."))
    if lacks_right(exc):
        return rights_wanted(where, user, missing, text)
    if isinstance(exc, redis.AuthenticationError) or text.startswith(("NOAUTH", "WRONGPASS")):
        return BrokerError(f"{where} refuses access, check user and password: {text}")
    if isinstance(exc, redis.exceptions.BusyLoadingError):
        return BrokerConnectionError(f"{where} is still loading its data: try again")
    if isinstance(exc, redis.TimeoutError | TimeoutError):
        doubt = " (does it speak TLS on this port?)" if opening and "rediss:" in where[:7] else ""
        return BrokerConnectionError(f"{where} did not answer in time: {text}{doubt}")
    if "protected mode" in text:
        return BrokerError(
            f"{where} is in protected mode and answers its own host only: give it a password"
            " (requirepass) and write that into the URL, or bind it to an inner network and set"
            " protected-mode no"
        )
    if isinstance(exc, redis.ConnectionError | OSError):
        found = _of_tls(exc, where) or reason(exc) or text
        hung_up = opening and is_hang_up(exc)
        if hung_up and where.startswith("redis://"):
            found += " (does it speak TLS there? then write rediss://)"
        elif hung_up and not where.startswith("redis+socket"):
            found += " (does it want a certificate of ours? then set ssl_certfile and ssl_keyfile)"
        return BrokerConnectionError(f"broker {where}: {found}")
    return _of_reply(exc, where, text)


def is_hang_up(exc: Exception) -> bool:
    """Return whether the other side ended the connection without a word."""
    ends = (EOFError, BrokenPipeError, ConnectionResetError, ssl.SSLEOFError)
    return any(isinstance(one, ends) or "closed by server" in str(one) for one in _chain(exc))


def _of_tls(exc: Exception, where: str) -> str:
    """Return what went wrong with TLS, and what to set; empty if it was something else."""
    for error in _chain(exc):
        if isinstance(error, ssl.SSLCertVerificationError):
            why = error.verify_message.rstrip(".")
            if error.verify_code in _NAME_MISMATCH:
                return (
                    f"its certificate is for another name ({why}): write a name that it holds into"
                    " the URL, or set ssl_check_hostname to false"
                )
            return (
                f"its certificate is not trusted ({why}): name the file of its authority with"
                " ssl_ca_certs"
            )
        if isinstance(error, ssl.SSLError):
            if error.reason in _NO_TLS:
                return "it speaks no TLS on this port: write redis:// or name its TLS port"
            if error.reason in _WANTS_CERTIFICATE:
                return (
                    "it wants a certificate that it trusts: set ssl_certfile and ssl_keyfile"
                    f" ({error.reason.lower().replace('_', ' ')})"
                )
    return ""


#: Codes of OpenSSL (x509_vfy.h): hostname, email and IP address mismatch.
_NAME_MISMATCH = (62, 63, 64)
_NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG")
_WANTS_CERTIFICATE = (
    "TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE",
    "TLSV1_ALERT_UNKNOWN_CA", "SSLV3_ALERT_BAD_CERTIFICATE",
)  # fmt: skip


def _chain(exc: BaseException) -> list[BaseException]:
    """Return an exception and those it came from."""
    found: list[BaseException] = []
    following: BaseException | None = exc
    while following is not None and following not in found:
        found.append(following)
        following = following.__cause__ or following.__context__
    return found


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
            text = error.strerror
            return text if text[:2].isupper() else text[:1].lower() + text[1:]
    return ""
