"""Step 6: the evidence a notebook carries, checked as the proxy checked it when the session began.

The bundle holds hello, offer and the analyst's opening as they were sent. From them the binding is computed again;
the evidence must report that very binding, which names the vault, the code, the contract and the exchange.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from cloister.attest import binding as binding_value
from cloister.attest import verifiers
from cloister.attest.encoding import unb64
from cloister.attest.endorsements import Endorsements
from cloister.attest.evidence import Claims, RejectedError, completed
from cloister.attest.hello import ANALYST_CHANNEL, parse_hello, parse_offer
from cloister.attest.opening import check_opening
from cloister.contract.terms import Contract
from cloister.errors import TrustError
from cloister.receipt.bundle import Exchange


class Seen(msgspec.Struct, frozen=True):
    """What one exchange proves: which vault, with which claims; ``session`` if the analyst's opening is there."""

    vault_id: str
    claims: Claims
    binding: str
    analyst: str
    session: str


def check_exchange(
    exchange: Exchange,
    contract: Contract,
    contract_digest: str,
    now: datetime,
    endorsements: Endorsements | None = None,
) -> Seen:
    """Return what an exchange proves; ``endorsements`` are the reviewer's, for what the evidence does not bring.

    Collateral that travelled with the evidence is of its time; what a reviewer holds today is mostly not.

    Raises:
        CloisterError: ``evidence.*``, ``offer.*``, ``hello.*``, ``analyst.*``: it does not verify, or is of another
            contract.
    """
    # 1. Both messages, in their one spelling.
    sent = unb64(exchange.hello)
    hello, offer = parse_hello(sent), parse_offer(unb64(exchange.offer))
    if hello.role != ANALYST_CHANNEL or offer.version not in hello.versions or offer.suite not in hello.suites:
        raise TrustError("evidence.exchange", "the offer does not answer this hello")
    if not hello.contract == offer.contract == contract_digest:
        raise TrustError("evidence.contract", "the evidence is of another contract")
    # 2. The binding over everything the two ends agreed on.
    value = binding_value.binding(
        sent,
        version=offer.version,
        suite=offer.suite,
        role=hello.role,
        kex_pub=unb64(offer.kex_pub),
        kem_ct=unb64(offer.kem_ct),
        vault_id=offer.vault_id,
        contract=offer.contract,
        env_digest=offer.env_digest,
        prev_binding=unb64(offer.prev_binding),
    )
    # 3. The evidence verifies and reports this binding, this code and this contract.
    report_data = binding_value.report_data(value)
    own = endorsements.beside(offer.evidence) if endorsements else None
    claims = verifiers.verify(offer.evidence, report_data, now, endorsements=own)
    if claims.report_data != report_data.hex():
        raise RejectedError("evidence.binding", "the evidence was made for another exchange")
    claims = completed(claims, offer.env_digest, contract_digest)
    if claims.env_digest != offer.env_digest or claims.contract != contract_digest:
        raise RejectedError("evidence.claims", "the offer and its evidence disagree")
    if claims.debug:
        raise RejectedError("evidence.debug", "the enclave was started for debugging: its host could read its memory")
    # 4. The analyst opened a session over it.
    session = ""
    if exchange.opening:
        admitted = {party.did for party in contract.parties if party.role == "analyst"}
        opened = check_opening(unb64(exchange.opening), value, audience=hello.audience, admitted=admitted)
        session = opened.session
    return Seen(offer.vault_id, claims, value.hex(), hello.audience, session)
