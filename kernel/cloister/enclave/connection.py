"""One connection of a relying party: hello, offer, opening, then frames both ways until either side leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from cloister.attest import introduction
from cloister.attest.channel import EnclaveEnd
from cloister.attest.offer import refusal
from cloister.attest.opening import Opening
from cloister.attest.renewal import renew_offer
from cloister.attest.sealing import MAX_SEALED
from cloister.enclave.config import ServedContract
from cloister.enclave.doors import address_of
from cloister.enclave.limiter import RateLimit
from cloister.enclave.sessions import Session
from cloister.errors import CloisterError, ContractError, MalformedError
from cloister.wire import canonical
from cloister.wire.frames import Frame, Kind

if TYPE_CHECKING:
    from cloister.enclave.agent import Agent

HANDSHAKE_TIMEOUT_S = 15.0
# Vaults seldom die; a session counts for itself, so that strangers who force quotes cannot end it.
RENEWALS_PER_MINUTE = 12
RENEW = canonical.encode({"type": "hello"})
_log = logging.getLogger("cloister.enclave")


class Connection:
    """Serves one WebSocket: only a hello is understood before evidence, only an opening before a session."""

    def __init__(self, agent: Agent, socket: ServerConnection) -> None:
        self._agent = agent
        self._socket = socket
        self._end = EnclaveEnd()
        self._previous = b""
        self._renewals = RateLimit(RENEWALS_PER_MINUTE)

    async def run(self) -> None:
        """Serve until the peer leaves, misbehaves, or the session ends."""
        try:
            session = await self._handshake()
        except (ConnectionClosed, TimeoutError):
            return
        except CloisterError as error:
            _log.info("refused a connection: %s", error.code)
            with contextlib.suppress(ConnectionClosed, CloisterError):
                await self._refuse(error)
            return
        try:
            await self._pump(session)
        except ConnectionClosed:
            _log.info("session %s lost its connection", session.opening.session)
        except CloisterError as error:
            _log.warning("session %s: the channel ended (%s)", session.opening.session, error.code)
            self._end.abort()
        finally:
            if self._end.peer_closed:
                session.left.set()
                await session.stop("the notebook closed it")
            else:
                self._leave(session)

    def _leave(self, session: Session) -> None:
        session.counts = self._end.counts
        self._agent.detached(session)

    async def _handshake(self) -> Session:
        said = await self._message()
        hello = self._end.receive_hello(said)
        served = self._agent.served(hello.contract)
        known = hello.audience in served.analysts and introduction.is_introduced(
            self._introduction(), said, hello.audience, time.time()
        )
        self._agent.take_quote(address=address_of(self._socket), analyst=hello.audience if known else "", hello=said)
        vault_id = await self._agent.vault_id(served)
        offer = self._end.offer(
            lambda report_data: self._agent.attest(report_data, served.digest),
            vault_id=vault_id,
            env_digest=self._agent.env_digest,
        )
        await self._socket.send(offer)
        opening = self._end.admit(await self._message(), served.analysts)
        # Only now has the peer proved to be somebody who may send large frames.
        self._socket.protocol.max_message_size = MAX_SEALED
        self._agent.doors.prove(self._socket)
        _check_purpose(opening, served)
        session = await self._agent.admit(Session(opening, served, self._agent.vaults))
        isolation = session.kernel.isolation if session.kernel else {}
        accepted = {"type": "accepted", "isolation": isolation, "resumed": session.counts}
        try:
            for event in (accepted, {"type": "cards", "cards": served.cards}):
                await self._socket.send(self._end.seal(Kind.EVENT, canonical.encode(event)))
        except ConnectionClosed:
            self._leave(session)
            raise
        return session

    def _introduction(self) -> str:
        found = [] if self._socket.request is None else self._socket.request.headers.get_all(introduction.HEADER)
        return found[0] if len(found) == 1 else ""

    async def _message(self) -> bytes:
        data = await asyncio.wait_for(self._socket.recv(), HANDSHAKE_TIMEOUT_S)
        if isinstance(data, str):
            raise MalformedError("channel.text", "the protocol is binary")
        return data

    async def _refuse(self, error: CloisterError) -> None:
        if self._end.keyed:
            event = canonical.encode({"type": "refused", "error": error.to_dict()})
            await self._socket.send(self._end.seal(Kind.EVENT, event))
            await self._socket.send(self._end.close())
        else:
            await self._socket.send(refusal(error))
        await self._socket.close()

    async def _pump(self, session: Session) -> None:
        sender = asyncio.create_task(self._send(session))
        receiver = asyncio.create_task(self._receive(session))
        try:
            done, _ = await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (sender, receiver):
                task.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)

    async def _send(self, session: Session) -> None:
        while (frame := await session.outbox.get()) is not None:
            await self._socket.send(self._end.seal(frame.kind, *frame.parts))
        await self._socket.send(self._end.close())
        await self._socket.close()

    async def _receive(self, session: Session) -> None:
        async for data in self._socket:
            if isinstance(data, str):
                raise MalformedError("channel.text", "the protocol is binary")
            frame = self._end.open(data)
            if frame is None:
                return
            if frame.kind == Kind.EVENT and frame.parts[:1] == (RENEW,):
                await self._renew(session, frame)
            else:
                await session.from_proxy(frame)

    async def _renew(self, session: Session, frame: Frame) -> None:
        if len(frame.parts) != 2 or self._end.hello is None:
            raise MalformedError("channel.kind", "a hello has two parts")
        self._renewals.take(asyncio.get_running_loop().time())
        offer, self._previous = renew_offer(
            frame.parts[1],
            self._end.hello,
            lambda report_data: self._agent.attest(report_data, session.served.digest),
            previous=self._previous or self._end.binding,
            vault_id=self._agent.vaults.identity(session.served.digest, "confidential"),
            env_digest=self._agent.env_digest,
        )
        await session.outbox.put(Kind.EVENT, canonical.encode({"type": "offer"}), canonical.encode(offer))


def _check_purpose(opening: Opening, served: ServedContract) -> None:
    if opening.purpose not in served.contract.purposes:
        raise ContractError(
            "contract.purpose",
            f"the contract does not list the purpose {opening.purpose!r}",
            clause="purposes",
            next_step="choose one of: " + ", ".join(served.contract.purposes),
        )
