"""Sealed frames: one key per direction, counted nonces, rekeying. Sans-io.

``keys = HKDF-SHA384(X25519(rp_eph, kex), salt = binding, info = "cloister/channel/v1 " + direction)``, 32 bytes each;
``sealed = ChaCha20-Poly1305(key, nonce = u96 sequence number, aad = binding || direction, frame)``.

Every 2^20 frames of a direction, ``key = HKDF-SHA384(key, salt = binding, info = "cloister/channel/v1 rekey " +
direction)``; the sequence number runs on, so no nonce ever repeats under a key and earlier frames stay closed to
whoever learns a later key.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cloister.errors import MalformedError, TrustError
from cloister.wire import frames

TO_ENCLAVE = b"to-enclave"
TO_RELYING_PARTY = b"to-relying-party"
REKEY_FRAMES = 1 << 20
MAX_FRAMES = 1 << 64
TAG_BYTES = 16
MAX_SEALED = frames.MAX_FRAME + 4 + TAG_BYTES
_INFO = b"cloister/channel/v1 "


def channel_keys(private: X25519PrivateKey, peer_public: bytes, binding: bytes) -> dict[bytes, bytes]:
    """Return the 32-byte key of each direction.

    Raises:
        TrustError: The peer's public key is of low order.
    """
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(peer_public))
    except ValueError as error:
        raise TrustError("channel.key", "the peer's key is not a usable X25519 key") from error
    return {way: _derive(shared, binding, _INFO + way) for way in (TO_ENCLAVE, TO_RELYING_PARTY)}


class Sealer:
    """One direction of a channel: seals or opens frames in order, each exactly once."""

    def __init__(self, key: bytes, binding: bytes, direction: bytes, *, rekey_frames: int = REKEY_FRAMES) -> None:
        self._key: bytes | None = key
        self._cipher = ChaCha20Poly1305(key)
        self._binding = binding
        self._direction = direction
        self._aad = binding + direction
        self._rekey_frames = rekey_frames
        self.sequence = 0

    def seal(self, frame: bytes) -> bytes:
        """Return the sealed bytes of the next frame.

        Raises:
            TrustError: ``channel.closed``, or ``channel.exhausted`` after ``MAX_FRAMES`` frames.
        """
        self._ready()
        sealed = self._cipher.encrypt(self.sequence.to_bytes(12, "big"), frame, self._aad)
        self._advance()
        return sealed

    def open(self, data: bytes) -> bytes:
        """Return the next frame.

        Raises:
            TrustError: ``channel.frame``: changed, repeated, out of order, lost before this one, or of another channel;
                or as ``seal``.
            MalformedError: Larger than any frame can be.
        """
        self._ready()
        if len(data) > MAX_SEALED:
            raise MalformedError("channel.oversized", f"a sealed frame of {len(data)} bytes exceeds the limit")
        try:
            frame = self._cipher.decrypt(self.sequence.to_bytes(12, "big"), data, self._aad)
        except InvalidTag as error:
            self.close()
            raise TrustError(
                "channel.frame",
                "a frame of the channel was changed, repeated, dropped or re-ordered on its way",
                next_step="restart the kernel; if it repeats, somebody interferes with the connection",
            ) from error
        self._advance()
        return frame

    def close(self) -> None:
        """Forget the key; nothing can be sealed or opened afterwards."""
        self._key = None

    def _ready(self) -> None:
        if self._key is None:
            raise TrustError("channel.closed", "the channel is closed", next_step="restart the kernel")
        if self.sequence >= MAX_FRAMES:
            # Far below the nonce's 96 bits: the counter can neither wrap nor leave its field.
            self.close()
            raise TrustError(
                "channel.exhausted", "the channel has numbered all its frames", next_step="restart the kernel"
            )

    def _advance(self) -> None:
        self.sequence += 1
        if self.sequence % self._rekey_frames == 0 and self._key is not None:
            self._key = _derive(self._key, self._binding, _INFO + b"rekey " + self._direction)
            self._cipher = ChaCha20Poly1305(self._key)


def _derive(secret: bytes, salt: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA384(), length=32, salt=salt, info=info).derive(secret)
