"""The attested channel, as two sans-io state machines: ``RelyingParty`` and ``EnclaveEnd``.

They turn bytes into bytes; sockets, clocks and keys on disk belong to the callers. The trust rules they keep:

* **The transport is nobody.** WebSocket, TLS and whoever runs them may read, drop, change, repeat, re-order or re-route
  messages. The worst they can achieve is that the channel stops.
* **Nothing leaves before the verdict.** A relying party has no key until evidence over its own nonce, key, audience,
  role and contract has been verified and its own policy has said yes. There is no plaintext mode.
* **Evidence belongs to one exchange.** The binding hashes the hello as sent and everything the enclave chose; replayed,
  relayed, re-keyed or reflected evidence, and a stripped version or suite, give another binding and are refused.
* **The first frame says who asks.** Until an analyst admitted by the contract has signed the binding, session, purpose
  and mode, the enclave's end accepts no other frame, and a failed opening closes the channel.
* **Frames arrive once, in order, whole.** Nonces are counters that no message carries; any other order, a repeat, a gap
  or a flipped bit closes the channel for good. Directions have keys of their own, so nothing can be reflected.
* **The end is authenticated too.** Each side says goodbye in a sealed frame; a transport that ends without one has been
  cut, and callers can tell (``peer_closed``).
* **Only the same analyst resumes.** Resuming is a new channel with a new verdict; the caller compares the did, and the
  ``Counts`` of the channel that broke: what was cut off its end is noticed too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from cloister.attest import sealing
from cloister.attest.agreed import Agreed
from cloister.attest.encoding import unb64
from cloister.attest.endorsements import Endorsements
from cloister.attest.hello import ANALYST_CHANNEL, Hello, new_hello, parse_hello
from cloister.attest.offer import Attest, make_offer
from cloister.attest.opening import Mode, Opening, check_opening, sign_opening
from cloister.attest.policy import Policy
from cloister.attest.verification import Appraisal, appraise_offer
from cloister.attest.verifiers import Verifier
from cloister.errors import CloisterError, MalformedError, TrustError
from cloister.wire import canonical, frames, identity
from cloister.wire.frames import Frame, Kind

GOODBYE = canonical.encode({"type": "close"})


class Counts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many sealed frames one end of a channel has sent, and received and accepted, goodbyes included."""

    sent: int
    received: int

    def mirrored(self) -> Counts:
        """Return what the other end has counted if nothing was lost."""
        return Counts(sent=self.received, received=self.sent)


class _End:
    """What both ends share once keys exist: sealing, opening, closing."""

    _sends: bytes
    _receives: bytes

    def __init__(self) -> None:
        self.binding = b""
        self.peer_closed = False
        self._out: sealing.Sealer | None = None
        self._in: sealing.Sealer | None = None

    @property
    def keyed(self) -> bool:
        """Whether frames can be sealed at all."""
        return self._out is not None

    @property
    def counts(self) -> Counts:
        """What this end has sent and received so far, still known after the channel has closed."""
        return Counts(self._out.sequence if self._out else 0, self._in.sequence if self._in else 0)

    def seal(self, kind: int, *parts: bytes) -> bytes:
        """Return one sealed frame.

        Raises:
            TrustError: The channel is not open, or closed.
            MalformedError: The frame is too large.
        """
        return self._sender().seal(frames.encode(kind, *parts))

    def open(self, data: bytes) -> Frame | None:
        """Return the next frame of the peer, or None if it says goodbye.

        Raises:
            TrustError: The channel is not open, closed, or the bytes are not the peer's next frame.
            MalformedError: The peer sealed something that is no frame.
        """
        if self._in is None:
            raise TrustError("channel.unverified", "no frame is accepted before the verdict")
        try:
            frame = frames.decode(self._in.open(data))
        except CloisterError:
            self.abort()
            raise
        if frame.kind == Kind.EVENT and frame.parts == (GOODBYE,):
            self.peer_closed = True
            self.abort()
            return None
        return frame

    def close(self) -> bytes:
        """Return the sealed goodbye and forget the keys.

        Raises:
            TrustError: The channel is not open, or closed already.
        """
        goodbye = self._sender().seal(frames.encode(Kind.EVENT, GOODBYE))
        self.abort()
        return goodbye

    def abort(self) -> None:
        """Forget the keys without a word."""
        for sealer in (self._out, self._in):
            if sealer is not None:
                sealer.close()

    def _sender(self) -> sealing.Sealer:
        if self._out is None:
            raise TrustError("channel.unverified", "nothing is sent before the verdict")
        return self._out

    def _key(self, private: X25519PrivateKey, peer: bytes, rekey_frames: int) -> None:
        keys = sealing.channel_keys(private, peer, self.binding)
        self._out = sealing.Sealer(keys[self._sends], self.binding, self._sends, rekey_frames=rekey_frames)
        self._in = sealing.Sealer(keys[self._receives], self.binding, self._receives, rekey_frames=rekey_frames)


class RelyingParty(_End):
    """The proxy's end: says hello, judges the offer, then opens the session.

    ``hello`` -> ``receive_offer`` (the verdict) -> ``open_session`` -> ``seal``/``open`` ... ``close``. The bytes of
    ``hello``, ``offer`` and ``opening`` stay readable: they are what a reviewer checks later.
    """

    _sends = sealing.TO_ENCLAVE
    _receives = sealing.TO_RELYING_PARTY

    def __init__(
        self,
        audience: str,
        contract: str,
        *,
        ephemeral: X25519PrivateKey | None = None,
        nonce: bytes | None = None,
        rekey_frames: int = sealing.REKEY_FRAMES,
    ) -> None:
        super().__init__()
        self._audience = audience
        self._ephemeral: X25519PrivateKey | None = ephemeral or X25519PrivateKey.generate()
        self._rekey_frames = rekey_frames
        self._opened = False
        self.hello = new_hello(audience, contract, ANALYST_CHANNEL, ephemeral=self._ephemeral, nonce=nonce)
        self.offer = b""
        self.opening = b""
        self.appraisal: Appraisal | None = None

    def receive_offer(
        self,
        data: bytes,
        *,
        policy: Policy,
        now: datetime,
        accept_simulated: bool,
        prev_binding: bytes = b"",
        verifiers: Mapping[str, Verifier] | None = None,
        agreed: Agreed | None = None,
        endorsements: Endorsements | None = None,
    ) -> Appraisal:
        """Judge the offer; keys exist only if this returns. An offer is judged once, good or bad.

        Raises:
            CloisterError: As ``appraise_offer``; ``channel.state`` if there was an offer before.
        """
        ephemeral, self._ephemeral = self._ephemeral, None
        if ephemeral is None:
            raise TrustError("channel.state", "an offer was judged before; connect again")
        appraisal = appraise_offer(
            self.hello,
            ephemeral,
            data,
            policy=policy,
            now=now,
            accept_simulated=accept_simulated,
            prev_binding=prev_binding,
            verifiers=verifiers,
            agreed=agreed,
            endorsements=endorsements,
        )
        self.binding, self.offer = appraisal.binding, data
        self._key(ephemeral, unb64(appraisal.offer.kex_pub), self._rekey_frames)
        self.appraisal = appraisal
        return appraisal

    def open_session(self, key: identity.SigningKey, *, session: str, purpose: str, mode: Mode) -> bytes:
        """Return the sealed first frame, signed by the analyst.

        Raises:
            TrustError: Not verified yet, opened before, or a key that is not the audience's.
        """
        if key.did != self._audience:
            raise TrustError("analyst.audience", "the hello named another party than this key's")
        if self._opened:
            raise TrustError("channel.state", "the session is open already")
        sender = self._sender()
        self.opening = sign_opening(key, self.binding, session, purpose, mode)
        self._opened = True
        return sender.seal(frames.encode(Kind.OPEN, self.opening))

    def seal(self, kind: int, *parts: bytes) -> bytes:
        """Return one sealed frame; nothing precedes the opening.

        Raises:
            TrustError: Not verified, not opened, or closed.
        """
        sender = self._sender()
        if not self._opened:
            raise TrustError("channel.unopened", "the opening is the first frame of a session")
        return sender.seal(frames.encode(kind, *parts))


class EnclaveEnd(_End):
    """The agent's end: takes a hello, makes the offer, then admits the analyst.

    ``receive_hello`` -> ``offer`` -> ``admit`` (the first frame) -> ``seal``/``open`` ... ``close``.
    """

    _sends = sealing.TO_RELYING_PARTY
    _receives = sealing.TO_ENCLAVE

    def __init__(self, *, rekey_frames: int = sealing.REKEY_FRAMES) -> None:
        super().__init__()
        self._hello_bytes = b""
        self._rekey_frames = rekey_frames
        self._admitted = False
        self.hello: Hello | None = None

    def receive_hello(self, data: bytes) -> Hello:
        """Decode the hello of an analyst's channel.

        Raises:
            MalformedError: Not a hello.
            TrustError: A second hello, or one for another role.
        """
        if self._hello_bytes:
            raise TrustError("channel.state", "a channel has one hello")
        hello = parse_hello(data)
        if hello.role != ANALYST_CHANNEL:
            raise TrustError("hello.role", "this end answers analysts; brokers are answered to their vault")
        self._hello_bytes, self.hello = data, hello
        return hello

    def offer(
        self,
        attest: Attest,
        *,
        vault_id: str,
        env_digest: str,
        ephemeral: X25519PrivateKey | None = None,
        prev_binding: bytes = b"",
    ) -> bytes:
        """Return the offer's bytes and derive the keys; ``attest`` turns 64 bytes of report data into evidence.

        Raises:
            TrustError: No hello yet, no version or suite in common, or a low-order key.
            CloisterError: The attester failed.
        """
        if self.hello is None or self.keyed:
            raise TrustError("channel.state", "an offer answers exactly one hello")
        private = ephemeral or X25519PrivateKey.generate()
        answer, self.binding = make_offer(
            self._hello_bytes,
            attest,
            kex_pub=private.public_key().public_bytes_raw(),
            vault_id=vault_id,
            env_digest=env_digest,
            role=ANALYST_CHANNEL,
            contract=self.hello.contract,
            prev_binding=prev_binding,
        )
        self._key(private, unb64(self.hello.rp_eph_pub), self._rekey_frames)
        return canonical.encode(answer)

    def admit(self, data: bytes, admitted: Collection[str]) -> Opening:
        """Open the first frame and return whom it admits; any other first frame closes the channel.

        Raises:
            TrustError: Not the peer's first frame, not an ``OPEN`` (``channel.first_frame``), or as ``check_opening``.
            MalformedError: As ``check_opening``.
            ContractError: As ``check_opening``.
        """
        if self.hello is None or self._admitted:
            raise TrustError("channel.state", "a session is opened once")
        frame = super().open(data)
        # Set before the checks: after a failed opening the channel can only carry the refusal.
        self._admitted = True
        try:
            if frame is None or frame.kind != Kind.OPEN or len(frame.parts) != 1:
                raise TrustError("channel.first_frame", "nothing is accepted before the analyst's opening")
            return check_opening(frame.parts[0], self.binding, audience=self.hello.audience, admitted=admitted)
        except CloisterError:
            if self._in is not None:
                self._in.close()
            raise

    def open(self, data: bytes) -> Frame | None:
        """Return the next frame after the opening, or None if the peer says goodbye.

        Raises:
            TrustError: As for every end; ``channel.first_frame`` before the opening.
            MalformedError: The peer sealed something that is no frame, or opens twice.
        """
        if not self._admitted:
            raise TrustError("channel.first_frame", "nothing is accepted before the analyst's opening")
        frame = super().open(data)
        if frame is not None and frame.kind == Kind.OPEN:
            self.abort()
            raise MalformedError("channel.state", "a session is opened once")
        return frame
