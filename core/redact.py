"""Mask secrets in whatever is shown: by shape (passwords in URLs) and by key word.

Everything printed, logged or sent to an operator passes here.  In doubt it masks too much:
a readable secret is worse than an unreadable host name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from datetime import date, time, timedelta
from typing import Any

MASK = "*" * 8

#: A key with one of these words in it names a secret, ...
_SECRET_WORDS = frozenset(
    "password passwords passwd passphrase pass pwd secret secrets token tokens credentials dsn"
    " authorization apikey accesskey privatekey secretkey accountkey sharedaccesskey"
    " sharedaccesssignature sig".split()
)
#: ... and so does one with a word that ends like this, ...
_SECRET_ENDINGS = ("password", "passwd", "secret", "token", "apikey")
#: ... or with `key` right after one of these (but not routing_key, key_prefix, partition_key).
_SECRET_KEYS = frozenset(
    "api access private secret account auth encryption signing cipher master".split()
)

_WORD = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
#: Where another URL begins in a list of them.
_NEXT_SCHEME = re.compile(r"(?<=[;,\s=&])[a-z][a-z0-9+.-]*://")
#: A URL in a sentence.  The group takes in a password with spaces or quotes: a colon that is
#: not that of a port, and an @ later on the same line.
_URL = re.compile(
    _SCHEME.pattern
    + r"(?:[^\s@/?#]*:(?!\d*(?:[/\s,;:?#'\"<>`)]|$))[^\n@]*@)?"
    + r"[^\s'\"<>`]*[^\s'\"<>`:;,.)\]}]"
)
#: A URL with its `://` written %3A%2F%2F, as it stands in the query of another.
_QUOTED_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*%3A%2F%2F)([^\s'\"&;]*)%40", re.IGNORECASE)
#: `user:password@host` without the scheme that was forgotten, or with one slash too few.
_LOGIN = re.compile(r"(?<![\w.+%-])([\w.]*):([^\s@/'\"]+)@(?=[\w\[])")
#: The end of what may be a URL without a scheme.
_LOOSE_PAIR = re.compile(r"(?<=[?&])([\w.%-]+)=([^&;\s'\"]+)")
_BRACKETED = re.compile(r"\[[^\]]*\]")
_HOST = re.compile(r"[^:]+(:\d*)?|")
_QUERY = re.compile(r"\?[\w.-]+=")
_QUERY_PAIR = re.compile(r"(?<=[?&;/#])([\w.%-]+)=([^&;\s]*)")
_PAIR = re.compile(
    r"(?<![\w?&;%.-])(?P<key>[\w.-]+)"
    r"(?P<sign>(?:['\"]\s*:|\s*=(?!=))\s*(?:b(?=['\"]))?)"
    r"(?P<value>\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|(?:[^\s\"',]|,(?!\s))+)"
)
_YAML_PAIR = re.compile(r"(?m)^(?P<key>[ \t-]*[\w.-]+)(?P<sign>:[ \t]+)(?P<value>\S.*)$")
_BEARER = re.compile(r"\b(bearer)\s+[\w.~+/=-]{8,}", re.IGNORECASE)
_PEM = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(-----END|\Z)", re.DOTALL)
_OPTION = re.compile(r"--?[A-Za-z][\w-]*")

_PLAIN = (int, float, complex, date, time, timedelta)


def is_secret_key(key: object) -> bool:
    """Return whether a value under this key must not be shown."""
    if isinstance(key, bytes):
        key = key.decode("latin-1")
    if not isinstance(key, str):
        return False
    words = [word.lower() for word in _WORD.findall(key)]
    if any(w in _SECRET_WORDS or w.endswith(_SECRET_ENDINGS) for w in words):
        return True
    return any(
        second == "key" and first in _SECRET_KEYS for first, second in itertools.pairwise(words)
    )


def mask_url(url: str) -> str:
    """Return a URL, or several parted by `;` or `,`, without passwords and secret options."""
    first = _SCHEME.search(url)
    if first is None:
        return _LOOSE_PAIR.sub(_mask_query_pair, _LOGIN.sub(_mask_login, url))
    starts = [first.start(), *(f.start() for f in _NEXT_SCHEME.finditer(url, first.end()))]
    masked = url[: starts[0]]
    piece = ""
    for start, end in zip(starts, [*starts[1:], len(url)], strict=True):
        piece += url[start:end]
        if end < len(url) and _is_cut(piece):
            continue
        masked += _mask_one(piece)
        piece = ""
    return _QUOTED_URL.sub(_mask_quoted, masked)


def _is_cut(piece: str) -> bool:
    """Return whether a colon asks for an @ that is not here.

    Then what looks like the next URL belongs to the password of this one.
    """
    scheme, _, rest = piece.partition("://")
    return "@" not in rest and _end_of_userinfo(scheme, rest) >= 0


def _mask_one(url: str) -> str:
    scheme, _, rest = url.partition("://")
    end = _end_of_userinfo(scheme, rest)
    if end >= 0:
        user, colon, _ = rest[:end].partition(":")
        rest = (f"{user}:{MASK}" if colon else user) + rest[end:]
    return _QUERY_PAIR.sub(_mask_query_pair, f"{scheme}://{rest}")


def _end_of_userinfo(scheme: str, rest: str) -> int:
    """Return where the @ before the host stands, or -1 if no password can be in here.

    A password may hold / ? # or @ unquoted, against all rules; so in doubt it is the last @,
    and if there is none although a colon asks for one, the end.
    """
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    if "@" not in authority:
        hosts = re.split("[;,]", _BRACKETED.sub("host", authority))
        cut = not all(map(_HOST.fullmatch, hosts))
        if "@" in rest and not scheme.lower().endswith(("http", "https")):
            cut = cut or ":" in authority
        if not cut:
            return -1
    if "@" not in rest:
        return len(rest)
    query = _QUERY.search(rest, rest.index("@"))
    return rest.rindex("@", 0, query.start() if query else len(rest))


def _mask_query_pair(found: re.Match[str]) -> str:
    return f"{found[1]}={MASK}" if found[2] and is_secret_key(found[1]) else found[0]


def _mask_quoted(found: re.Match[str]) -> str:
    user, colon, _ = re.split("(:|%3[aA])", found[2] + ":", maxsplit=1)
    shown = user + colon + MASK if len(user) < len(found[2]) else user
    return f"{found[1]}{shown}%40"


def mask_text(text: str) -> str:
    """Return a text with the secrets of all URLs and `password=...` pairs in it masked."""
    if "://" in text:
        text = _URL.sub(lambda found: mask_url(found[0]), text)
    if "@" in text:
        text = _LOGIN.sub(_mask_login, text)
    if "?" in text:
        text = _LOOSE_PAIR.sub(_mask_query_pair, text)
    text = _QUOTED_URL.sub(_mask_quoted, text)
    text = _PAIR.sub(_mask_pair, text)
    text = _YAML_PAIR.sub(_mask_pair, text)
    text = _BEARER.sub(rf"\1 {MASK}", text)
    return _PEM.sub(rf"\1{MASK}\2", text)


def _mask_login(found: re.Match[str]) -> str:
    return found[0] if found[2] == MASK else f"{found[1]}:{MASK}@"


def _mask_pair(found: re.Match[str]) -> str:
    value = found["value"]
    if not is_secret_key(found["key"]) or value.strip("'\",") in ("", "None", "null", MASK):
        return found[0]
    quote = value[0] if value[0] in "'\"" else ""
    return f"{found['key']}{found['sign']}{quote}{MASK}{quote}"


def mask(value: Any, key: object = None) -> Any:
    """Return a value with all secrets in it masked, however deeply they are nested.

    `key` is the name it stands under.  Containers are copied, lists and tuples keep their type;
    an object whose repr would show a secret becomes its masked repr.
    """
    if value is None or isinstance(value, bool):
        return value
    if is_secret_key(key):
        return MASK if value or isinstance(value, int | float) else value
    if isinstance(value, str):
        return mask_text(value) if re.search(r"\s", value) else mask_text(mask_url(value))
    if isinstance(value, bytes):
        return mask(value.decode("latin-1")).encode("latin-1")
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return {mask(k) if isinstance(k, str) else k: mask(v, k) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return _mask_items(value)
    shown = repr(value)
    masked = mask_text(shown)
    return value if masked == shown else masked


def _mask_items(items: Any) -> Any:
    masked = []
    option: str | None = None
    for item in items:
        masked.append(mask(item, option))
        named = isinstance(item, str) and _OPTION.fullmatch(item)
        option = item if named else None
    if hasattr(items, "_fields"):
        pairs = zip(items._fields, items, strict=True)
        return type(items)(*(mask(item, name) for name, item in pairs))
    return type(items)(masked)
