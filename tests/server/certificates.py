"""Certificates for tests, made by the program `openssl`."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

requires_openssl = pytest.mark.requires("openssl")


@dataclass(frozen=True)
class Issued:
    """A certificate and its key, in two files."""

    certificate: Path
    key: Path

    @property
    def der(self) -> bytes:
        """The certificate as clients see it."""
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())


class Authority:
    """Signs certificates; its files are in a directory of their own."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self.certificate = directory / f"{name}.pem"
        self._key = directory / f"{name}.key"
        openssl(
            *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-noenc", "-days", "30", "-subj", f"/CN={name}"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", str(self._key), "-out", str(self.certificate)),
        )

    def issue(self, *names: str, subject: str = "/CN=test", kind: str = "ec") -> Issued:
        """A certificate for these host names or addresses; without any, a client's."""
        stem = str(len(list(self._directory.iterdir())))
        key, request = self._directory / f"{stem}.key", self._directory / f"{stem}.csr"
        certificate = self._directory / f"{stem}.pem"
        newkey = (
            ["rsa:2048"] if kind == "rsa" else ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        )
        openssl(
            *("req", "-new", "-newkey", *newkey, "-noenc", "-utf8", "-subj", subject),
            *("-keyout", str(key), "-out", str(request)),
        )
        extensions = self._directory / f"{stem}.ext"
        alternatives = ",".join(f"{'IP' if name[0].isdigit() else 'DNS'}:{name}" for name in names)
        usage = "serverAuth" if names else "clientAuth"
        lines = [
            f"extendedKeyUsage={usage}",
            "basicConstraints=critical,CA:FALSE",
            "keyUsage=critical,digitalSignature,keyEncipherment",
            "subjectKeyIdentifier=hash",
            "authorityKeyIdentifier=keyid",
            *([f"subjectAltName={alternatives}"] * bool(names)),
        ]
        extensions.write_text("\n".join(lines) + "\n")
        openssl(
            *("x509", "-req", "-days", "30", "-in", str(request), "-out", str(certificate)),
            *("-CA", str(self.certificate), "-CAkey", str(self._key), "-CAcreateserial"),
            *("-extfile", str(extensions)),
        )
        return Issued(certificate, key)

    def client_context(self, issued: Issued | None = None) -> ssl.SSLContext:
        """For a client that trusts this authority, and shows `issued`."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        # Python's default from 3.13 on.
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        if issued is not None:
            context.load_cert_chain(issued.certificate, issued.key)
        return context


def openssl(*arguments: str) -> str:
    """What the program prints; its complaint is the test's failure."""
    done = subprocess.run(["openssl", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout
