"""Outer HMAC signatures: checked and dropped on the way in, made on the way out. Neither key crosses the channel.

Source: jupyter-client documentation, "Messaging in Jupyter", wire protocol: HMAC over header, parent, metadata
and content. As in ``jupyter_client.session``, a signature seen before is refused (replay on the local machine).
"""

from __future__ import annotations

import hmac
from collections import deque
from collections.abc import Sequence

from cloister.analyst.messages import DELIMITER, Message, find_delimiter, split
from cloister.errors import MalformedError, SignatureError

_REMEMBERED = 2**16


class Signer:
    """Signs and checks with the key of the connection file; an empty key signs nothing, as Jupyter has it."""

    def __init__(self, key: bytes, scheme: str) -> None:
        algorithm, _, digest = scheme.partition("-")
        if algorithm != "hmac" or not digest:
            raise MalformedError("connection.scheme", f"unknown signature scheme {scheme!r}")
        self._key = key
        self._digest = digest
        self._seen: set[bytes] = set()
        self._order: deque[bytes] = deque()

    def open(self, parts: Sequence[bytes]) -> Message:
        """Return the message in signed ``parts``, without its signature.

        Raises:
            SignatureError: Missing, wrong or already seen signature.
            MalformedError: Not the parts of a message.
        """
        at = find_delimiter(parts)
        if len(parts) < at + 6:
            raise MalformedError("message.shape", "a message has five parts after the delimiter")
        if self._key:
            self._check(parts[at + 1], parts[at + 2 : at + 6])
        return split([*parts[: at + 1], *parts[at + 2 :]])

    def seal(self, message: Message) -> list[bytes]:
        """Return the signed parts of ``message``."""
        body = [message.header, message.parent, message.metadata, message.content]
        return [*message.idents, DELIMITER, self._sign(body), *body, *message.buffers]

    def _sign(self, body: Sequence[bytes]) -> bytes:
        if not self._key:
            return b""
        return hmac.digest(self._key, b"".join(body), self._digest).hex().encode("ascii")

    def _check(self, signature: bytes, body: Sequence[bytes]) -> None:
        if not hmac.compare_digest(signature, self._sign(body)):
            raise SignatureError("message.signature", "a message on a local socket is not signed by this session")
        if signature in self._seen:
            raise SignatureError("message.replayed", "a message on a local socket was sent twice")
        self._seen.add(signature)
        self._order.append(signature)
        if len(self._order) > _REMEMBERED:
            self._seen.discard(self._order.popleft())
