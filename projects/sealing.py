"""Secrets that must be read again are kept encrypted (Fernet: AES-128-CBC with HMAC-SHA256), with a key file.

The file is TENSHOT_HOME/secret.key, readable by its owner only. A copy of the database alone opens nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tenshot.projects.errors import KeyFileError

if TYPE_CHECKING:
    from cryptography.fernet import Fernet

NAME = "secret.key"
WAY_OUT = (
    "restore it from a backup, or copy it from the machine that made the keys; if it is lost, revoke the keys (see: "
    "tenshot keys list), remove the file and make new ones"
)


@dataclass(frozen=True, slots=True)
class Seal:
    path: Path

    @classmethod
    def of(cls, home: Path) -> Seal:
        return cls(home / NAME)

    def make(self) -> None:
        """Make the key file if there is none: complete or not at all, whoever is faster. Raises KeyFileError."""
        from cryptography.fernet import Fernet

        if self.path.exists():
            return
        part = self.path.with_name(f".{NAME}.{os.getpid()}.{os.urandom(4).hex()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_private(part, Fernet.generate_key())
            try:
                os.link(part, self.path)  # fails where a rename would replace the file of somebody faster
            except FileExistsError:
                pass
            finally:
                part.unlink()
        except OSError as error:
            raise KeyFileError(
                f"{self.path} cannot be made: {error}", hint="check that the folder is writable"
            ) from None

    def close(self, secret: str) -> str:
        """Encrypt. Raises KeyFileError."""
        return self._fernet().encrypt(secret.encode()).decode("ascii")

    def open(self, sealed: str) -> str:
        """Decrypt. Raises KeyFileError if the file is missing or is not the one that sealed it."""
        from cryptography.fernet import InvalidToken

        try:
            return self._fernet().decrypt(sealed.encode("ascii")).decode()
        except InvalidToken:
            raise KeyFileError(f"{self.path} is not the file that this secret was sealed with", hint=WAY_OUT) from None

    def _fernet(self) -> Fernet:
        from cryptography.fernet import Fernet

        try:
            return Fernet(self.path.read_bytes().strip())
        except FileNotFoundError:
            raise KeyFileError(
                f"{self.path} is missing; secrets of access keys are sealed with it", hint=WAY_OUT
            ) from None
        except (OSError, ValueError) as error:
            raise KeyFileError(f"{self.path} cannot be used: {error}", hint=WAY_OUT) from None


def write_private(path: Path, data: bytes) -> None:
    """Write a new file that only its owner may read, from its first moment on. Raises OSError, also if it exists."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(descriptor)


def replace_private(path: Path, data: bytes) -> None:
    """Put a file that only its owner may read in the place of what is there, in one step. Raises OSError."""
    part = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}")
    try:
        write_private(part, data)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
