"""The one key of a kernel, from which those of secrets and of the audit log are derived (HKDF, RFC 5869).

It is 32 bytes, in a file that only its owner may read, or in the environment in base64, so that it need not
lie on the disk that it protects."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from aios.access.files import write_private
from aios.errors import ConfigError

VARIABLE = "AIOS_ACCESS_KEY"
SIZE = 32


class MasterKey:
    """Derives keys; never shows itself."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose."""
        return HKDF(algorithm=SHA256(), length=32, salt=None, info=f"aios {purpose}".encode()).derive(self._key)

    def signer(self) -> Ed25519PrivateKey:
        """Signs checkpoints of the audit log."""
        return Ed25519PrivateKey.from_private_bytes(self.derive("audit checkpoints"))


def load(path: Path, env: Mapping[str, str] = os.environ) -> MasterKey:
    """The key of the environment, else of the file, which is made if it is missing. Raises ConfigError."""
    given = env.get(VARIABLE)
    if given is not None:
        return MasterKey(_decoded(given))
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise ConfigError(f"Others may read the key file {path} (mode {mode:o}).", f"chmod 600 {path}")
        key = path.read_bytes()
    except FileNotFoundError:
        key = secrets.token_bytes(SIZE)
        _write(path, key)
    except OSError as error:
        raise ConfigError(f"The key file {path} can't be read: {error}.", "Make it readable.") from error
    if len(key) != SIZE:
        raise ConfigError(f"The key file {path} is not {SIZE} bytes long.", "Restore it from a copy.")
    return MasterKey(key)


def _write(path: Path, key: bytes) -> None:
    try:
        write_private(path, key)
    except OSError as error:
        raise ConfigError(
            f"The key file {path} can't be written: {error}.", "Make its folder writable."
        ) from error


def _decoded(text: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != SIZE:
        mend = f"Set it to base64 of {SIZE} random bytes: head -c{SIZE} /dev/urandom | base64"
        raise ConfigError(f"{VARIABLE} is no key.", mend)
    return key
