"""Dialling an enclave: from an entry of the trust store to an open, attested session, or an error that says why not.

No cell leaves before the verdict allows it: this module has no way to send a frame without a verified channel.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from cloister.analyst.carrier import Carrier
from cloister.analyst.renewing import HELLO, Judge, Renewing
from cloister.analyst.trust import TrustEntry, TrustStore, check_analyst, check_purpose
from cloister.analyst.verdict import Verdict
from cloister.attest.channel import Counts, RelyingParty
from cloister.attest.encoding import b64
from cloister.attest.hello import MAX_OFFER
from cloister.attest.introduction import HEADER, introduce
from cloister.attest.offer import refused
from cloister.attest.opening import Mode
from cloister.contract import relying
from cloister.errors import CloisterError, MalformedError, TrustError, UnavailableError, from_dict
from cloister.home import cloister_home
from cloister.receipt.bundle import Exchange
from cloister.wire.frames import Frame, Kind
from cloister.wire.identity import SigningKey

DEMO_ENTRY = "demo"
CASE_ENTRY = "case-"
DEMO_ENDPOINT = "demo:"
"""Of the embedded demo; of a case its name follows: ``demo:credit``."""
CONNECT_TIMEOUT_S = 10.0
OFFER_TIMEOUT_S = 30.0
PING_TIMEOUT_S = 60.0
# Starting a sandbox on a busy machine takes a while; silence for longer means that nobody is there.
ACCEPT_TIMEOUT_S = 90.0
DEMO_START_TIMEOUT_S = 120.0


class EnclaveSession:
    """An open session: exists only with a verdict. Create with ``await EnclaveSession.open(...)``.

    ``verdict`` and ``exchange`` (hello, offer and opening as sent) are those of the last attestation. When the enclave
    announces another vault, the session asks for fresh evidence before anything of that vault is passed on.
    """

    def __init__(self, socket: ClientConnection, channel: RelyingParty, judge: Judge, verdict: Verdict) -> None:
        self._socket = socket
        self._channel = channel
        self._judge = judge
        self._sending = asyncio.Lock()
        self._renewing = Renewing(channel, judge)
        self._evidence_due = 0.0
        self.verdict = verdict
        self.session = judge.session
        self.exchange = Exchange(hello=b64(channel.hello), offer=b64(channel.offer), opening=b64(channel.opening))

    @classmethod
    async def open(
        cls,
        entry: TrustEntry | str,
        *,
        mode: Mode,
        purpose: str = "",
        session: str = "",
        seen: Counts | None = None,
        store: TrustStore | None = None,
    ) -> EnclaveSession:
        """Verify the enclave behind ``entry`` and open a session with it.

        ``purpose`` defaults to the entry's; ``session`` names a session to resume (default: a new one), and ``seen`` is
        what the connection that broke counted: with it the session is resumed without a gap or not at all.

        Raises:
            TrustError: The trust store, the evidence or the policy says no; the code says which. ``session.gap``:
                frames were lost with the connection that broke, or the session has ended since.
            ContractError: The contract is unsigned, expired, not for this analyst or purpose.
            UnavailableError: Nobody answers at the endpoint.
            MalformedError: The answer is not the protocol.
        """
        # 1. What this person decided to trust.
        store = TrustStore() if store is None else store
        entry = await _load(store, entry) if isinstance(entry, str) else entry
        # 2. The contract is signed by everybody, valid now, names this analyst, and allows the purpose.
        terms = entry.terms(now=_text(datetime.now(UTC)))
        key = store.analyst_key()
        check_analyst(terms, key.did, entry.policy_digest)
        purpose = purpose or entry.purpose
        check_purpose(terms, purpose)
        judge = Judge(
            entry=entry,
            policy=entry.parsed_policy(),
            accept_simulated=entry.accept_simulated and terms.accept_simulated,
            audience=key.did,
            session=session or secrets.token_hex(16),
            mode=mode,
            agreed=relying.agreed(terms, policy=entry.policy_digest, documents=store.releases()),
            endorsements=store.endorsements(),
        )
        # 3. Nobody is believed because of where he answers.
        socket = await _connect(entry.endpoint)
        try:
            # 4. Hello, offer, verdict.
            channel = RelyingParty(key.did, entry.contract_digest)
            try:
                appraisal = judge.first(channel, await ask_offer(socket, channel, key))
                socket.trust()
            except TrustError as error:
                if entry.endpoint.startswith(DEMO_ENDPOINT):
                    _demo_advice(error, entry.endpoint.removeprefix(DEMO_ENDPOINT))
                raise
            # 5. Only now: who asks, signed over this very channel.
            event = await _enter(socket, channel, key, session=judge.session, purpose=purpose, mode=mode)
            if seen is not None:
                await _check_resumed(socket, channel, event, seen)
        except BaseException:
            await socket.close()
            raise
        return cls(socket, channel, judge, judge.verdict(appraisal, event["isolation"]))

    @property
    def counts(self) -> Counts:
        """How many frames this session's connection has carried each way; what ``open`` takes as ``seen``."""
        return self._channel.counts

    @property
    def analyst(self) -> str:
        """The did this session was opened with."""
        return self._judge.audience

    async def send(self, kind: int, *parts: bytes) -> None:
        """Send one frame.

        Raises:
            UnavailableError: The enclave is lost.
            TrustError: The channel was closed.
            MalformedError: The frame is too large.
        """
        try:
            # Sealing numbers the frames: they must leave in that order.
            async with self._sending:
                await self._socket.send(self._channel.seal(kind, *parts))
        except ConnectionClosed as error:
            raise _lost() from error

    async def receive(self) -> Frame:
        """Return the next frame.

        Raises:
            UnavailableError: The enclave ended the session (``channel.ended``) or is lost (``channel.lost``).
            TrustError: Somebody interfered with the channel, or fresh evidence was refused; it is closed.
        """
        try:
            while (frame := self._renewing.next()) is None:
                hello = self._renewing.take(await self._arrive())
                if hello is not None:
                    self._evidence_due = asyncio.get_running_loop().time() + OFFER_TIMEOUT_S
                    await self.send(Kind.EVENT, HELLO, hello)
                if self._renewing.renewed is not None:
                    appraisal, self.exchange = self._renewing.renewed
                    self.verdict = self._judge.verdict(appraisal, self.verdict.isolation)
        except CloisterError:
            self._channel.abort()
            await self._socket.close()
            raise
        return frame

    async def close(self) -> None:
        """Say goodbye, so that the enclave ends the kernel at once, and close the connection."""
        with contextlib.suppress(CloisterError, ConnectionClosed):
            await self._socket.send(self._channel.close())
        await self._socket.close()

    async def _arrive(self) -> Frame:
        timeout_s = None
        if self._renewing.active:
            # One deadline for the evidence: whatever else arrives meanwhile does not move it.
            timeout_s = max(0.0, self._evidence_due - asyncio.get_running_loop().time())
        try:
            frame = self._channel.open(_bytes(await asyncio.wait_for(self._socket.recv(), timeout_s)))
        except (ConnectionClosed, TimeoutError) as error:
            raise _lost() from error
        if frame is None:
            raise UnavailableError(
                "channel.ended", "the enclave ended the session", next_step="restart the kernel for a new one"
            )
        return frame


@contextlib.asynccontextmanager
async def connection(endpoint: str) -> AsyncIterator[ClientConnection]:
    """Yield a bare connection to ``endpoint`` (nothing is verified yet), closed at the end.

    Raises:
        UnavailableError: Nobody answers.
    """
    socket = await _connect(endpoint)
    try:
        yield socket
    finally:
        await socket.close()


async def ask_offer(socket: ClientConnection, channel: RelyingParty, key: SigningKey) -> bytes:
    """Send the hello, introduced by ``key`` where the other side wants to know, and return the answer.

    Raises:
        UnavailableError: No answer.
        TrustError: ``enclave.refused``: the other side says, without proof, that it refuses.
    """
    try:
        if introduction := introduce(key, _challenge(socket), channel.hello):
            await socket.send(introduction)
        await socket.send(channel.hello)
        answer = _bytes(await asyncio.wait_for(socket.recv(), OFFER_TIMEOUT_S))
    except (ConnectionClosed, TimeoutError) as error:
        raise _lost() from error
    refusal = refused(answer)
    if refusal is not None:
        raise refusal
    return answer


def _challenge(socket: ClientConnection) -> str:
    found = [] if socket.response is None else socket.response.headers.get_all(HEADER)
    return found[0] if len(found) == 1 else ""


async def _enter(
    socket: ClientConnection, channel: RelyingParty, key: SigningKey, *, session: str, purpose: str, mode: Mode
) -> dict[str, Any]:
    """Open the session; return the enclave's ``accepted``."""
    try:
        await socket.send(channel.open_session(key, session=session, purpose=purpose, mode=mode))
        frame = channel.open(_bytes(await asyncio.wait_for(socket.recv(), ACCEPT_TIMEOUT_S)))
    except (ConnectionClosed, TimeoutError) as error:
        raise _lost() from error
    event = _event(frame)
    if event.get("type") == "refused" and isinstance(event.get("error"), dict):
        raise from_dict(event["error"])
    if event.get("type") != "accepted" or not isinstance(event.get("isolation"), dict):
        raise MalformedError("channel.unexpected", "the enclave neither accepted nor refused the session")
    return event


async def _check_resumed(socket: ClientConnection, channel: RelyingParty, event: dict[str, Any], seen: Counts) -> None:
    """Compare what the enclave counted on the connection that broke with what this end saw of it."""
    try:
        told = msgspec.convert(event.get("resumed"), Counts | None)
    except msgspec.ValidationError:
        told = None
    if told != seen.mirrored():
        with contextlib.suppress(CloisterError, ConnectionClosed):
            await socket.send(channel.close())
        what = "has ended meanwhile" if told is None else "lost messages when its connection broke"
        raise TrustError(
            "session.gap",
            f"the session {what}; going on would show a notebook that is not the enclave's",
            next_step="restart the kernel; what was released keeps its receipts and costs nothing again",
        )


def _event(frame: Frame | None) -> dict[str, Any]:
    if frame is None or frame.kind != Kind.EVENT or len(frame.parts) != 1:
        raise MalformedError("channel.unexpected", "the enclave neither accepted nor refused the session")
    try:
        return msgspec.json.decode(frame.parts[0], type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("channel.unexpected", "the enclave's first event cannot be read") from error


async def _load(store: TrustStore, name: str) -> TrustEntry:
    if (name == DEMO_ENTRY or name.startswith(CASE_ENTRY)) and name not in store.names():
        await _start_demo(name.removeprefix(CASE_ENTRY) if name != DEMO_ENTRY else "")
    return store.load(name)


async def _connect(endpoint: str) -> Carrier:
    if not endpoint.startswith(DEMO_ENDPOINT):
        return await _connect_url(endpoint)
    case = endpoint.removeprefix(DEMO_ENDPOINT)
    url = _demo_url(case)
    if url:
        # A pair that just went away leaves its address behind for a moment.
        with contextlib.suppress(UnavailableError):
            return await _connect_url(url)
    await _start_demo(case)
    return await _connect_url(_demo_url(case))


async def _connect_url(url: str) -> Carrier:
    # Proxies of the environment serve remote enclaves; the loopback is never behind one.
    proxy: Literal[True] | None = None if urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1") else True
    try:
        socket = await connect(
            url,
            create_connection=Carrier,
            open_timeout=CONNECT_TIMEOUT_S,
            ping_timeout=PING_TIMEOUT_S,
            # An offer and nothing larger, until a verdict; twice, so that what is a little too large gets its own code.
            max_size=2 * MAX_OFFER,
            compression=None,
            proxy=proxy,
            max_queue=64,
        )
        return cast(Carrier, socket)
    except (OSError, TimeoutError, InvalidURI, InvalidHandshake) as error:
        raise UnavailableError(
            "enclave.unreachable",
            f"no enclave answers at {url or 'the endpoint'}",
            next_step="check the endpoint (`cloister status`) or ask its operator, then restart the kernel",
        ) from error


def _demo_url(case: str) -> str:
    folder = cloister_home() / "demo"
    try:
        state = json.loads((folder / "cases" / case if case else folder).joinpath("pair.json").read_bytes())
        return str(state["agent"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _demo_advice(error: TrustError, case: str) -> None:
    """Name the everyday cause of other code in the embedded demo, whose policy approves what was installed then."""
    if error.code == "appraisal.env_digest":
        anew = f"cloister demo case {case} --reset" if case else "cloister demo reset"
        error.next_step = (
            f"if you updated or changed Cloister yourself: `{anew}` (new parties, full budgets); if you "
            "did not, somebody else changed its files: do not use it"
        )


async def _start_demo(case: str = "") -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",  # this process runs in the notebook's folder
        "-m",
        "cloister.demo",
        "up",
        *([case] if case else []),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, problem = await asyncio.wait_for(process.communicate(), DEMO_START_TIMEOUT_S)
    except TimeoutError as error:
        process.kill()
        raise UnavailableError("demo.start", "the embedded demo did not start in time") from error
    if process.returncode:
        raise UnavailableError(
            "demo.start",
            "the embedded demo did not start: " + problem.decode("utf-8", "replace").strip()[-500:],
            next_step="cloister demo reset",
        )


def _bytes(data: str | bytes) -> bytes:
    if isinstance(data, str):
        raise MalformedError("channel.text", "the protocol is binary")
    return data


def _lost() -> UnavailableError:
    return UnavailableError(
        "channel.lost",
        "the connection to the enclave was lost",
        next_step="restart the kernel; what was released keeps its receipts and costs nothing again",
    )


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
