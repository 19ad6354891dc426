"""A throwaway certificate authority, made with openssl, for servers that speak TLS."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    """Files of one party: its certificate and its private key, both PEM."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates, which last two days; everything lies in `folder`, which must exist.

    `certificate` is the file that clients trust.  A second Authority in another folder makes what
    the first one's clients must refuse.
    """

    def __init__(self, folder: Path, name: str = "taskctl test authority") -> None:
        if shutil.which("openssl") is None:
            raise RuntimeError("openssl is not installed")
        self.folder = folder
        self.certificate, self._key = folder / "ca.pem", folder / "ca.key"
        self._serial = 0
        self._openssl(
            "req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 2",
            "-subj", f"/CN={name}", "-out", self.certificate, "-keyout", self._key,
            "-addext", "keyUsage=critical,keyCertSign,cRLSign",
        )  # fmt: skip

    def issue(self, name: str, *hosts: str) -> Pair:
        """Return a new certificate of `name`, good for `hosts`: names, or addresses if numeric.

        Without hosts it is good for localhost and 127.0.0.1; it serves servers and clients.
        """
        self._serial += 1
        made = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        request, extensions = self.folder / f"{name}.csr", self.folder / f"{name}.ext"
        names = [_alternative(host) for host in hosts or ("localhost", "127.0.0.1")]
        extensions.write_text(f"subjectAltName={','.join(names)}\n")
        self._openssl(
            "req -new -nodes -newkey ec -pkeyopt ec_paramgen_curve:P-256",
            "-subj", f"/CN={name}", "-out", request, "-keyout", made.key,
        )  # fmt: skip
        self._openssl(
            f"x509 -req -days 2 -set_serial {self._serial}",
            "-in", request, "-CA", self.certificate, "-CAkey", self._key,
            "-extfile", extensions, "-out", made.certificate,
        )  # fmt: skip
        return made

    def _openssl(self, words: str, *arguments: str | Path) -> None:
        command = ["openssl", *words.split(), *map(str, arguments)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        if ended.returncode:
            raise RuntimeError(f"{' '.join(command)}: {ended.stderr}")


def _alternative(host: str) -> str:
    return f"IP:{host}" if host.replace(".", "").isdigit() or ":" in host else f"DNS:{host}"
