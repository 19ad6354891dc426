"""A signed body: who signed it, the signature, and the bytes that were signed.

The format is Celery's (celery 5.7 security/serialization.py, serializer `auth`): base64 of five
fields with b"\\x00\\x01" between them: base64 of the signer's id, base64 of the signature, content
type, content encoding, and the body.  The headers of a message are not signed.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from ..errors import SecurityError

#: Serializer and content type of signed bodies.  kombu has the type for raw data too.
AUTH, AUTH_TYPE = "auth", "application/data"

_SEPARATOR = b"\x00\x01"


class Signed(NamedTuple):
    """The parts of a signed body; `signer` is `<issuer> <serial number>` of the certificate."""

    signer: str
    signature: bytes
    content_type: str
    content_encoding: str
    body: bytes


def pack_signed(signed: Signed) -> bytes:
    """Return the text that travels."""
    fields = (
        base64.b64encode(signed.signer.encode("utf-8")),
        base64.b64encode(signed.signature),
        signed.content_type.encode("utf-8"),
        signed.content_encoding.encode("utf-8"),
        signed.body,
    )
    return base64.b64encode(_SEPARATOR.join(fields))


def unpack_signed(data: bytes) -> Signed:
    """Return the parts of what travelled; nothing in them is verified.

    Raises SecurityError if it is no signed body.
    """
    try:
        fields = base64.b64decode(data, validate=True).split(_SEPARATOR, maxsplit=4)
        signer, signature, content_type, encoding, body = fields
        return Signed(
            base64.b64decode(signer, validate=True).decode("utf-8"),
            base64.b64decode(signature, validate=True),
            content_type.decode("ascii"),
            encoding.decode("ascii"),
            body,
        )
    except (binascii.Error, ValueError) as exc:
        raise SecurityError("the body is not signed, or its signature is mangled") from exc
