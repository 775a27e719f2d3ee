"""The five outer ZMQ sockets, bound from the connection file and read on the event loop.

High-water marks are 0: ZeroMQ's default of 1000 messages loses output without a word. What a slow client has not
read is bounded here instead: after every ``_SAMPLE`` bytes one message is sent tracked, and a tracked message that
left the process tells that everything before it did (a pipe is first in, first out).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

import zmq

from cloister.analyst.connection_file import ConnectionFile
from cloister.errors import UnavailableError
from cloister.wire.frames import MAX_FRAME, Kind

_SAMPLE = 2**18
_BURST = 64
_BIND_PATIENCE_S = 10.0
_LINGER_MS = 1000

OnParts = Callable[[list[bytes]], None]


class Port:
    """One bound socket: calls ``on_parts`` for every message, knows how many sent bytes are still here."""

    def __init__(self, socket: zmq.Socket[bytes], on_parts: OnParts) -> None:
        self._socket = socket
        self._on_parts = on_parts
        self._loop = asyncio.get_running_loop()
        self._fd = int(socket.getsockopt(zmq.FD))
        self._tracked: deque[tuple[zmq.MessageTracker, int]] = deque()
        self._tracked_bytes = 0
        self._untracked_bytes = 0
        self._closed = False
        self._loop.add_reader(self._fd, self._drain)
        self._loop.call_soon(self._drain)

    def send(self, parts: Sequence[bytes]) -> None:
        """Hand one message to ZeroMQ; never blocks."""
        if self._closed:
            return
        self._untracked_bytes += sum(map(len, parts))
        if self._untracked_bytes < _SAMPLE:
            self._socket.send_multipart(parts, flags=zmq.DONTWAIT)
        else:
            self._send_tracked(parts)
        # A send may consume the edge that announced incoming messages.
        if int(self._socket.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            self._loop.call_soon(self._drain)

    def unsent(self) -> int:
        """Bytes handed to ZeroMQ that some client has not been sent yet, rounded up to whole samples."""
        while self._tracked and self._tracked[0][0].done:
            self._tracked_bytes -= self._tracked.popleft()[1]
        return self._tracked_bytes

    def close(self) -> None:
        """Stop reading; give ZeroMQ a second to deliver what was sent."""
        if not self._closed:
            self._closed = True
            self._loop.remove_reader(self._fd)
            self._socket.close(linger=_LINGER_MS)

    def _send_tracked(self, parts: Sequence[bytes]) -> None:
        if len(parts) > 1:
            self._socket.send_multipart(parts[:-1], flags=zmq.DONTWAIT | zmq.SNDMORE)
        last = zmq.Frame(parts[-1], track=True, copy=False)
        tracker = self._socket.send(last, flags=zmq.DONTWAIT, copy=False, track=True)
        self._tracked.append((tracker, self._untracked_bytes))
        self._tracked_bytes += self._untracked_bytes
        self._untracked_bytes = 0

    def _drain(self) -> None:
        for _ in range(_BURST):
            if self._closed:
                return
            try:
                parts = self._socket.recv_multipart(flags=zmq.DONTWAIT)
            except zmq.Again:
                return
            self._on_parts(parts)
        self._loop.call_soon(self._drain)


class OuterSockets:
    """Shell, control and stdin (ROUTER), iopub (XPUB) and heartbeat (REP) of one kernel."""

    def __init__(self, connection: ConnectionFile) -> None:
        self._connection = connection
        self._context = zmq.Context()
        self.ports: dict[Kind, Port] = {}
        self._heartbeat: Port | None = None

    async def bind(self, on_request: Callable[[Kind, list[bytes]], None], on_subscribe: OnParts) -> None:
        """Bind all five sockets and start reading.

        Raises:
            UnavailableError: A port stays taken.
        """
        ports = self._connection
        heartbeat = await self._bound(zmq.REP, ports.hb_port)
        shell = await self._bound(zmq.ROUTER, ports.shell_port)
        control = await self._bound(zmq.ROUTER, ports.control_port)
        stdin = await self._bound(zmq.ROUTER, ports.stdin_port)
        iopub = await self._bound(zmq.XPUB, ports.iopub_port)
        self._heartbeat = Port(heartbeat, self._beat)
        for kind, socket in ((Kind.SHELL, shell), (Kind.CONTROL, control), (Kind.STDIN, stdin)):
            self.ports[kind] = Port(socket, lambda parts, kind=kind: on_request(kind, parts))  # type: ignore[misc]
        self.ports[Kind.IOPUB] = Port(iopub, on_subscribe)

    def unsent(self) -> int:
        """Bytes that clients have not been sent yet, over all sockets."""
        return sum(port.unsent() for port in self.ports.values())

    def close(self) -> None:
        """Close every socket, delivering what is queued for at most a second."""
        for port in (*self.ports.values(), self._heartbeat):
            if port is not None:
                port.close()
        self._context.term()

    def _beat(self, parts: list[bytes]) -> None:
        if self._heartbeat is not None:
            self._heartbeat.send(parts)

    async def _bound(self, kind: int, port: int) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
        socket.setsockopt(zmq.LINGER, _LINGER_MS)
        if kind == zmq.ROUTER:
            socket.setsockopt(zmq.ROUTER_HANDOVER, 1)
        if self._connection.curve_secretkey and self._connection.curve_publickey:
            socket.curve_secretkey = self._connection.curve_secretkey.encode("ascii")
            socket.curve_publickey = self._connection.curve_publickey.encode("ascii")
            socket.curve_server = True
        endpoint = self._connection.endpoint(port)
        deadline = asyncio.get_running_loop().time() + _BIND_PATIENCE_S
        while True:
            try:
                socket.bind(endpoint)
            except zmq.ZMQError as error:
                # On restart the same ports are bound again before the old process is quite gone.
                if error.errno != zmq.EADDRINUSE or asyncio.get_running_loop().time() > deadline:
                    socket.close()
                    raise UnavailableError("proxy.bind", f"cannot bind {endpoint}: {error.strerror}") from error
                await asyncio.sleep(0.05)
            else:
                return socket
