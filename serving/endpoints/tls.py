"""TLS of endpoints by two PEM files: looked at before anything starts, and trusted by the tools of this machine."""

from __future__ import annotations

import ssl
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from tenshot.projects.errors import CertificateError

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2; those of 1.3 are all good."""
COPY = "certificate.pem"
"""In the endpoint's folder: the certificate that it shows, for the tools of this machine."""
NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME."""


def check(cert: Path, key: Path, at: float | None = None) -> None:
    """Raises CertificateError unless a server can show this certificate with this private key at this time."""
    for path, what in ((cert, "certificate"), (key, "private key")):
        try:
            path.read_bytes()
        except OSError as error:
            raise CertificateError(
                f"the {what} {path} cannot be read: {error.strerror}", hint="name two PEM files that you may read"
            ) from None
    _not_expired(cert, time.time() if at is None else at)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=_refuse_password)
    except _EncryptedError:
        raise CertificateError(
            f"the private key {key} is encrypted, and nobody is there to type a password when an endpoint restarts",
            hint=f"openssl pkey -in {key} -out plain.pem",
        ) from None
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message, hint = f"{key} is not the private key of the certificate {cert}", "name the two files of one pair"
        else:
            message, hint = f"{cert} and {key} are no certificate and private key", "expected PEM files"
        raise CertificateError(message, hint=hint) from None


def leaf(cert: Path) -> str:
    """The first certificate of a PEM file, which is the server's own. Raises CertificateError."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    text = ""
    with suppress(OSError, UnicodeDecodeError):
        text = cert.read_text("ascii")
    found = text.partition(begin)[2].partition(end)
    if not found[1]:
        raise CertificateError(f"{cert} holds no certificate", hint="expected a PEM file")
    return f"{begin}{found[0]}{end}\n"


def trusting(pem: str) -> ssl.SSLContext:
    """For clients: exactly this certificate is right, whoever signed it, whatever name it was made for (it is asked at
    127.0.0.1) and however old it is by now. Raises CertificateError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    # The second: the chain may end at this one, though it signed nothing.
    flags = context.verify_flags | ssl.VERIFY_X509_PARTIAL_CHAIN | NO_CHECK_TIME
    context.verify_flags = ssl.VerifyFlags(flags)
    try:
        context.load_verify_locations(cadata=pem)
    except ssl.SSLError as error:
        raise CertificateError(f"this is no certificate: {error.reason}", hint="expected PEM") from None
    return context


def _not_expired(cert: Path, at: float) -> None:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificate(leaf(cert).encode("ascii"))
    except ValueError as error:
        raise CertificateError(f"{cert} holds no certificate: {error}", hint="expected a PEM file") from None
    when = datetime.fromtimestamp(at, UTC)
    if when > found.not_valid_after_utc:
        raise CertificateError(f"the certificate {cert} expired on {found.not_valid_after_utc:%F}", hint="renew it")
    if when < found.not_valid_before_utc:
        raise CertificateError(
            f"the certificate {cert} is valid from {found.not_valid_before_utc:%F %T} UTC on", hint="check the clock"
        )


class _EncryptedError(Exception):
    pass


def _refuse_password() -> str:
    raise _EncryptedError
