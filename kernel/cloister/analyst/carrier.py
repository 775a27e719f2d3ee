"""The WebSocket to an enclave, while nobody has proved to be one.

What an endpoint pings is answered by itself; what it then does not read would wait in this machine's memory.
"""

from __future__ import annotations

from websockets.asyncio.client import ClientConnection

from cloister.attest.sealing import MAX_SEALED

MOST_UNREAD = 64 * 1024


class Carrier(ClientConnection):
    """A connection that keeps little for its peer until ``trust``."""

    _trusted = False

    def trust(self) -> None:
        """Note that the peer has proved to be somebody who may send large frames."""
        self._trusted = True
        self.protocol.max_message_size = MAX_SEALED

    def data_received(self, data: bytes) -> None:
        """Take what was said; close the connection of a stranger who reads none of the answers."""
        super().data_received(data)
        if not self._trusted and self.transport.get_write_buffer_size() > MOST_UNREAD:
            self.transport.abort()
