"""Judging evidence, first and again: what this person decided, applied to every attestation of one session. Sans-io."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import Any

import msgspec

from cloister.analyst.trust import TrustEntry
from cloister.analyst.verdict import Verdict, verdict_of
from cloister.attest.agreed import Agreed
from cloister.attest.channel import RelyingParty
from cloister.attest.encoding import b64
from cloister.attest.endorsements import Endorsements
from cloister.attest.opening import Mode
from cloister.attest.policy import Policy
from cloister.attest.renewal import Renewal
from cloister.attest.verification import Appraisal
from cloister.errors import MalformedError
from cloister.receipt.bundle import Exchange
from cloister.wire import canonical
from cloister.wire.frames import MAX_FRAME, Frame, Kind

HELLO = canonical.encode({"type": "hello"})


class Judge(msgspec.Struct, frozen=True):
    """A trust store entry as it applies to one session; ``agreed`` is what its contract adds to the policy."""

    entry: TrustEntry
    policy: Policy
    accept_simulated: bool
    audience: str
    session: str
    mode: Mode
    agreed: Agreed
    endorsements: Endorsements

    def first(self, channel: RelyingParty, offer: bytes) -> Appraisal:
        """Judge the offer that opens a channel.

        Raises:
            CloisterError: As ``RelyingParty.receive_offer``.
        """
        return channel.receive_offer(
            offer,
            policy=self.policy,
            now=datetime.now(UTC),
            accept_simulated=self.accept_simulated,
            agreed=self.agreed,
            endorsements=self.endorsements,
        )

    def again(self, renewal: Renewal, offer: bytes) -> Appraisal:
        """Judge the offer that continues it.

        Raises:
            CloisterError: As ``Renewal.judge``.
        """
        return renewal.judge(
            offer,
            policy=self.policy,
            now=datetime.now(UTC),
            accept_simulated=self.accept_simulated,
            agreed=self.agreed,
            endorsements=self.endorsements,
        )

    def verdict(self, appraisal: Appraisal, isolation: dict[str, Any]) -> Verdict:
        """Return what the badge shows."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return verdict_of(appraisal, isolation=isolation, time=now, operator=self.entry.operator)


class Renewing:
    """Holds back what a new vault says until fresh evidence names that vault.

    ``take`` frames as they arrive and send the hello it returns; ``next`` gives what may be passed on. The vault's
    event is passed on with the exchange that proves it.
    """

    def __init__(self, channel: RelyingParty, judge: Judge) -> None:
        self._judge = judge
        self._previous = channel.binding
        self._vault_id = channel.appraisal.offer.vault_id if channel.appraisal else ""
        self._exchange: Exchange | None = None
        self._renewal: Renewal | None = None
        self._held: deque[Frame] = deque()
        self._size = 0
        self.renewed: tuple[Appraisal, Exchange] | None = None

    @property
    def active(self) -> bool:
        """Whether evidence is awaited."""
        return self._renewal is not None

    def next(self) -> Frame | None:
        """Return the next frame that may be passed on, if there is one."""
        return None if self.active or not self._held else self._held.popleft()

    def take(self, frame: Frame) -> bytes | None:
        """Take one frame; return a hello to send if fresh evidence is needed.

        Raises:
            CloisterError: The evidence is refused, or too much arrived without it.
        """
        self.renewed = None
        event = _event(frame)
        if self._renewal is not None and event.get("type") == "offer":
            self._judge_again(self._renewal, frame)
            return None
        self._held.append(frame if self.active else self._proven(frame))
        self._size = self._size + sum(map(len, frame.parts)) if self.active else 0
        if self._size > MAX_FRAME:
            raise MalformedError("channel.unexpected", "the enclave sends much, and no evidence")
        if self.active or not self._is_new_vault(event):
            return None
        self._renewal = Renewal(self._judge.audience, self._judge.entry.contract_digest, self._previous)
        return self._renewal.hello

    def _is_new_vault(self, event: dict[str, Any]) -> bool:
        # A mock vault holds no data, signs nothing and is never attested.
        ready = event.get("type") == "vault" and event.get("state") == "ready" and "vault_id" in event
        return ready and self._judge.mode == "confidential" and event["vault_id"] != self._vault_id

    def _judge_again(self, renewal: Renewal, frame: Frame) -> None:
        if len(frame.parts) != 2:
            raise MalformedError("channel.unexpected", "an offer has two parts")
        appraisal = self._judge.again(renewal, frame.parts[1])
        # The opening signs the channel's first binding; later exchanges stand on their own.
        exchange = Exchange(hello=b64(renewal.hello), offer=b64(frame.parts[1]))
        self._renewal, self._previous, self._vault_id = None, appraisal.binding, appraisal.offer.vault_id
        self.renewed, self._exchange = (appraisal, exchange), exchange
        # A vault that was announced and is not the proven one has died since: it is not announced at all.
        self._held = deque(self._proven(held) for held in self._held if not self._is_new_vault(_event(held)))

    def _proven(self, frame: Frame) -> Frame:
        event = _event(frame)
        if self._exchange is None or event.get("type") != "vault" or event.get("vault_id") != self._vault_id:
            return frame
        return Frame(Kind.EVENT, (canonical.encode({**event, "exchange": self._exchange}),))


def _event(frame: Frame) -> dict[str, Any]:
    if frame.kind != Kind.EVENT or not frame.parts:
        return {}
    try:
        return msgspec.json.decode(frame.parts[0], type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
