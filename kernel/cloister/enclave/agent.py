"""The agent: the enclave's only door. Attested channels in front, sandboxes and vaults behind, brokers beside.

It holds the channels' keys and the attester, relays frames whose content it does not read, and keeps no state worth
stealing: sessions end with it. It listens on the loopback unless configured otherwise; the transport is not trusted.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve

from cloister.attest.channel import EnclaveEnd
from cloister.attest.evidence import Evidence
from cloister.attest.opening import Mode, Opening
from cloister.contract import signing
from cloister.enclave import folders, isolation
from cloister.enclave.attesters import Attester, assurance
from cloister.enclave.config import EnclaveConfig, ServedContract, load_contract
from cloister.enclave.connection import Connection, greet
from cloister.enclave.doors import Doors
from cloister.enclave.limiter import Quotes, RateLimit
from cloister.enclave.measure import Measurement
from cloister.enclave.sessions import Session
from cloister.enclave.vaults import Vault, Vaults
from cloister.errors import CloisterError, ContractError, TrustError, UnavailableError

# A hello has 4 KiB at most, an opening 8; messages that nobody has read yet wait in memory, several of each connection.
MAX_HANDSHAKE = 16 * 1024
REFUSALS_PER_MINUTE = 60
GOODBYE_S = 2.0
VAULT_WAIT_S = 10.0
# Busy machines answer late; a session is too much to lose over it.
PING_TIMEOUT_S = 60.0
_log = logging.getLogger("cloister.enclave")


class Agent:
    """One enclave: serves contracts to the analysts they name."""

    def __init__(self, config: EnclaveConfig, base: Path, *, attester: Attester, measurement: Measurement) -> None:
        self.config = config
        self.env_digest = measurement.digest
        parent = Path(config.work or tempfile.gettempdir())
        folders.remove_abandoned(parent)
        self._folder = folders.open_work(parent)
        self.work = self._folder.path
        # Asked before the agent gives up what the question needs.
        self._offers = isolation.probe(self.work)
        self.sessions: dict[str, Session] = {}
        loaded = [load_contract(files, base, config.brokers) for files in config.contracts]
        self.contracts: dict[str, ServedContract] = {served.digest: served for served in loaded}
        self.vaults = Vaults(
            work=self.work,
            env_digest=self.env_digest,
            assurance=assurance(attester),
            attest=self.attest,
            watch=self._vault_changed,
        )
        self._attester = attester
        self._base = base
        self._coverage = measurement.coverage
        named = [served.analysts for served in loaded]
        self._quotes = Quotes(config.quotes_per_minute, analysts=frozenset[str]().union(*named))
        self.doors = Doors()
        self._turn, self._strangers_turn = asyncio.Lock(), asyncio.Lock()
        self._attesting = threading.Lock()
        self._lines, self._untold = RateLimit(REFUSALS_PER_MINUTE), 0
        self._stop = asyncio.Event()
        self._connections = 0
        self._idle_since = time.monotonic()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self) -> None:
        """Serve until told to stop or idle for long enough; then end every child."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            async with serve(
                self._connected,
                self.config.host,
                self.config.port,
                max_size=MAX_HANDSHAKE,
                compression=None,
                ping_timeout=PING_TIMEOUT_S,
                # Relying parties are programs; a page that a browser has open elsewhere has no business here.
                origins=[None],
                process_response=greet,
                create_connection=self.doors.connection(),
            ) as server:
                self._write_ready(server)
                for served in self.contracts.values():
                    self._warm(served)
                await self._until_stopped()
                await self._end_sessions()
        finally:
            await self._end_sessions()
            await self.vaults.stop()
            await asyncio.to_thread(self._folder.remove)

    def attest(self, report_data: bytes, contract: str) -> Evidence:
        """Return evidence of this enclave over 64 bytes of report data, for one of its contracts."""
        with self._attesting:
            return self._attester.collect(
                report_data, contract=contract, env_digest=self.env_digest, runtime=self.runtime(contract)
            )

    async def offer(self, end: EnclaveEnd, served: ServedContract, *, introduced: bool) -> bytes:
        """Answer a hello, one after another: hardware takes its time, and sessions go on meanwhile.

        Strangers wait for each other first, so that an analyst who is introduced waits for one of them at most.

        Raises:
            CloisterError: As ``EnclaveEnd.offer``.
        """
        vault_id = await self.vault_id(served)
        async with contextlib.nullcontext() if introduced else self._strangers_turn, self._turn:
            return await asyncio.to_thread(
                end.offer,
                lambda report_data: self.attest(report_data, served.digest),
                vault_id=vault_id,
                env_digest=self.env_digest,
            )

    async def vault_id(self, served: ServedContract) -> str:
        """Return the did of the contract's confidential vault, for evidence; "" while it cannot be started.

        Sessions do not depend on the vault: cells run without it, and it is announced when it is back.
        """
        try:
            vault = await asyncio.wait_for(asyncio.shield(self._warm(served)), VAULT_WAIT_S)
        except (CloisterError, TimeoutError):
            return ""
        return vault.identity.vault_id

    def take_quote(self, *, address: str, analyst: str) -> None:
        """Count evidence that is asked for before a session is open: from an address, or by an analyst who signed.

        Raises:
            UnavailableError: Too much in too short a time.
        """
        self._quotes.take(time.monotonic(), address=address, analyst=analyst)

    def runtime(self, contract: str) -> dict[str, Any]:
        """Return what this enclave declares about how it runs."""
        terms = self.contracts[contract].contract
        found = self._offers
        level = "none" if self.config.plain_kernel else found.level
        return {
            "isolation": {"level": level, "landlock": found.landlock, "seccomp": found.seccomp},
            "placement": "colocated",
            "tenancy": terms.tenancy,
            "measured": self._coverage,
        }

    def served(self, digest: str) -> ServedContract:
        """Return a contract this enclave serves, valid now.

        Raises:
            ContractError: Unknown here, not yet valid, expired, or asking for another placement.
        """
        served = self.contracts.get(digest)
        if served is None:
            raise ContractError(
                "contract.unknown", "this enclave does not serve that contract", next_step="check endpoint and contract"
            )
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        signing.check_validity(served.contract, now=now)
        if served.contract.placement != "colocated":
            raise ContractError(
                "contract.placement",
                "the contract asks for split placement, and this enclave runs sandboxes beside the vault",
                clause="placement",
            )
        return served

    async def admit(self, session: Session) -> Session:
        """Register a new session, or return the one it resumes.

        Raises:
            TrustError: ``session.owner``: the session is another analyst's, or of other terms;
                ``session.attached``: it is in use.
            UnavailableError: Too many sessions, or the sandbox does not start.
        """
        opening = session.opening
        known = self.sessions.get(opening.session)
        if known is not None:
            same = (opening.analyst, opening.mode, opening.purpose, session.served.digest)
            old = known.opening
            if same != (old.analyst, old.mode, old.purpose, known.served.digest):
                raise TrustError("session.owner", "the session belongs to somebody else, or to other terms")
            if known.attached or known.kernel is None:
                raise TrustError("session.attached", "the session is in use by another connection, starting or ending")
            known.left.clear()
            return known
        if len(self.sessions) >= self.config.max_sessions:
            raise UnavailableError(
                "enclave.full", "the enclave runs as many notebooks as it can", next_step="shut another kernel down"
            )
        self.sessions[opening.session] = session
        folder = self._new_folder()
        try:
            await session.start(folder, plain=self.config.plain_kernel)
            _check_isolation(session)
        except CloisterError:
            await session.stop("the session was refused")
            self._forget(session)
            raise
        self.spawn(self._forget_when_ended(session))
        session.left.clear()
        return session

    def note(self, code: str) -> None:
        """Log that a connection was refused; strangers do not fill a disk with it."""
        now = time.monotonic()
        if not self._lines.has_room(now):
            self._untold += 1
            return
        self._lines.take(now)
        more, self._untold = self._untold, 0
        _log.info("refused a connection: %s%s", code, f" (and {more} before it)" if more else "")

    def refused(self, opening: Opening, served: ServedContract, error: ContractError) -> None:
        """Have the vault tell the brokers that a named analyst was refused a session on data."""
        if opening.mode == "confidential":
            self.spawn(self._tell_refused({"type": "refused", "analyst": opening.analyst, "code": error.code}, served))

    async def _tell_refused(self, event: dict[str, Any], served: ServedContract) -> None:
        with contextlib.suppress(CloisterError):
            vault = await self.vaults.get(served, "confidential")
            await vault.tell(event)

    def detached(self, session: Session) -> None:
        """Note that a session's connection broke; its kernel waits a while for the same analyst."""
        session.left.set()
        session.departures += 1
        self.spawn(self._expire(session, session.departures))

    def spawn(self, work: Any) -> None:
        """Run a coroutine beside the others and keep it from being collected."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _warm(self, served: ServedContract) -> asyncio.Task[Vault]:
        task = asyncio.create_task(self.vaults.get(served, "confidential"))
        # Whoever waits learns of a failure; nobody may be waiting.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connected(self, socket: ServerConnection) -> None:
        # Somebody who is still being answered must not find the agent gone for idleness.
        self._connections += 1
        try:
            await Connection(self, socket).run()
        finally:
            self._connections -= 1
            self._idle_since = time.monotonic()

    def _vault_changed(self, contract: str, mode: Mode, state: dict[str, Any]) -> None:
        for session in self.sessions.values():
            if session.served.digest == contract and session.opening.mode == mode:
                self.spawn(session.event(type="vault", **state))

    async def _forget_when_ended(self, session: Session) -> None:
        await session.ended()
        self._forget(session)

    def _forget(self, session: Session) -> None:
        if self.sessions.get(session.opening.session) is session:
            del self.sessions[session.opening.session]
        self._idle_since = time.monotonic()

    async def _expire(self, session: Session, departure: int) -> None:
        await asyncio.sleep(self.config.resume_s)
        # Resumed and lost again, it waits anew.
        if not session.attached and session.departures == departure:
            await session.stop("the connection was lost and nobody resumed the session")

    async def _until_stopped(self) -> None:
        while not self._stop.is_set():
            idle = time.monotonic() - self._idle_since
            busy = self.sessions or self._connections
            if self.config.idle_exit_s and not busy and idle >= self.config.idle_exit_s:
                _log.info("no session for %.0f s: ending", idle)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), 0.2)

    async def _end_sessions(self) -> None:
        sessions = list(self.sessions.values())
        await asyncio.gather(*(session.stop("the enclave is stopping") for session in sessions))
        # Connections need a moment to hand over the last event and say goodbye.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(session.left.wait() for session in sessions)), GOODBYE_S)

    def _new_folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix="s-", dir=self.work))
        folder.chmod(0o711)
        return folder

    def _write_ready(self, server: Server) -> None:
        host, port = next(iter(server.sockets)).getsockname()[:2]
        url = f"ws://[{host}]:{port}" if ":" in host else f"ws://{host}:{port}"
        _log.info("listening on %s, env %s", url, self.env_digest[:23])
        if self.config.ready:
            path = self._base / self.config.ready
            temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            temporary.write_text(json.dumps({"url": url, "pid": os.getpid(), "env_digest": self.env_digest}))
            temporary.replace(path)


def _check_isolation(session: Session) -> None:
    reached = session.kernel.isolation if session.kernel else {}
    if session.opening.mode == "confidential" and not all(
        isolation.allows(reached, grade) for grade in session.served.grades
    ):
        raise ContractError(
            "isolation.grade",
            "this system cannot isolate notebook code, and the contract covers data beyond demonstration grade",
            clause="attestation.md section 4: isolation none opens demonstration data only",
            next_step="run the enclave on Linux with Landlock and seccomp (`cloister doctor`)",
        )
