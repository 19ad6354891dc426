"""Keys and certificates of those who sign messages; made anew in each run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


class Party(NamedTuple):
    """Files of one who signs."""

    name: str
    key: Path
    certificate: Path

    def settings(self, store: Path) -> dict[str, Any]:
        """Return the settings of one who signs, and trusts what is in `store`."""
        return {
            "security_key": str(self.key),
            "security_certificate": str(self.certificate),
            "security_cert_store": str(store / "*.pem"),
            "task_serializer": "auth",
            "accept_content": ["auth"],
            "result_accept_content": ["json"],
        }


def make_party(
    folder: Path, name: str, *, days: float = 2, password: bytes | None = None, curve: bool = False
) -> Party:
    """Make a key, and a certificate that it signs itself, which lasts `days` from now."""
    key: Any = (
        ec.generate_private_key(ec.SECP256R1())
        if curve
        else rsa.generate_private_key(public_exponent=65537, key_size=2048)
    )
    folder.mkdir(parents=True, exist_ok=True)
    party = Party(name, folder / f"{name}.key", folder / f"{name}.pem")
    party.key.touch(0o600)
    party.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(password)
            if password
            else serialization.NoEncryption(),
        )
    )
    write_certificate(party.certificate, key, name, days)
    return party


def write_certificate(path: Path, key: Any, name: str, days: float) -> None:
    """Write a certificate of `name` that ends so many days from now."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
