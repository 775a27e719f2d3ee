"""The bridge as a process: says it is connected, copies, and fails closed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zmq

from cloister.wire import frames
from cloister.wire.frames import Frame, Kind

HEADER = b'{"msg_id":"1","msg_type":"x"}'


@dataclass
class FakeKernel:
    """The sockets an ipykernel binds, answering the bridge's greeting and nothing else."""

    shell: zmq.Socket[bytes]
    iopub: zmq.Socket[bytes]
    agent: socket.socket
    bridge: subprocess.Popen[bytes]
    decoder: frames.Decoder = field(default_factory=frames.Decoder)
    arrived: list[Frame] = field(default_factory=list)

    def frame(self) -> Frame:
        while not self.arrived:
            data = self.agent.recv(65536)
            assert data, "the bridge hung up"
            self.arrived.extend(self.decoder.feed(data))
        return self.arrived.pop(0)


def start(tmp_path: Path, **changes: str) -> tuple[subprocess.Popen[bytes], socket.socket, Path]:
    connection = tmp_path / "connection.json"
    ports = {f"{name}_port": at for at, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
    connection.write_text(json.dumps({"transport": "ipc", "ip": str(tmp_path / "k"), "key": "", **ports, **changes}))
    ours, theirs = socket.socketpair()
    with theirs:
        command = [sys.executable, "-m", "cloister.enclave.bridge", "--connection-file", str(connection)]
        bridge = subprocess.Popen(
            [*command, "--fd", str(theirs.fileno())], pass_fds=[theirs.fileno()], stderr=subprocess.DEVNULL
        )
    ours.settimeout(10)
    return bridge, ours, connection


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[FakeKernel]:
    with zmq.Context() as context:
        sockets = {}
        for port, kind in ((1, zmq.ROUTER), (2, zmq.XPUB), (3, zmq.ROUTER), (4, zmq.ROUTER)):
            sockets[port] = context.socket(kind)
            sockets[port].linger = 0
            sockets[port].rcvtimeo = 10_000
            sockets[port].bind(f"ipc://{tmp_path / 'k'}-{port}")
        bridge, agent, _ = start(tmp_path)
        assert sockets[2].recv() == b"\x01"
        welcome = [b"<IDS|MSG>", b"", b'{"msg_type":"iopub_welcome"}', b"{}", b"{}", b"{}"]
        sockets[2].send_multipart(welcome)
        asked = sockets[1].recv_multipart()
        assert b"kernel_info_request" in asked[3]
        answer = [b"<IDS|MSG>", b"", b'{"msg_type":"kernel_info_reply"}', asked[3], b"{}", b"{}"]
        sockets[1].send_multipart([asked[0], *answer])
        for state in (b"busy", b"idle"):
            told = b'{"execution_state": "%b"}' % state
            sockets[2].send_multipart([b"<IDS|MSG>", b"", b'{"msg_type":"status"}', asked[3], b"{}", told])
        yield FakeKernel(sockets[1], sockets[2], agent, bridge)
        agent.close()
        bridge.wait(10)
        for opened in sockets.values():
            opened.close()


def test_says_once_that_it_is_connected_and_ends_with_the_agent(kernel: FakeKernel) -> None:
    frame = kernel.frame()
    assert frame.kind == Kind.EVENT
    assert json.loads(frame.parts[0]) == {"type": "kernel", "state": "started"}
    kernel.agent.close()
    assert kernel.bridge.wait(10) == 0


def test_identities_travel_inside_and_the_signature_stays_out(kernel: FakeKernel) -> None:
    kernel.frame()
    sent = (b"client", b"<IDS|MSG>", HEADER, b"{}", b"{}", b"{}", b"\x00buffer")
    kernel.agent.sendall(frames.encode(Kind.SHELL, *sent))
    routing_id, *parts = kernel.shell.recv_multipart()
    assert parts == [b"client", b"<IDS|MSG>", b"", *sent[2:]]
    kernel.shell.send_multipart([routing_id, *parts])
    assert kernel.frame() == Frame(Kind.SHELL, sent)


@pytest.mark.parametrize(
    "data",
    [
        frames.encode(Kind.SHELL, b"no delimiter"),
        frames.encode(Kind.IOPUB, b"<IDS|MSG>", HEADER, b"{}", b"{}", b"{}"),
        frames.encode(Kind.EVENT, b"{}"),
        frames.encode(99, b"<IDS|MSG>"),
        b"\xff\xff\xff\xff" * 4,
        b"\x00\x00\x00\x07\x01\x00\x01\x00\x00\x00\x09",
    ],
)
def test_malformed_frames_of_the_agent_end_it(kernel: FakeKernel, data: bytes) -> None:
    kernel.frame()
    kernel.agent.sendall(data)
    assert kernel.bridge.wait(10) == 1


def test_malformed_messages_of_the_kernel_end_it(kernel: FakeKernel) -> None:
    kernel.frame()
    kernel.iopub.send_multipart([b"topic", b"<IDS|MSG>", b""])
    assert kernel.bridge.wait(10) == 1


@pytest.mark.parametrize("changes", [{"key": "secret"}, {"transport": "tcp", "ip": "127.0.0.1"}])
def test_only_an_unsigned_ipc_kernel_is_bridged(changes: dict[str, str], tmp_path: Path) -> None:
    bridge, agent, _ = start(tmp_path, **changes)
    with agent:
        assert bridge.wait(10) == 1


def test_gives_up_when_the_agent_leaves_before_the_kernel_came(tmp_path: Path) -> None:
    bridge, agent, _ = start(tmp_path)
    agent.close()
    assert bridge.wait(10) == 1
