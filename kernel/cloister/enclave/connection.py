"""One connection of a relying party: hello, offer, opening, then frames both ways until either side leaves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from cloister.attest import introduction
from cloister.attest.channel import EnclaveEnd
from cloister.attest.hello import Hello
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
            self._agent.note(error.code)
            with contextlib.suppress(ConnectionClosed, CloisterError, TimeoutError):
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
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            hello, introduced = await self._hello()
        served = self._agent.served(hello.contract)
        analyst = hello.audience if introduced and hello.audience in served.analysts else ""
        if analyst:
            self._agent.doors.introduced(self._socket, analyst)
        self._agent.take_quote(address=address_of(self._socket), analyst=analyst)
        offer = await self._agent.offer(self._end, served, introduced=bool(analyst))
        # One who does not read is waited for no longer than one who does not write.
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
            await self._socket.send(offer)
            message = await self._message()
        opening = self._end.admit(message, served.analysts)
        self._agent.doors.introduced(self._socket, opening.analyst)
        # Only now has the peer proved to be somebody who may send large frames.
        self._socket.protocol.max_message_size = MAX_SEALED
        try:
            _check_purpose(opening, served)
        except ContractError as error:
            self._agent.refused(opening, served, error)
            raise
        session = await self._agent.admit(Session(opening, served, self._agent.vaults))
        self._agent.doors.left(self._socket)
        isolation = session.kernel.isolation if session.kernel else {}
        accepted = {"type": "accepted", "isolation": isolation, "resumed": session.counts}
        try:
            for event in (accepted, {"type": "cards", "cards": served.cards}):
                await self._socket.send(self._end.seal(Kind.EVENT, canonical.encode(event)))
        except ConnectionClosed:
            self._leave(session)
            raise
        return session

    async def _hello(self) -> tuple[Hello, bool]:
        """Return the hello, and whether its audience signed it for this connection."""
        data = await self._message()
        said = introduction.parse_introduction(data)
        if said is not None:
            data = await self._message()
        hello = self._end.receive_hello(data)
        response = self._socket.response
        challenge = "" if response is None else response.headers.get(introduction.HEADER, "")
        return hello, introduction.is_introduced(said, challenge, data, hello.audience)

    async def _message(self) -> bytes:
        data = await self._socket.recv()
        if isinstance(data, str):
            raise MalformedError("channel.text", "the protocol is binary")
        return data

    async def _refuse(self, error: CloisterError) -> None:
        async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
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


def greet(_socket: ServerConnection, _request: Request, response: Response) -> None:
    """Put a challenge into the answer to a WebSocket handshake: whoever signs it is introduced."""
    response.headers[introduction.HEADER] = introduction.new_challenge()


def _check_purpose(opening: Opening, served: ServedContract) -> None:
    if opening.purpose not in served.contract.purposes:
        raise ContractError(
            "contract.purpose",
            f"the contract does not list the purpose {opening.purpose!r}",
            clause="purposes",
            next_step="choose one of: " + ", ".join(served.contract.purposes),
        )
