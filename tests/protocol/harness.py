"""A small client over ``jupyter_client``: run a cell, ask a question, wait for outputs, all with short limits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

LIMIT_S = 60.0
Message = dict[str, Any]


@dataclass
class Cell:
    """What came of one request: its reply, its iopub messages without status, and how long the reply took."""

    reply: Message
    outputs: list[Message] = field(default_factory=list)
    states: list[str] = field(default_factory=list)
    reply_s: float = 0.0

    @property
    def content(self) -> Message:
        return self.reply["content"]

    def of(self, msg_type: str) -> list[Message]:
        return [message["content"] for message in self.outputs if message["msg_type"] == msg_type]

    def text(self, name: str = "stdout") -> str:
        return "".join(content["text"] for content in self.of("stream") if content["name"] == name)


class Client:
    """A connected kernel: every method returns only when reply and ``idle`` are here."""

    def __init__(self, manager: KernelManager, kc: BlockingKernelClient) -> None:
        self.manager = manager
        self.kc = kc
        self._replies: dict[str, Message] = {}
        self._outputs: dict[str, list[Message]] = {}

    def ask(self, channel: str, msg_type: str, content: Message, **header: Any) -> Cell:
        return self.finish(self.send(channel, msg_type, content, **header), channel)

    def send(self, channel: str, msg_type: str, content: Message, **header: Any) -> str:
        message = self.kc.session.msg(msg_type, content)
        buffers = header.pop("buffers", None)
        message["header"].update(header)
        message["buffers"] = [] if buffers is None else buffers
        getattr(self.kc, f"{channel}_channel").send(message)
        return message["header"]["msg_id"]

    def run(self, code: str, **options: Any) -> Cell:
        return self.finish(self.kc.execute(code, **options))

    def finish(self, msg_id: str, channel: str = "shell", *, reply: bool = True) -> Cell:
        started = time.perf_counter()
        cell = Cell({})
        deadline = started + LIMIT_S
        while (reply and not cell.reply) or "idle" not in cell.states:
            assert time.perf_counter() < deadline, f"no {'reply' if not cell.reply else 'idle'} for {msg_id}"
            self._take_reply(cell, msg_id, channel, started)
            self._take_output(cell, msg_id)
        return cell

    def comm(self, msg_type: str, content: Message, **header: Any) -> Cell:
        return self.finish(self.send("shell", msg_type, content, **header), reply=False)

    def wait_output(self, wanted: str, limit_s: float = LIMIT_S) -> Message:
        deadline = time.perf_counter() + limit_s
        while time.perf_counter() < deadline:
            try:
                message = self.kc.get_iopub_msg(timeout=0.2)
            except Empty:
                continue
            self._outputs.setdefault(message["parent_header"].get("msg_id"), []).append(message)
            if message["msg_type"] == wanted:
                return message
        raise AssertionError(f"no {wanted} within {limit_s} s")

    def _take_reply(self, cell: Cell, msg_id: str, channel: str, started: float) -> None:
        try:
            message = getattr(self.kc, f"get_{channel}_msg")(timeout=0 if cell.reply else 0.002)
        except Empty:
            pass
        else:
            self._replies[message["parent_header"].get("msg_id")] = message
        if not cell.reply and msg_id in self._replies:
            cell.reply, cell.reply_s = self._replies.pop(msg_id), time.perf_counter() - started

    def _take_output(self, cell: Cell, msg_id: str) -> None:
        try:
            while True:
                message = self.kc.get_iopub_msg(timeout=0.002)
                self._outputs.setdefault(message["parent_header"].get("msg_id"), []).append(message)
        except Empty:
            pass
        for message in self._outputs.pop(msg_id, []):
            if message["msg_type"] == "status":
                cell.states.append(message["content"]["execution_state"])
            else:
                cell.outputs.append(message)


@contextmanager
def kernel(name: str, *, encryption: str = "disabled", env: dict[str, str] | None = None) -> Iterator[Client]:
    """Start a kernel as any Jupyter client does, and shut it down."""
    import os

    manager = KernelManager(kernel_name=name, transport_encryption=encryption)
    manager.start_kernel(env={**os.environ, **(env or {})})
    kc = manager.client()
    kc.start_channels()
    try:
        kc.wait_for_ready(timeout=LIMIT_S)
        yield Client(manager, kc)
    finally:
        kc.stop_channels()
        manager.shutdown_kernel()
        manager.cleanup_resources()
