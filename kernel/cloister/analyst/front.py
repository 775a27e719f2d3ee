"""The side Jupyter sees: signed messages out of the five sockets, status around every answer of our own.

Memory is bounded here. When clients read slower than the enclave speaks, the relay first waits; if they do not
catch up, outputs are dropped until they do, and the notebook is told how many.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from cloister.analyst.connection_file import ConnectionFile
from cloister.analyst.messages import EMPTY, Composer, Message, Request, decode_object, parse_header
from cloister.analyst.own_replies import error_content
from cloister.analyst.signing import Signer
from cloister.analyst.sockets import OuterSockets
from cloister.errors import CloisterError, MalformedError, SignatureError
from cloister.wire.frames import Kind

HIGH_WATER_BYTES = 128 * 2**20
_LOW_WATER_BYTES = HIGH_WATER_BYTES // 2
_PATIENCE_S = 2.0
_POLL_S = 0.01
DROPPABLE = frozenset({"stream", "display_data", "update_display_data", "execute_result"})

log = logging.getLogger(__name__)


class Front:
    """Receives requests (verified) and sends messages (signed) on the outer sockets."""

    def __init__(self, connection: ConnectionFile, on_request: Callable[[Request], None]) -> None:
        self._on_request = on_request
        self._signer = Signer(connection.key.encode("ascii"), connection.signature_scheme)
        self._sockets = OuterSockets(connection)
        self._composer = Composer()
        self._dropping = False
        self._dropped = 0

    async def bind(self) -> None:
        """Bind the sockets and start receiving.

        Raises:
            UnavailableError: A port stays taken.
        """
        await self._sockets.bind(self._received, self._subscribed)
        self.publish("status", {"execution_state": "starting"})

    def close(self) -> None:
        """Deliver what was sent (for at most a second) and close."""
        self._sockets.close()

    def adopt(self, message: Message) -> Message:
        """Return a message of the sandbox under the session of the proxy.

        JupyterLab knows a kernel by the session of its first ``kernel_info_reply`` and ignores every message of
        another; that reply may have been ours.

        Raises:
            MalformedError: The header is not a JSON object.
        """
        header = decode_object(message.header)
        header["session"] = self._composer.session
        return message._replace(header=msgspec.json.encode(header))

    def relay(self, kind: Kind, message: Message, msg_type: str) -> None:
        """Sign a message of the sandbox and send it; outputs are dropped while clients cannot keep up."""
        if self._dropping and kind is Kind.IOPUB and msg_type in DROPPABLE:
            self._dropped += 1
            return
        self._sockets.ports[kind].send(self._signer.seal(message))

    async def room(self) -> None:
        """Wait a little while clients are far behind; from then on drop outputs until they caught up."""
        unsent = self._sockets.unsent()
        if self._dropping:
            self._dropping = unsent > _LOW_WATER_BYTES
        elif unsent > HIGH_WATER_BYTES:
            deadline = asyncio.get_running_loop().time() + _PATIENCE_S
            while self._sockets.unsent() > HIGH_WATER_BYTES:
                if asyncio.get_running_loop().time() > deadline:
                    self._dropping = True
                    return
                await asyncio.sleep(_POLL_S)

    def publish(
        self, msg_type: str, content: dict[str, Any], parent: bytes = EMPTY, metadata: dict[str, Any] | None = None
    ) -> None:
        """Publish a message of the proxy's own on iopub."""
        topic = (b"cloister." + msg_type.encode("ascii"),)
        message = self._composer.compose(msg_type, content, parent=parent, idents=topic, metadata=metadata)
        self._sockets.ports[Kind.IOPUB].send(self._signer.seal(message))

    def notice(self, text: str, parent: bytes) -> None:
        """Write a line to the cell's stderr, visibly from the proxy."""
        self.publish("stream", {"name": "stderr", "text": f"[cloister] {text}\n"}, parent)

    def report_dropped(self, parent: bytes) -> None:
        """Tell the notebook, before a cell ends, how many outputs were dropped since the last report."""
        if self._dropped:
            self.notice(
                f"{self._dropped} outputs were dropped: the front end reads slower than the cell writes", parent
            )
            self._dropped = 0

    def status(self, state: str, parent: bytes) -> None:
        """Publish ``busy`` or ``idle`` for a request."""
        self.publish("status", {"execution_state": state}, parent)

    @contextmanager
    def serving(self, request: Request) -> Iterator[None]:
        """Publish ``busy`` before and ``idle`` after what the proxy does for ``request``."""
        self.status("busy", request.message.header)
        yield
        self.status("idle", request.message.header)

    def reply(self, request: Request, content: dict[str, Any]) -> None:
        """Send the reply to ``request`` on the channel it came from."""
        message = self._composer.compose(
            request.reply_type, content, parent=request.message.header, idents=request.message.idents
        )
        self._sockets.ports[request.channel].send(self._signer.seal(message))

    def fail(self, request: Request, error: CloisterError, execution_count: int) -> None:
        """Answer ``request`` with ``error``; cells also show it as output."""
        content = error_content(error)
        if request.header.msg_type == "execute_request":
            shown = {key: content[key] for key in ("ename", "evalue", "traceback")}
            self.publish("error", shown, request.message.header)
            content = {**content, "execution_count": execution_count, "user_expressions": {}, "payload": []}
        self.reply(request, content)

    def _received(self, channel: Kind, parts: list[bytes]) -> None:
        try:
            message = self._signer.open(parts)
            request = Request(channel, message, parse_header(message.header))
        except (MalformedError, SignatureError) as error:
            log.warning("dropped a local message: %s", error)
            return
        self._on_request(request)

    def _subscribed(self, parts: list[bytes]) -> None:
        """Greet a new iopub subscriber (JEP 65), so that a client knows it will miss nothing."""
        event = parts[0] if parts else b""
        if event[:1] == b"\x01":
            topic = event[1:]
            content = {"subscription": topic.decode("utf-8", "replace")}
            message = self._composer.compose("iopub_welcome", content, idents=(topic,) if topic else ())
            self._sockets.ports[Kind.IOPUB].send(self._signer.seal(message))
