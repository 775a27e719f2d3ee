"""A small agent for tests: starts real vaults on real descriptors, and relays to a real broker.

It does what the enclave's agent does, and can be told to misbehave: ``before`` sees every message to a broker and
``after`` every answer, and either may change, drop or answer it. ``steps`` makes a vault announce each step of a
release and wait, so that a test can kill it right there, from outside.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
from forker import Forked, Forker

from cloister.attest.encoding import unb64
from cloister.attest.offer import make_offer
from cloister.enclave.simulator import SimulatorAttester
from cloister.errors import CloisterError, from_dict
from cloister.wire import canonical, frames
from cloister.wire.frames import Kind

STEPPING = str(Path(__file__).with_name("stepping_vault.py"))


class Dead(Exception):
    """The vault ended before it answered."""


class Network:
    """The way to brokers by did, with hooks for everything a hostile host could do."""

    def __init__(self, urls: dict[str, str]) -> None:
        self.urls = urls
        self.before: Callable[[str, bytes], bytes | None] = lambda path, body: body
        self.after: Callable[[str, bytes], bytes | None] = lambda path, body: body
        self.seen: list[tuple[str, bytes, bytes]] = []
        self._client = httpx.Client(timeout=10, trust_env=False)

    def post(self, did: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Return status and body; status 0 means the broker was not reached."""
        sent = self.before(path, body)
        if sent is None:
            return 0, b""
        try:
            response = self._client.post(self.urls[did] + path, content=sent)
        except httpx.HTTPError:
            return 0, b""
        self.seen.append((path, sent, response.content))
        answer = self.after(path, response.content)
        return (0, b"") if answer is None else (response.status_code, answer)


class VaultProcess:
    """One vault, started as the agent starts it."""

    def __init__(
        self,
        config: dict[str, Any],
        network: Network,
        attester: SimulatorAttester,
        *,
        steps: Callable[[int], bool] | None = None,
        forker: Forker | None = None,
        analyst: str = "",
    ) -> None:
        self.config = config
        self.network = network
        self.attester = attester
        self.analyst = analyst
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Any]] = {}
        self._link, link = socket.socketpair()
        self._broker, broker = socket.socketpair()
        fds = [link.fileno(), broker.fileno()]
        arguments = ["-m", "cloister.vault"]
        self._threads: list[threading.Thread] = []
        self._more: list[socket.socket] = []
        if steps is not None:
            self._stepper, step = socket.socketpair()
            self._more.append(self._stepper)
            fds.append(step.fileno())
            arguments = [STEPPING, str(fds[2])]
        self.process: Any = (
            Forked(forker.start({"kind": "vault"}, fds)) if forker is not None else self._start(arguments, fds)
        )
        link.close()
        broker.close()
        if steps is not None:
            step.close()
            self._spawn(self._follow_steps, steps)
        self.log: list[str] = []
        self._dead = False
        if self.process.stderr is not None:
            self._spawn(self._read_log)
        with contextlib.suppress(OSError):
            self._send(self._link, Kind.OPEN, canonical.encode(config))
        self._frames = self._read(self._link)
        opened = next(self._frames, None)
        if opened is None:
            self.close()
            raise Dead("the vault ended while it started: " + "\n".join(self.log))
        self.opening = json.loads(opened.parts[0])
        if "error" in self.opening:
            self.close()
            raise from_dict(self.opening["error"])
        self._spawn(self._read_link)
        self._spawn(self._relay)

    def _spawn(self, work: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    @staticmethod
    def _start(arguments: list[str], fds: list[int]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *arguments, "--link-fd", str(fds[0]), "--broker-fd", str(fds[1])],
            pass_fds=fds,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": os.environ.get("PYTHONPATH", "")},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    # requests -------------------------------------------------------------------------------------

    def ask(
        self, op: str, plan: dict[str, Any] | None = None, *, timeout: float = 60, **context: Any
    ) -> dict[str, Any]:
        """Send one request and return its result; raises the vault's error, or ``Dead``."""
        return self.wait(self.begin(op, plan, **context), timeout)["result"]

    def ask_with_routing(self, op: str, plan: dict[str, Any] | None = None, **context: Any) -> dict[str, Any]:
        """Send one request and return ``{"routing", "result"}``."""
        return self.wait(self.begin(op, plan, **context))

    def begin(self, op: str, plan: dict[str, Any] | None = None, **context: Any) -> int:
        """Send one request and return its number."""
        request: dict[str, Any] = {"id": next(self._numbers), "op": op}
        if plan is not None:
            request["plan"] = plan
        self.expect(request["id"])
        self.send_raw(canonical.encode(self.context(**context)), canonical.encode(request))
        return request["id"]

    def wait(self, number: int, timeout: float = 60) -> dict[str, Any]:
        """Return routing and result of a request."""
        answer = self._waiting[number].get(timeout=timeout)
        if answer is None:
            raise Dead
        routing, reply = answer
        if reply.get("error"):
            raise from_dict(reply["error"])
        return {"routing": routing, "result": reply["result"]}

    def context(self, **changes: Any) -> dict[str, Any]:
        """Return a context as the agent would write it."""
        cause = {"kind": "cell", "message": "m1", "code": "sha256:" + "0" * 64, "code_normalised": ""}
        base = {
            "session": "session-1", "analyst": self.analyst, "purpose": "teaching", "transcript": "sha256:" + "1" * 64,
            "cause": cause,
        }  # fmt: skip
        return {**base, **changes}

    def send_raw(self, *parts: bytes, kind: int = Kind.REQUEST) -> None:
        """Send a frame as it is."""
        with contextlib.suppress(OSError):
            self._send(self._link, kind, *parts)

    def expect(self, number: int) -> None:
        """Prepare to wait for a reply to a request sent raw."""
        self._waiting[number] = queue.SimpleQueue()
        if self._dead:
            self._waiting[number].put(None)

    # life ----------------------------------------------------------------------------------------

    @property
    def alive(self) -> bool:
        """Whether the vault can still answer (a dying process may exist a little longer than its link)."""
        return not self._dead and self.process.poll() is None

    def kill(self) -> None:
        """Kill -9."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        """End the vault by closing its link, as a dying agent would."""
        for end in (self._link, self._broker):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
        for thread in self._threads:
            thread.join(5)
        for end in (self._link, self._broker, *self._more):
            end.close()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def __enter__(self) -> VaultProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # plumbing ------------------------------------------------------------------------------------

    def _follow_steps(self, steps: Callable[[int], bool]) -> None:
        while data := self._stepper.recv(1):
            if not steps(data[0]):
                self.kill()
                return
            with contextlib.suppress(OSError):
                self._stepper.sendall(b"g")

    def _read_log(self) -> None:
        for line in self.process.stderr:
            self.log.append(line.decode(errors="replace").rstrip())

    def _read_link(self) -> None:
        for frame in self._frames:
            routing, reply = json.loads(frame.parts[0]), json.loads(frame.parts[1])
            waiting = self._waiting.get(reply["id"])
            if waiting is not None:
                waiting.put((routing, reply))
        self._dead = True
        for waiting in list(self._waiting.values()):
            waiting.put(None)

    def _relay(self) -> None:
        for frame in self._read(self._broker):
            threading.Thread(target=self._serve, args=(frame,), daemon=True).start()

    def _serve(self, frame: frames.Frame) -> None:
        head = json.loads(frame.parts[0])
        if frame.kind == Kind.BROKER:
            status, body = self.network.post(head["broker"], head["path"], frame.parts[1])
            answer = Kind.BROKER, canonical.encode({"id": head["id"], "status": status}), body
        else:
            answer = self._offer(head["id"], frame.parts[1])
        with contextlib.suppress(OSError):
            self._send(self._broker, *answer)

    def _offer(self, identifier: str, hello: bytes) -> tuple[int, bytes, bytes]:
        contract = canonical.digest_bytes(unb64(self.config["contract"]["payload"], limit=1 << 24))
        try:
            offer, _ = make_offer(
                hello,
                lambda data: self.attester.collect(
                    data, contract=contract, env_digest=self.config["env_digest"], runtime={"isolation": "full"}
                ),
                kex_pub=unb64(self.opening["vault_hpke"]),
                vault_id=self.opening["vault_id"],
                env_digest=self.config["env_digest"],
                role="broker-session",
                contract=contract,
            )
        except CloisterError as error:
            return Kind.EVENT, canonical.encode({"type": "error", "id": identifier, "error": error.to_dict()}), b""
        return Kind.EVENT, canonical.encode({"type": "offer", "id": identifier}), canonical.encode(offer)

    @staticmethod
    def _send(end: socket.socket, kind: int, *parts: bytes) -> None:
        end.sendall(frames.encode(kind, *parts))

    @staticmethod
    def _read(end: socket.socket):
        decoder = frames.Decoder()
        while True:
            try:
                data = end.recv(1 << 18)
            except OSError:
                return
            if not data:
                return
            yield from decoder.feed(data)


def builtins(value: Any) -> Any:
    """Return a struct as JSON builtins."""
    return msgspec.to_builtins(value)
