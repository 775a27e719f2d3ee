"""The receiver's key pair: the private half in a file of his own, the public half for a contract."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloister.attest.encoding import b64, unb64
from cloister.errors import CloisterError, MalformedError, UnavailableError

_BYTES = 32


def create_key(path: Path) -> str:
    """Write a new private key to ``path`` (mode 0600) and return the public key (base64).

    Raises:
        UnavailableError: ``receiver.key``: there is a file already, or the folder cannot be written.
    """
    key = X25519PrivateKey.generate()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UnavailableError(
            "receiver.key",
            f"no key can be written to {path}: {error.strerror or error}",
            next_step="choose a new file; a key that contracts name must be kept, or their deliveries stay closed",
        ) from error
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(b64(key.private_bytes_raw()) + "\n")
    return b64(key.public_key().public_bytes_raw())


def read_key(path: Path) -> bytes:
    """Return the 32 bytes of the private key in ``path``.

    Raises:
        MalformedError: ``receiver.key``.
    """
    try:
        return unb64(path.read_text(encoding="ascii").strip(), size=_BYTES)
    except (OSError, UnicodeDecodeError, CloisterError) as error:
        raise MalformedError(
            "receiver.key", f"{path} holds no receiver's key", next_step="`cloister receiver FILE` makes one"
        ) from error
