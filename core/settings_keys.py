"""What may be wrong with the files that sign messages: who may read them, and until when."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

#: How long before its end a certificate is mentioned.
_SOON = timedelta(days=14)


class Conf(Protocol):
    """What the checks want of settings."""

    def __getitem__(self, key: str) -> Any: ...


def key_problems(conf: Conf) -> Iterator[tuple[str, str, str]]:
    """Yield (setting, severity, message) for the files of signed messages."""
    key, certificate = conf["security_key"], conf["security_certificate"]
    if conf["task_serializer"] == "auth":
        for name in ("security_key", "security_certificate", "security_cert_store"):
            if not conf[name]:
                yield name, "warning", f"task_serializer is 'auth', and {name} is not set"
    if key and not os.path.exists(key):
        yield "security_key", "error", f"there is no file {key!r}"
    elif key and readable_by_others(key):
        yield (
            "security_key",
            "warning",
            f"others on this host may read the private key {key!r}: chmod 600 {key}",
        )
    if certificate and not os.path.exists(certificate):
        yield "security_certificate", "error", f"there is no file {certificate!r}"
    elif certificate:
        yield from _end_of(certificate)


def readable_by_others(path: str) -> bool:
    """Return whether somebody besides its owner may read a file."""
    try:
        return bool(os.stat(path).st_mode & (stat.S_IRGRP | stat.S_IROTH))
    except OSError:
        return False


def _end_of(path: str) -> Iterator[tuple[str, str, str]]:
    name = "security_certificate"
    try:
        from cryptography import x509  # optional, and takes 50 ms
    except ImportError:
        yield name, "warning", "signing needs the package cryptography: pip install taskctl[auth]"
        return
    try:
        with open(path, "rb") as file:
            until = x509.load_pem_x509_certificate(file.read()).not_valid_after_utc
    except (OSError, ValueError) as exc:
        yield name, "error", f"{path!r} cannot be read as a certificate: {exc}"
        return
    now = datetime.now(UTC)
    if until <= now:
        yield name, "error", f"the certificate {path!r} expired at {until:%Y-%m-%d %H:%M} UTC"
    elif until - now < _SOON:
        days = (until - now).days
        yield name, "warning", f"the certificate {path!r} expires within {days + 1} days"
