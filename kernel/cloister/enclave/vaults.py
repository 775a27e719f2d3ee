"""Vault processes: one per contract and mode, started when first needed and again after a death.

The agent hands a vault its configuration, routes requests with the context the sandbox cannot choose, relays its broker
messages, and lets the attester speak about the public keys the vault announced, about nothing else. A vault that dies
takes its unanswered requests with it; a retry charges nothing that was charged (docs/protocol.md section 6).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from cloister.attest.encoding import unb64
from cloister.attest.evidence import Evidence
from cloister.attest.hello import BROKER_SESSION
from cloister.attest.offer import make_offer
from cloister.attest.opening import Mode
from cloister.enclave import processes
from cloister.enclave.config import ServedContract
from cloister.enclave.pipes import Pipe
from cloister.enclave.relay import Relay
from cloister.errors import CloisterError, ContractError, MalformedError, UnavailableError, from_dict
from cloister.plan.link import MAX_REQUEST, Context, Routing
from cloister.wire import canonical
from cloister.wire.frames import Frame, Kind

START_TIMEOUT_S = 60.0
MAX_PENDING = 256
_AGAIN = "run the cell again; what was already paid for is recalled at no charge"
_log = logging.getLogger("cloister.enclave")

Attest = Callable[[bytes, str], Evidence]
Answer = Callable[[Routing, bytes], Awaitable[None]]


class _Identity(msgspec.Struct, frozen=True):
    vault_id: str
    vault_hpke: str


class _Numbered(msgspec.Struct, frozen=True):
    id: int


class _EventHead(msgspec.Struct, frozen=True):
    type: str
    id: str


class _Pending(msgspec.Struct):
    answer: Answer
    session: str


class Vault:
    """One running vault process."""

    def __init__(self, served: ServedContract, child: processes.Child, link: Pipe, broker: Pipe) -> None:
        self.served = served
        self.child = child
        self.identity = _Identity("", "")
        self.error: CloisterError | None = None
        self._link = link
        self._broker = broker
        self._pending: dict[tuple[str, int], _Pending] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, config: dict[str, Any]) -> None:
        """Configure the vault and learn its keys.

        Raises:
            CloisterError: The vault refused its configuration, died or did not answer.
        """
        await self._link.send(Kind.OPEN, canonical.encode(config))
        frame = await asyncio.wait_for(anext(self._link.frames(), None), START_TIMEOUT_S)
        if frame is None:
            raise UnavailableError("vault.start", "the vault ended while it started", next_step=_AGAIN)
        document = _decode(frame.parts[0], dict[str, Any]) if frame.parts else {}
        if isinstance(document.get("error"), dict):
            raise from_dict(document["error"])
        if frame.kind != Kind.OPEN:
            raise MalformedError("vault.malformed", "the vault did not introduce itself")
        self.identity = _decode(frame.parts[0], _Identity)
        unb64(self.identity.vault_hpke, size=32, code="vault.malformed")

    def serve(self, relay: Relay, attest: Attest, env_digest: str, on_death: Callable[[Vault], None]) -> None:
        """Route replies, broker frames and attestation requests until the vault ends, then tell ``on_death``."""
        self._spawn(self._replies(on_death))
        self._spawn(self._brokers(relay, attest, env_digest))

    async def request(self, context: Context, number: int, body: bytes, answer: Answer) -> None:
        """Send one request; ``answer`` gets routing and reply bytes, or the error of a death.

        Raises:
            CloisterError: The vault is gone, too much is unanswered, or the cell's source is too long to be kept.
        """
        told = _told(context)
        key = (context.session, number)
        if key in self._pending or len(self._pending) >= MAX_PENDING:
            raise UnavailableError("vault.busy", "too many unanswered requests", next_step="wait and run it again")
        self._pending[key] = _Pending(answer, context.session)
        try:
            await self._link.send(Kind.REQUEST, told, body)
        except UnavailableError as error:
            self._pending.pop(key, None)
            raise _died() from error

    async def tell(self, event: dict[str, Any]) -> None:
        """Tell the vault something that no sandbox may say.

        Raises:
            UnavailableError: The vault is gone.
        """
        await self._link.send(Kind.EVENT, canonical.encode(event))

    async def stop(self) -> None:
        """End the process."""
        self.error = self.error or _died()
        self._link.close()
        self._broker.close()
        await self.child.stop()
        for task in self._tasks:
            task.cancel()

    async def _replies(self, on_death: Callable[[Vault], None]) -> None:
        try:
            async for frame in self._link.frames():
                await self._reply(frame)
        except CloisterError as error:
            _log.warning("vault %d broke the protocol: %s", self.child.pid, error.code)
        self.error = _died()
        self.child.kill()
        pending, self._pending = list(self._pending.items()), {}
        on_death(self)
        for (session, number), waiting in pending:
            reply = canonical.encode({"id": number, "error": self.error.to_dict()})
            await waiting.answer(Routing(session), reply)

    async def _reply(self, frame: Frame) -> None:
        if frame.kind != Kind.REPLY or len(frame.parts) != 2:
            raise MalformedError("vault.malformed", "a vault sends replies with routing")
        routing = _decode(frame.parts[0], Routing)
        waiting = self._pending.pop((routing.session, _decode(frame.parts[1], _Numbered).id), None)
        if waiting is not None:
            await waiting.answer(routing, frame.parts[1])

    async def _brokers(self, relay: Relay, attest: Attest, env_digest: str) -> None:
        with contextlib.suppress(CloisterError):
            async for frame in self._broker.frames():
                if frame.kind == Kind.BROKER:
                    self._spawn(self._forward(relay, frame))
                elif frame.kind == Kind.EVENT and len(frame.parts) == 2:
                    await self._attest(frame, attest, env_digest)

    async def _forward(self, relay: Relay, frame: Frame) -> None:
        with contextlib.suppress(CloisterError):
            await self._broker.send(Kind.BROKER, *await relay.forward(frame.parts, self.served.brokers))

    async def _attest(self, frame: Frame, attest: Attest, env_digest: str) -> None:
        head = _decode(frame.parts[0], _EventHead)
        try:
            if head.type != "attest":
                raise MalformedError("vault.malformed", f"a vault cannot ask for {head.type!r}")
            offer, _ = make_offer(
                frame.parts[1],
                lambda report_data: attest(report_data, self.served.digest),
                kex_pub=unb64(self.identity.vault_hpke, size=32),
                vault_id=self.identity.vault_id,
                env_digest=env_digest,
                role=BROKER_SESSION,
                contract=self.served.digest,
            )
        except CloisterError as error:
            answer = canonical.encode({"type": "error", "id": head.id, "error": error.to_dict()})
            await self._broker.send(Kind.EVENT, answer)
            return
        answer = canonical.encode({"type": "offer", "id": head.id})
        await self._broker.send(Kind.EVENT, answer, canonical.encode(offer))

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class Vaults:
    """All vaults of an agent. ``watch`` is told when one becomes ready or dies."""

    def __init__(
        self,
        *,
        work: Path,
        env_digest: str,
        assurance: str,
        attest: Attest,
        watch: Callable[[str, Mode, dict[str, Any]], None],
    ) -> None:
        self._work = work
        self._env_digest = env_digest
        self._assurance = assurance
        self._attest = attest
        self._watch = watch
        self._relay = Relay()
        self._running: dict[tuple[str, Mode], Vault] = {}
        self._locks: dict[tuple[str, Mode], asyncio.Lock] = {}

    def identity(self, contract: str, mode: Mode) -> str:
        """Return the vault_id of the running vault, or "" if none runs."""
        vault = self._running.get((contract, mode))
        return vault.identity.vault_id if vault else ""

    async def get(self, served: ServedContract, mode: Mode) -> Vault:
        """Return the vault of a contract and mode, started now if none runs.

        Raises:
            CloisterError: It cannot be started; the next request tries again.
        """
        key = (served.digest, mode)
        async with self._locks.setdefault(key, asyncio.Lock()):
            vault = self._running.get(key)
            if vault is None or vault.error is not None:
                vault = await self._start(served, mode)
                self._running[key] = vault
                self._watch(served.digest, mode, {"state": "ready", "vault_id": vault.identity.vault_id})
            return vault

    async def stop(self) -> None:
        """End every vault."""
        running, self._running = list(self._running.values()), {}
        await asyncio.gather(*(vault.stop() for vault in running))
        await self._relay.close()

    async def _start(self, served: ServedContract, mode: Mode) -> Vault:
        home = self._work / f"vault-{served.digest[7:19]}-{mode}"
        home.mkdir(mode=0o700, exist_ok=True)
        link, link_child = await Pipe.open()
        broker, broker_child = await Pipe.open()
        with link_child, broker_child:
            fds = (link_child.fileno(), broker_child.fileno())
            arguments = ("-m", "cloister.vault", "--link-fd", str(fds[0]), "--broker-fd", str(fds[1]))
            environment = processes.clean_environment(home)
            log = home / "vault.log"
            child = await processes.start("vault", arguments, fds=fds, cwd=home, env=environment, log=log)
        vault = Vault(served, child, link, broker)
        config = {
            "contract": served.envelope,
            "cards": served.cards,
            "capsules": served.capsules,
            "env_digest": self._env_digest,
            "mode": mode,
            "assurance": self._assurance,
            "approvals": served.approvals,
        }
        try:
            await vault.open(config)
        except (CloisterError, TimeoutError) as error:
            await vault.stop()
            if isinstance(error, CloisterError):
                raise
            raise UnavailableError("vault.start", "the vault did not start in time", next_step=_AGAIN) from error
        vault.serve(self._relay, self._attest, self._env_digest, lambda dead: self._died(dead, mode))
        return vault

    def _died(self, vault: Vault, mode: Mode) -> None:
        key = (vault.served.digest, mode)
        if self._running.get(key) is vault:
            del self._running[key]
            error = (vault.error or _died()).to_dict()
            self._watch(vault.served.digest, mode, {"state": "died", "error": error})


def _died() -> CloisterError:
    return UnavailableError("vault.died", "the vault process ended before it answered", next_step=_AGAIN)


def _decode(data: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("vault.malformed", "the vault sent a document that cannot be read") from error


def _told(context: Context) -> bytes:
    """Return the context as the vault reads it.

    A longer one would end the vault, which answers all sessions of the contract: it is refused here.
    """
    told = canonical.encode(context)
    if len(told) > MAX_REQUEST:
        raise ContractError(
            "contract.source",
            f"the source of this cell is to be kept, and takes {len(told):,} bytes of at most {MAX_REQUEST:,}",
            clause="pack: the source of every release is kept, sealed",
            next_step="Split the cell: put long texts into a cell that asks for no release.",
        )
    return told
