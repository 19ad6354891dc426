"""Signed messages: the serializer `auth`, made from a private key and trusted certificates.

What is signed is the body, as Celery signs it (celery 5.7 security/): RSA with PSS padding, the
signer named by issuer and serial number of its X.509 certificate.  `cryptography` is loaded when
an app asks for it, and by nothing else.
"""

from __future__ import annotations

import glob
import os
import threading
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from types import ModuleType
from typing import Any, NamedTuple

from .errors import ImproperlyConfigured, SecurityError
from .wire import codecs, trust
from .wire.signed import AUTH, AUTH_TYPE, Signed, pack_signed, unpack_signed

#: Serializers that a signed body may hold without being asked for; pickle runs what it is sent.
_HARMLESS = ("json", "yaml", "msgpack")
#: Seconds after which a signer nobody knows lets the store be read again.
_READ_AGAIN = 5.0

_DIGESTS = (
    "sha224", "sha256", "sha384", "sha512", "sha512_224", "sha512_256", "sha3_224", "sha3_256",
    "sha3_384", "sha3_512",
)  # fmt: skip


def _cryptography() -> ModuleType:
    """Return `cryptography.x509`, everything else of the package loaded beside it."""
    try:
        from cryptography import x509  # optional, and takes 50 ms
    except ImportError as exc:
        raise ImproperlyConfigured(
            "signed messages (serializer 'auth') need the package cryptography:"
            " pip install taskctl[auth]"
        ) from exc
    return x509


def digest_named(name: str) -> Any:
    """Return the hash of that name.

    Raises ImproperlyConfigured naming the choices.
    """
    _cryptography()
    from cryptography.hazmat.primitives import hashes  # optional

    if str(name).lower() not in _DIGESTS:
        choices = ", ".join(_DIGESTS)
        raise ImproperlyConfigured(f"unknown security_digest {name!r}: choose {choices}")
    return getattr(hashes, name.upper())()


def _padding(digest: Any) -> Any:
    from cryptography.hazmat.primitives.asymmetric import padding  # optional

    return padding.PSS(mgf=padding.MGF1(digest), salt_length=padding.PSS.MAX_LENGTH)


def _read(path: str, what: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as exc:
        raise ImproperlyConfigured(f"cannot read {what} {path!r}: {exc.strerror}") from exc


# --- certificates ---------------------------------------------------------------------------


class Certificate(NamedTuple):
    """A certificate that was read: its id on the wire, its key, and until when it is valid."""

    id: str
    public_key: Any
    expires: datetime
    fingerprint: bytes
    path: str

    @property
    def expired(self) -> bool:
        return datetime.now(UTC) >= self.expires

    def refusal(self) -> str:
        """Return the words for what an expired certificate has signed."""
        return f"certificate {self.id!r} ({self.path}) expired at {self.expires:%Y-%m-%d %H:%M} UTC"


def read_certificate(path: str) -> Certificate:
    """Return the certificate in a PEM file.

    Raises ImproperlyConfigured if it cannot be read, or is not one of an RSA key.
    """
    x509 = _cryptography()
    from cryptography.hazmat.primitives import hashes  # optional
    from cryptography.hazmat.primitives.asymmetric import rsa

    data = _read(path, "certificate")
    try:
        found = x509.load_pem_x509_certificate(data)
    except ValueError as exc:
        raise ImproperlyConfigured(f"{path!r} holds no certificate in PEM format") from exc
    key = found.public_key()
    if not isinstance(key, rsa.RSAPublicKey):
        raise ImproperlyConfigured(f"the certificate {path!r} is of no RSA key: others cannot sign")
    issuer = " ".join(str(part.value) for part in found.issuer)
    until = found.not_valid_after_utc
    id = f"{issuer} {found.serial_number}"
    return Certificate(id, key, until, found.fingerprint(hashes.SHA256()), path)


class CertificateStore:
    """The certificates of those who are trusted: the PEM files that `pattern` names.

    A folder stands for all its files.  A signer that is not known lets the files be read again,
    so that a certificate may be added while programs run.
    """

    def __init__(self, pattern: str) -> None:
        self.pattern = os.path.join(pattern, "*") if os.path.isdir(pattern) else pattern
        self._lock = threading.Lock()
        self._by_id = self._read()
        self._read_at = time.monotonic()
        if not self._by_id:
            raise ImproperlyConfigured(f"security_cert_store {pattern!r} names no certificate")

    def __getitem__(self, signer: str) -> Certificate:
        found = self._by_id.get(signer)
        if found is None:
            with self._lock:
                if time.monotonic() - self._read_at >= _READ_AGAIN:
                    self._by_id, self._read_at = self._read(), time.monotonic()
            found = self._by_id.get(signer)
        if found is None:
            raise SecurityError(f"unknown certificate {signer!r}: it is not in {self.pattern}")
        return found

    def __iter__(self) -> Any:
        return iter(list(self._by_id.values()))

    def _read(self) -> dict[str, Certificate]:
        found: dict[str, Certificate] = {}
        for path in sorted(glob.glob(self.pattern)):
            if os.path.isdir(path):
                continue
            one = read_certificate(path)
            twin = found.get(one.id)
            if twin is not None and twin.fingerprint != one.fingerprint:
                raise ImproperlyConfigured(
                    f"certificates {twin.path!r} and {path!r} have the same issuer and serial"
                    f" number, {one.id!r}: a signer could not be told from another"
                )
            found[one.id] = one
        return found


# --- signing and verifying --------------------------------------------------------------------


def read_key(path: str, password: str | bytes | None) -> Any:
    """Return the RSA private key in a PEM file.

    Raises ImproperlyConfigured if it cannot be read; the password is in no message.
    """
    _cryptography()
    from cryptography.hazmat.primitives.asymmetric import rsa  # optional
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    data = _read(path, "private key")
    secret = password.encode("utf-8") if isinstance(password, str) else password
    try:
        key = load_pem_private_key(data, secret or None)
    except TypeError as exc:
        hint = "it needs security_key_password" if not secret else "it has no password"
        raise ImproperlyConfigured(f"cannot open the private key {path!r}: {hint}") from exc
    except ValueError as exc:
        hint = "the password is wrong, or it" if secret else "it"
        raise ImproperlyConfigured(
            f"cannot open the private key {path!r}: {hint} is no key in PEM format"
        ) from exc
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ImproperlyConfigured(f"the private key {path!r} is no RSA key: Celery knows no other")
    return key


class Signer:
    """Encodes a value and signs it; verifies what others signed, and decodes that.

    `serializer` is what is signed; `allowed` are serializers taken from others besides it and
    the harmless ones.
    """

    def __init__(
        self,
        key: Any,
        certificate: Certificate,
        store: CertificateStore,
        digest: Any,
        serializer: str = "json",
        allowed: Iterable[str] = (),
    ) -> None:
        self._key, self._certificate, self._store = key, certificate, store
        self._digest, self._padding = digest, _padding(digest)
        if serializer == AUTH:
            raise ImproperlyConfigured("serializer of setup_security is what is signed: json, ...")
        codecs.codec_named(serializer)
        self._serializer = serializer
        self._inner = codecs.accepted_types({*_HARMLESS, serializer, *allowed} - {AUTH})

    def encode(self, value: Any) -> bytes:
        """Return the signed text of a value.

        Raises SecurityError once our own certificate has expired: nobody would take it.
        """
        if self._certificate.expired:
            raise SecurityError(f"cannot sign: our own {self._certificate.refusal()}")
        content_type, encoding, body = codecs.encode(value, self._serializer)
        signature = self._key.sign(body, self._padding, self._digest)
        return pack_signed(Signed(self._certificate.id, signature, content_type, encoding, body))

    def decode(self, data: bytes) -> Any:
        """Return the value in a signed text.

        Raises SecurityError if it is not signed by a certificate that we trust and that is still
        valid, or is not what was signed; ContentDisallowed for a serializer not allowed.
        """
        from cryptography.exceptions import InvalidSignature  # optional

        signed = unpack_signed(data)
        certificate = self._store[signed.signer]
        if certificate.expired:
            raise SecurityError(certificate.refusal())
        try:
            certificate.public_key.verify(
                signed.signature, signed.body, self._padding, self._digest
            )
        except InvalidSignature:
            raise SecurityError(
                f"bad signature: the body is not what {signed.signer!r} signed,"
                f" or was signed with another digest than {self._digest.name}"
            ) from None
        if signed.content_type not in self._inner:
            raise codecs.disallowed(signed.content_type)
        return codecs.decode(signed.body, signed.content_type, signed.content_encoding, self._inner)


class KeyFiles(NamedTuple):
    """What signing is set up with: files, the password of the key, and the digest."""

    key: str | None
    password: str | bytes | None
    certificate: str | None
    store: str | None
    digest: str

    def signer(self, serializer: str, allowed: Iterable[str] = ()) -> Signer:
        """Return what signs and verifies with these.

        Raises ImproperlyConfigured for what is missing, cannot be read, or does not fit together.
        """
        named = {
            "security_key": self.key,
            "security_certificate": self.certificate,
            "security_cert_store": self.store,
        }
        missing = [name for name, value in named.items() if not value]
        if missing:
            raise ImproperlyConfigured(f"signing messages needs the settings {', '.join(missing)}")
        assert self.key and self.certificate and self.store
        digest = digest_named(self.digest)
        key = read_key(self.key, self.password)
        certificate = read_certificate(self.certificate)
        if key.public_key().public_numbers() != certificate.public_key.public_numbers():
            raise ImproperlyConfigured(
                f"the private key {self.key!r} does not belong to the certificate"
                f" {self.certificate!r}: nobody could verify what it signs"
            )
        if certificate.expired:
            raise ImproperlyConfigured(f"our own {certificate.refusal()}: make a new one")
        store = CertificateStore(self.store)
        return Signer(key, certificate, store, digest, serializer, allowed)


def set_up(
    app: Any,
    allowed_serializers: Iterable[str] | None = None,
    key: str | None = None,
    key_password: str | bytes | None = None,
    cert: str | None = None,
    store: str | None = None,
    digest: str | None = None,
    serializer: str = "json",
) -> None:
    """Let `app` sign what it sends and take only what is signed; see `App.setup_security`."""
    conf = app.conf
    if conf.task_serializer != AUTH or list(conf.accept_content) != [AUTH]:
        raise ImproperlyConfigured(
            "signing needs task_serializer = 'auth' and accept_content = ['auth']: what is signed"
            f" must be verified too (they are {conf.task_serializer!r} and"
            f" {list(conf.accept_content)!r})"
        )
    files = KeyFiles(
        key or conf.security_key,
        key_password or conf.security_key_password,
        cert or conf.security_certificate,
        store or conf.security_cert_store,
        digest or conf.security_digest,
    )
    signer = files.signer(serializer, allowed_serializers or ())
    codecs.register(AUTH, signer.encode, signer.decode, AUTH_TYPE)
    trust.distrust_all_but(allowed_serializers or ())
