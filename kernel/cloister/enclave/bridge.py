"""The bridge: one per notebook, ends ZeroMQ on the enclave's side; framing only, no keys.

``python -m cloister.enclave.bridge --connection-file F --fd N`` connects three DEALER sockets and one SUB to the
inner kernel and copies messages to and from one socketpair to the agent, as frames of ``docs/protocol.md`` §2.

* The clients' identities travel inside the messages: ipykernel echoes everything ahead of ``<IDS|MSG>``.
* The three DEALERs share one routing id, because ipykernel sends ``input_request`` to the shell's.
* The inner key is empty (it would authenticate nobody; access to the ipc directory does), so the signature part
  is empty too: put in on the way in, taken out on the way out.
* Nothing is read from the agent before the kernel is connected: no request overtakes the iopub subscription.

It reports one thing of its own, ``EVENT {"type": "kernel", "state": "started"}``, once connected. It ends with code
0 when the agent closes the socketpair and with code 1, at once, on anything malformed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import sys
import time
from collections import deque
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import zmq
from zmq.utils.monitor import recv_monitor_message

from cloister.confine import process
from cloister.confine.libc import LINUX
from cloister.errors import CloisterError, MalformedError, UnavailableError
from cloister.wire import frames
from cloister.wire.frames import Kind

CHANNELS = {Kind.SHELL: "shell_port", Kind.CONTROL: "control_port", Kind.STDIN: "stdin_port", Kind.IOPUB: "iopub_port"}
CONNECT_TIMEOUT_S = 60.0
_DELIMITER = b"<IDS|MSG>"
_READ_BYTES = 2**20
_OUT_HIGH_BYTES = 32 * 2**20
_BURST = 64
# What a kernel prints faster than it is read waits in this process: it must not take the machine's whole memory.
_ADDRESS_SPACE = 4 * 2**30
_GREETING = "cloister-bridge"


class Bridge:
    """Copies between the inner kernel's sockets and the agent's descriptor."""

    def __init__(self, connection: dict[str, object], agent: socket.socket) -> None:
        self._agent = agent
        self._agent.setblocking(False)
        self._decoder = frames.Decoder()
        self._out: deque[memoryview] = deque()
        self._out_bytes = 0
        self._context = zmq.Context()
        self._connection = connection
        routing_id = os.urandom(16)
        self._sockets = {kind: self._socket(kind, routing_id) for kind in CHANNELS}
        self._kinds = {kernel: kind for kind, kernel in self._sockets.items()}

    def connect(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connect to the kernel; return when every channel and the iopub subscription are up.

        Raises:
            UnavailableError: The kernel does not answer in time, or the agent hung up.
        """
        monitors = {socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED): socket for socket in self._kinds}
        for kernel, kind in self._kinds.items():
            kernel.connect(self._endpoint(CHANNELS[kind]))
        poller = zmq.Poller()
        for monitor in monitors:
            poller.register(monitor, zmq.POLLIN)
        poller.register(self._sockets[Kind.IOPUB], zmq.POLLIN)
        poller.register(self._agent.fileno(), zmq.POLLERR)
        missing: set[object] = {*monitors, self._sockets[Kind.IOPUB]}
        while missing:
            ready = dict(poller.poll(int(timeout_s * 1000)))
            if not ready or self._agent.fileno() in ready:
                raise UnavailableError("bridge.connect", "the kernel did not start, or the agent hung up")
            for source in ready:
                # The kernel greets a subscriber (JEP 65): from here on no output is missed.
                missing.discard(source)
                poller.unregister(source)
        for monitor, kernel in monitors.items():
            recv_monitor_message(monitor)
            kernel.disable_monitor()
        self._greet(timeout_s)

    def _greet(self, timeout_s: float) -> None:
        """Ask the kernel for its name and wait until it has finished answering.

        ipykernel's control thread listens before its shell does, and never answers a subshell request of that time.
        """
        header = json.dumps({"msg_id": _GREETING, "msg_type": "kernel_info_request", "session": _GREETING})
        request = [_DELIMITER, b"", header.encode(), b"{}", b"{}", b"{}"]
        self._sockets[Kind.SHELL].send_multipart(request)
        self._skip(Kind.SHELL, b"kernel_info_reply", timeout_s)
        self._skip(Kind.IOPUB, b'"idle"', timeout_s)

    def _skip(self, kind: Kind, wanted: bytes, timeout_s: float) -> None:
        """Discard messages up to the one that answers the greeting; nobody else has asked anything yet."""
        deadline = time.monotonic() + timeout_s
        while True:
            if not self._sockets[kind].poll(max(0, int(1000 * (deadline - time.monotonic())))):
                raise UnavailableError("bridge.connect", "the kernel does not answer")
            parts = self._sockets[kind].recv_multipart()
            about = parts[_delimiter(parts) + 1 :]
            if any(wanted in part for part in about) and any(_GREETING.encode() in part for part in about):
                return

    def run(self) -> None:
        """Copy until the agent closes its end.

        Raises:
            MalformedError: Either side sent something that is not a message.
        """
        self._queue(frames.encode(Kind.EVENT, json.dumps({"type": "kernel", "state": "started"}).encode()))
        poller = zmq.Poller()
        while True:
            # While the agent is slow, output waits in ZeroMQ; it is never dropped here.
            listening = zmq.POLLIN if self._out_bytes < _OUT_HIGH_BYTES else 0
            for kernel in self._kinds:
                poller.register(kernel, listening)
            poller.register(self._agent.fileno(), zmq.POLLIN | (zmq.POLLOUT if self._out else 0))
            ready = dict(poller.poll())
            events = ready.pop(self._agent.fileno(), 0)
            if events and events & zmq.POLLIN and not self._from_agent():
                return
            for kernel in ready:
                self._from_kernel(kernel)
            self._flush()

    def close(self) -> None:
        """Close everything at once."""
        self._agent.close()
        self._context.destroy(linger=0)

    def _socket(self, kind: Kind, routing_id: bytes) -> zmq.Socket[bytes]:
        kernel: zmq.Socket[bytes] = self._context.socket(zmq.SUB if kind is Kind.IOPUB else zmq.DEALER)
        kernel.setsockopt(zmq.SNDHWM, 0)
        kernel.setsockopt(zmq.RCVHWM, 0)
        kernel.setsockopt(zmq.LINGER, 0)
        kernel.setsockopt(zmq.RECONNECT_IVL, 10)
        if kind is Kind.IOPUB:
            kernel.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            kernel.setsockopt(zmq.ROUTING_ID, routing_id)
        return kernel

    def _endpoint(self, port: str) -> str:
        if self._connection.get("transport") != "ipc" or self._connection.get("key"):
            raise MalformedError("bridge.connection", "the inner kernel is reached by ipc and has an empty key")
        return f"ipc://{self._connection['ip']}-{self._connection[port]}"

    def _from_agent(self) -> bool:
        """Pass on what the agent sent; return whether it is still there."""
        try:
            data = self._agent.recv(_READ_BYTES)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        for frame in self._decoder.feed(data):
            kernel = self._sockets.get(Kind(frame.kind)) if frame.kind in CHANNELS else None
            if kernel is None or frame.kind == Kind.IOPUB:
                raise MalformedError("bridge.kind", f"the agent sent a frame of kind {frame.kind}")
            at = _delimiter(frame.parts)
            kernel.send_multipart([*frame.parts[: at + 1], b"", *frame.parts[at + 1 :]], flags=zmq.DONTWAIT)
        return bool(data)

    def _from_kernel(self, kernel: zmq.Socket[bytes]) -> None:
        kind = self._kinds[kernel]
        for _ in range(_BURST):
            try:
                parts = kernel.recv_multipart(flags=zmq.DONTWAIT)
            except zmq.Again:
                return
            at = _delimiter(parts)
            if len(parts) < at + 6:
                raise MalformedError("bridge.message", "the kernel sent too few parts")
            self._queue(frames.encode(kind, *parts[: at + 1], *parts[at + 2 :]))

    def _queue(self, data: bytes) -> None:
        self._out.append(memoryview(data))
        self._out_bytes += len(data)

    def _flush(self) -> None:
        while self._out:
            try:
                sent = self._agent.sendmsg(list(islice(self._out, _BURST)))
            except BlockingIOError:
                return
            self._out_bytes -= sent
            while self._out and sent >= len(self._out[0]):
                sent -= len(self._out.popleft())
            if sent:
                self._out[0] = self._out[0][sent:]


def _delimiter(parts: Sequence[bytes]) -> int:
    try:
        return list(parts).index(_DELIMITER)
    except ValueError:
        raise MalformedError("bridge.message", "a message without delimiter") from None


def main(argv: list[str] | None = None) -> int:
    """Run the bridge; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cloister.enclave.bridge")
    parser.add_argument("--connection-file", type=Path, required=True, help="of the inner kernel")
    parser.add_argument("--fd", type=int, required=True, help="socketpair to the agent")
    options = parser.parse_args(argv)
    if LINUX:
        process.first_to_go()
        process.limit({"CORE": 0, "AS": _ADDRESS_SPACE})
        process.no_new_privileges()
        process.not_dumpable()
    agent = socket.socket(fileno=options.fd)
    bridge = Bridge(json.loads(options.connection_file.read_bytes()), agent)
    try:
        bridge.connect()
        bridge.run()
    except (CloisterError, ConnectionError) as error:
        sys.stderr.write(f"bridge: {error}\n")
        return 1
    finally:
        with contextlib.suppress(OSError):
            bridge.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
