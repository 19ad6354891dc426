"""Which rights of an ACL user are missing, found by asking the server without doing anything.

A command is checked when it is put into a transaction; DISCARD forgets it.  So no right to look
at the ACL itself is needed, and nothing runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .redis_keys import Keys

#: What a broker sends, by itself and inside its scripts; K is a key.
#: docs/redis.md names the same commands, and a test runs a broker with just these.
_SENT = """
ping|time|select 0|multi|exec|discard|evalsha 0 0|script load x
client id|scan 0|publish C x|psubscribe C|punsubscribe C
exists K|del K|pexpire K 1|pttl K|set K x|get K
lpush K x|rpush K x|rpop K|lrem K 1 x|llen K|lrange K 0 0
sadd K x|srem K x|smembers K|sismember K x
hset K x x|hsetnx K x x|hget K x|hmget K x|hgetall K|hdel K x|hkeys K|hlen K|hexists K x
hincrby K x 1
zadd K 1 x|zrem K x|zrange K 0 0|zrevrange K 0 0|zrangebyscore K 0 0|zrangebylex K [x [x
zscore K x|zmscore K x|zcount K 0 0|zcard K
"""
SENT = tuple(tuple(p.split()) for line in _SENT.strip().splitlines() for p in line.split("|"))
#: What tells of new messages at once; without it they are looked for ten times a second.
BELL = (("client", "tracking", "off"), ("client", "caching", "yes"), ("subscribe", "C"))
#: What the probe itself needs; without them the line may be left in the middle of it.
FRAME = ("+multi", "+exec", "+discard")
#: Commands whose further arguments are all keys, and those that name channels.
_MANY_KEYS = (b"EXISTS", b"DEL")
_CHANNELS = (b"PUBLISH", b"PSUBSCRIBE", b"SUBSCRIBE", b"PUNSUBSCRIBE")
_KEYLESS = (b"SCAN", b"CLIENT", b"SCRIPT", b"INFO", b"TIME", b"PING", b"CONFIG", b"MULTI", b"EXEC")

#: Sends commands in one write and returns all replies, refusals as exceptions.
Send = Callable[[Sequence[Sequence[bytes | str]]], list[Any]]


def missing_rights(send: Send, keys: Keys, asked: Sequence[bytes] = ()) -> list[str]:
    """Return what ACL SETUSER must be told: `+command`, `~key`, `&channel`; empty if nothing.

    `asked` is the command that was refused, for its own keys and channels; without it only what
    nobody can do without is looked at.
    """
    own, channels = _named(asked)
    key, channel = keys.unacked, channels[0] if channels else keys.channel("celery.pidbox", "")
    commands: list[list[bytes | str]] = [
        [key if word == "K" else channel if word == "C" else word for word in sample]
        for sample in (*SENT, *(BELL if asked else ()))
        if f"+{sample[0]}" not in FRAME
    ]
    wanted = [keys.unacked, keys.unacked_index, keys.unacked_mutex, keys.leases, *own]
    looks: list[list[bytes | str]] = [["EXISTS", name] for name in dict.fromkeys(wanted)]
    listened = asked[:1] == [b"PSUBSCRIBE"]
    looks += [["PSUBSCRIBE" if listened else "PUBLISH", name, ""][: 2 if listened else 3]
              for name in channels]  # fmt: skip
    # EXEC has nothing to do there, and says so if it may.
    first, *replies, last, end = send([["MULTI"], *commands, *looks, ["DISCARD"], ["EXEC"]])
    if isinstance(first, Exception) or isinstance(last, Exception) or _forbids(end):
        return list(FRAME)
    found = [
        _right(sample) for sample, reply in zip(commands, replies, strict=False) if _forbids(reply)
    ]
    for look, reply in zip(looks, replies[len(commands) :], strict=True):
        if isinstance(reply, Exception) and ("key" in str(reply) or "channel" in str(reply)):
            sign = "~" if look[0] == "EXISTS" else "&"
            name = look[1] if isinstance(look[1], str) else look[1].decode("utf-8", "replace")
            found.append(f"{sign}{name}")
    return list(dict.fromkeys(found))


def _forbids(reply: Any) -> bool:
    """Whether a reply says that the command itself is forbidden, and not its key."""
    return isinstance(reply, Exception) and "to run the" in str(reply)


def _right(sample: Sequence[bytes | str]) -> str:
    words = [str(word) for word in sample[:2]]
    return f"+{'|'.join(words) if words[0] in ('client', 'script') else words[0]}"


def _named(asked: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Return the (keys, channels) that a command names."""
    if not asked:
        return [], []
    verb, *rest = asked
    verb = verb.upper()
    if verb == b"EVALSHA":
        count = int(rest[1])
        pairs = list(zip(rest[2 + count :], rest[3 + count :], strict=False))
        pushed = [target for word, target in pairs if word == b"LPUSH"]
        sent = [target for word, target in pairs if word == b"PUBLISH"]
        return [*rest[2 : 2 + count], *pushed], sent
    if verb in _CHANNELS:
        return [], rest[:1] if verb == b"PUBLISH" else rest
    if verb in _KEYLESS:
        return [], []
    return (rest if verb in _MANY_KEYS else rest[:1]), []


def commands_in(packed: bytes) -> Iterable[list[bytes]]:
    """Yield the commands in what was sent, as `redis_line.command` packs them."""
    at = 0
    while at < len(packed):
        end = packed.index(b"\r\n", at)
        count, at = int(packed[at + 1 : end]), end + 2
        words = []
        for _ in range(count):
            end = packed.index(b"\r\n", at)
            size, at = int(packed[at + 1 : end]), end + 2
            words.append(packed[at : at + size])
            at += size + 2
        yield words
