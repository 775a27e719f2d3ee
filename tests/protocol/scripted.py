"""An enclave that says what a test tells it to: the proxy runs for real, in this process, on real sockets.

Used for what a real kernel never sends: forged names, garbage, receipts, floods, silence.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.connect import write_connection_file
from local_session import LocalVerdict

from cloister.analyst import connection_file
from cloister.analyst.chips import OpenBook
from cloister.analyst.messages import Composer, Message, parse_header, split
from cloister.analyst.proxy import Proxy
from cloister.errors import UnavailableError
from cloister.wire.frames import Frame, Kind

Received = tuple[Kind, Message]


class ScriptedEnclave:
    """Records every message that reaches it; ``on_message`` may answer."""

    def __init__(self, on_message: Callable[[ScriptedEnclave, Kind, Message], None] | None = None) -> None:
        self.verdict = LocalVerdict()
        self.received: list[Received] = []
        self.asked: list[tuple[dict[str, Any], bytes]] = []
        self.on_ask: Callable[[dict[str, Any], bytes], None] | None = self._answer
        self.send_gate = asyncio.Event()
        self.send_gate.set()
        self._on_message = on_message
        self._frames: deque[Frame] = deque()
        self._arrived = asyncio.Event()
        self._composer = Composer()
        self._lost = False

    async def open(self) -> ScriptedEnclave:
        return self

    async def send(self, kind: int, *parts: bytes) -> None:
        await self.send_gate.wait()
        if kind == Kind.EVENT:
            self.asked.append((json.loads(parts[0]), b"".join(parts[1:])))
            if self.on_ask:
                self.on_ask(*self.asked[-1])
            return
        message = split(parts)
        self.received.append((Kind(kind), message))
        if self._on_message:
            self._on_message(self, Kind(kind), message)

    async def receive(self) -> Frame:
        while not self._frames:
            if self._lost:
                raise UnavailableError("session.lost", "scripted")
            self._arrived.clear()
            await self._arrived.wait()
        return self._frames.popleft()

    async def close(self) -> None:
        self._lost = True

    def types(self) -> list[str]:
        return [parse_header(message.header).msg_type for _, message in self.received]

    def say(self, kind: Kind, *parts: bytes) -> None:
        self._frames.append(Frame(kind, parts))
        self._arrived.set()

    def event(self, **event: Any) -> None:
        self.say(Kind.EVENT, json.dumps(event).encode())

    def _answer(self, ask: dict[str, Any], data: bytes) -> None:
        """As an agent whose vault tells nothing."""
        error = {"kind": "unavailable", "code": "vault.died", "reason": "there is none"}
        self.event(type=ask["type"], id=ask["id"], error=error)

    def publish(self, msg_type: str, content: dict[str, Any] | bytes, parent: bytes = b"{}") -> None:
        self._compose(Kind.IOPUB, msg_type, content, parent, (b"topic",))

    def reply(self, request: Message, msg_type: str, content: dict[str, Any], idents: tuple[bytes, ...] = ()) -> None:
        self._compose(Kind.SHELL, msg_type, content, request.header, idents or request.idents)

    def serve(self, request: Message, *outputs: tuple[str, dict[str, Any] | bytes]) -> None:
        """Answer an ``execute_request`` with these outputs, as a kernel would."""
        self.publish("status", {"execution_state": "busy"}, request.header)
        for msg_type, content in outputs:
            self.publish(msg_type, content, request.header)
        self.reply(request, "execute_reply", {"status": "ok", "execution_count": 7})
        self.publish("status", {"execution_state": "idle"}, request.header)

    def _compose(
        self, kind: Kind, msg_type: str, content: dict[str, Any] | bytes, parent: bytes, idents: tuple[bytes, ...]
    ) -> None:
        plain = {} if isinstance(content, bytes) else content
        message = self._composer.compose(msg_type, plain, parent=parent, idents=idents)
        if isinstance(content, bytes):
            message = message._replace(content=content)
        self.say(kind, *message.parts())


class Talk:
    """A client of the proxy: what one request brought."""

    def __init__(self, client: AsyncKernelClient, proxy: Proxy) -> None:
        self.client = client
        self.proxy = proxy

    async def run(self, code: str = "1") -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Execute; return the reply's content and the iopub messages up to ``idle``."""
        msg_id = self.client.execute(code)
        outputs = []
        while True:
            message = await self.client.get_iopub_msg(timeout=60)
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            outputs.append(message)
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                break
        while (reply := await self.client.get_shell_msg(timeout=60))["parent_header"]["msg_id"] != msg_id:
            pass
        return reply["content"], outputs


@asynccontextmanager
async def talking_to(
    enclave: ScriptedEnclave, tmp_path: Path, open_book: OpenBook | None = None, **options: Any
) -> AsyncIterator[Talk]:
    """Run a proxy with this enclave and a connected client; ``options`` are the proxy's."""
    path, _ = write_connection_file(str(tmp_path / "connection.json"), key=b"secret")
    connection = connection_file.load(Path(path))
    options = {"entry": "scripted", "mode": "confidential", **options}
    proxy = Proxy(connection, enclave.open, open_book=open_book, **options)
    serving = asyncio.create_task(proxy.run())
    client = AsyncKernelClient(connection_file=path)
    client.load_connection_file()
    client.start_channels()
    try:
        while (await client.get_iopub_msg(timeout=60))["msg_type"] != "iopub_welcome":
            pass
        yield Talk(client, proxy)
    finally:
        client.stop_channels()
        client.context.destroy(linger=0)
        proxy.stop()
        assert await asyncio.wait_for(serving, 5) == 0
