"""The chain from a contract to a released number: contract -> broker -> admission -> vault -> receipt.

Every link is a signature by a key the link before it names. The proxy walks the chain for each receipt it shows,
the reviewer walks it again from a notebook; both run these functions. Pure.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from itertools import pairwise
from typing import TypeVar

from cloister.contract import lint, signing
from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.contract.usage import exceeded
from cloister.errors import CloisterError, ContractError, TrustError
from cloister.plan.precision import charge_of, rho_of_epsilon
from cloister.receipt import exits, naming
from cloister.receipt.receipt import ADMISSION_TYPE, RECEIPT_TYPE, Admission, Charge, Receipt
from cloister.wire import canonical
from cloister.wire import documents as wire_documents
from cloister.wire.envelope import Envelope, open_envelope, unverified_payload

_T = TypeVar("_T", Receipt, Admission)
_PRICE = re.compile(r"[0-9]{1,400}(/[1-9][0-9]{0,399})?")
_RECONNECT = "connect again; if it repeats, tell the data provider: somebody forges documents in the enclave's name"


def admission_digest(document: Envelope) -> str:
    """Return the digest by which receipts name an admission: of its payload, whoever signed it."""
    return canonical.digest_bytes(unverified_payload(document))


def receipt_digest(document: Envelope) -> str:
    """Return the digest of a receipt's payload."""
    return canonical.digest_bytes(unverified_payload(document))


def open_cards(documents: Iterable[Envelope], contract: Contract) -> dict[str, Card]:
    """Return the cards of the contract's tables by table name; documents the contract does not pin are ignored.

    Raises:
        ContractError: ``card.*``: a pinned card is not signed by its provider, or missing.
    """
    by_digest = {canonical.digest_bytes(unverified_payload(document)): document for document in documents}
    providers = {party.name: party.did for party in contract.parties if party.role == "provider"}
    cards = {}
    for table in contract.tables:
        if table.card not in by_digest:
            raise ContractError("card.missing", f"the signed card of {table.name} is missing", clause="tables.card")
        did = providers.get(table.provider, "")
        cards[table.name] = signing.open_card(by_digest[table.card], did, pinned=table.card)
    return cards


def cards_of(receipt: Receipt, cards: Mapping[str, Card]) -> dict[str, Card]:
    """Return the cards a receipt names (``check_names`` made sure that the contract pins them)."""
    return {name: card for name, card in cards.items() if canonical.digest(card) in receipt.cards}


def open_admission(document: Envelope, contract: Contract, contract_digest: str) -> Admission:
    """Return an admission signed by a broker of the contract, for that contract.

    Raises:
        TrustError: ``admission.broker``, ``admission.forged``, ``admission.contract``.
    """
    named = _peek(document, Admission, "admission.forged")
    if named.broker not in {broker.did for broker in contract.brokers}:
        raise TrustError(
            "admission.broker",
            "an admission by somebody who is no broker of the contract",
            clause="brokers",
            next_step=_RECONNECT,
        )
    admission = _open(document, ADMISSION_TYPE, named.broker, Admission, "admission.forged")
    if admission.contract != contract_digest:
        raise TrustError("admission.contract", "an admission under another contract", next_step=_RECONNECT)
    return admission


def open_receipt(
    document: Envelope, admissions: Mapping[str, Admission], contract: Contract, contract_digest: str
) -> tuple[Receipt, str]:
    """Return a receipt and the ``vault_id`` that signed it, which every admission it names let in.

    Args:
        document: The receipt's envelope.
        admissions: Opened admissions by digest (``open_admission`` and ``admission_digest``).
        contract: The opened contract.
        contract_digest: Its digest.

    Raises:
        TrustError: ``receipt.admission`` (none, or unknown, or of several vaults), ``receipt.forged``,
            ``receipt.contract``, ``receipt.party``, ``receipt.env``, ``receipt.validity``.
    """
    # 1. Who may have signed: the one vault that all named admissions admitted.
    named = _peek(document, Receipt, "receipt.forged")
    missing = [digest for digest in named.admissions if digest not in admissions]
    vaults = {admissions[digest].vault_id for digest in named.admissions if digest in admissions}
    if missing or len(vaults) != 1:
        raise TrustError(
            "receipt.admission",
            "no broker's admission vouches for the vault that signed this receipt",
            clause="attestation.md section 8: an admission ties receipts to evidence",
            next_step=_RECONNECT,
        )
    vault_id = vaults.pop()
    # 2. That vault signed it.
    receipt = _open(document, RECEIPT_TYPE, vault_id, Receipt, "receipt.forged")
    if contract.regime != "dp":
        raise TrustError("receipt.regime", "a receipt under a regime that releases nothing", clause="regime")
    # 3. Under this contract, for an analyst and a purpose the contract names, within its validity.
    if receipt.contract != contract_digest:
        raise TrustError("receipt.contract", "a receipt of another contract", next_step=_RECONNECT)
    if receipt.analyst not in {party.did for party in contract.parties if party.role == "analyst"}:
        raise TrustError("receipt.party", "released to somebody who is no analyst of the contract", clause="parties")
    if receipt.purpose not in contract.purposes:
        raise TrustError("receipt.party", "released for a purpose the contract does not name", clause="purposes")
    _check_time(receipt, contract)
    # 4. By the code that was admitted, and every broker that charged had admitted it.
    named_admissions = [admissions[digest] for digest in receipt.admissions]
    if {admission.env_digest for admission in named_admissions} != {receipt.env_digest}:
        raise TrustError("receipt.env", "released by other code than was admitted", next_step=_RECONNECT)
    if {admission.assurance for admission in named_admissions} != {receipt.assurance}:
        raise TrustError("receipt.env", "the receipt claims another assurance than was admitted", next_step=_RECONNECT)
    if not {charge.broker for charge in receipt.charges} <= {admission.broker for admission in named_admissions}:
        raise TrustError("receipt.admission", "a broker is charged that did not admit this vault", next_step=_RECONNECT)
    return receipt, vault_id


def check_names(receipt: Receipt, contract: Contract) -> None:
    """Check the digests a receipt gives for its plan, release and charge against their definitions.

    Raises:
        TrustError: ``receipt.plan`` or ``receipt.names``.
    """
    if receipt.exits is not None:
        exits.check_statement(receipt, receipt.exits, contract)
    elif canonical.digest(receipt.plan) != receipt.plan_digest:
        raise TrustError("receipt.plan", "the plan is not the one the receipt's digest names")
    tables = {table.card: table.manifest for table in contract.tables}
    if not receipt.cards or any(card not in tables for card in receipt.cards):
        raise TrustError("receipt.names", "a card the contract does not pin", clause="tables")
    if sorted(receipt.manifests) != sorted({tables[card] for card in receipt.cards}):
        raise TrustError("receipt.names", "other data than the contract pins for these cards", clause="tables")
    release = naming.release_key(
        plan=receipt.plan_digest,
        rho=rho_asked(receipt),
        manifests=receipt.manifests,
        cards=receipt.cards,
        env_digest=receipt.env_digest,
        contract=receipt.contract,
        analyst="" if contract.share_releases else receipt.analyst,
    )
    if receipt.release != release or receipt.charge_id != naming.charge_id(release):
        raise TrustError("receipt.names", "release key or charge id do not follow from plan, data and contract")


def check_charges(receipt: Receipt, cards: Iterable[Card], contract: Contract) -> None:
    """Check price and accounts: noise adds up to the charge, and every population concerned was charged within limits.

    Raises:
        TrustError: ``receipt.rho``, ``receipt.charge`` or ``receipt.limit``.
    """
    if receipt.exits is None:
        _check_noise(receipt)
    brokers = {broker.name: broker.did for broker in contract.brokers}
    tables = {table.card: brokers.get(table.broker, "") for table in contract.tables}
    due = {(card.population, tables.get(canonical.digest(card), "")) for card in cards if card.unit != "none"}
    charged = [(charge.population, charge.broker) for charge in receipt.charges]
    if sorted(charged) != sorted(due):
        raise TrustError("receipt.charge", "the accounts charged are not those of the populations asked")
    for charge in receipt.charges:
        if receipt.exits is None:
            _check_price(charge, receipt)
        else:
            exits.check_charge(charge)
        _check_sums(charge, contract)


def _check_noise(receipt: Receipt) -> None:
    """Check that the noise of the components adds up to the price, which is at most what the plan asked for."""
    rho = _fraction(receipt.rho)
    parts = [_fraction(component.rho) for component in receipt.noise]
    if not parts or any(part <= 0 for part in parts) or sum(parts) != rho:
        raise TrustError("receipt.rho", "the noise of the components does not add up to the price")
    if rho > rho_asked(receipt):
        raise TrustError("receipt.rho", "more was charged than the plan asked for")
    for component in receipt.noise:
        check_sigma(component.sigma, _fraction(component.rho))


def _check_price(charge: Charge, receipt: Receipt) -> None:
    """Check what one account was charged: every component's noise at the norm of this account's units, and no more.

    Noise is scaled once, for the account that the release can change most; the others pay what the same noise costs
    them, which is a whole squared norm of their own over the same sigma.
    """
    stated = [_fraction(component.rho) for component in receipt.noise]
    parts = [_fraction(part) for part in charge.parts] or stated
    if len(parts) != len(stated) or any(part > whole for part, whole in zip(parts, stated, strict=True)):
        raise TrustError("receipt.charge", "an account was charged more for a component than its noise costs")
    if sum(parts) != _fraction(charge.rho):
        raise TrustError("receipt.charge", "an account was charged another price than the receipt states")
    for component, part in zip(receipt.noise, parts, strict=True):
        if part > 0:
            check_sigma(component.sigma, part)
    if all(part == 0 for part in parts):
        raise TrustError("receipt.charge", "an account of the release was charged nothing")


def _check_sums(charge: Charge, contract: Contract) -> None:
    """Check the account after a charge: the charge is in its sums, and they are within the contract."""
    spent, mine = _fraction(charge.spent), _fraction(charge.analyst_spent)
    deltas = [_fraction(text) for text in (charge.delta_spent, charge.analyst_delta_spent, charge.delta)]
    if spent < max(mine, _fraction(charge.rho)) or deltas[0] < max(deltas[1:]) or charge.used.releases < 1:
        raise TrustError("receipt.charge", f"the account of {charge.population} does not hold its own charge")
    brokers = {broker.did: broker.name for broker in contract.brokers}
    account = (brokers.get(charge.broker), charge.population)
    for budget in contract.budgets:
        if (budget.broker, budget.population) == account:
            limit = rho_of_epsilon(Fraction(budget.epsilon), budget.delta_conversion)
            beyond_keys = _fraction(charge.delta_spent) > Fraction(budget.delta_keys)
            if spent > limit or (beyond_keys and _fraction(charge.delta) > 0):
                raise TrustError("receipt.limit", "released beyond the budget of the contract", clause="budgets")
    if beyond := exceeded(charge.used, contract.limits):
        raise TrustError("receipt.limit", "released beyond a limit of the contract", clause=f"limits.{beyond}")


def out_of_line(receipts: Iterable[Receipt]) -> tuple[Receipt, ...]:
    """Return the receipts whose account stands lower than the other receipts say it must.

    Accounts only grow (every entry but an exit's costs, nothing is counted back), and an account of some size holds the
    charges of every receipt that was signed at this size or before.
    """
    seen: dict[tuple[str, str], list[tuple[Charge, Receipt]]] = {}
    for receipt in {receipt.charge_id: receipt for receipt in receipts}.values():
        for charge in receipt.charges:
            seen.setdefault((charge.broker, charge.population), []).append((charge, receipt))
    found: dict[str, Receipt] = {}
    for account in seen.values():
        account.sort(key=lambda item: item[0].size)
        held = keys = Fraction(0)
        for number, (charge, receipt) in enumerate(account, start=1):
            held += _fraction(charge.rho)
            keys += _fraction(charge.delta)
            short = _fraction(charge.spent) < held or _fraction(charge.delta_spent) < keys
            if short or charge.used.releases < number:
                found[receipt.charge_id] = receipt
        for (before, _), (after, receipt) in pairwise(account):
            spent, had = _fraction(after.spent), _fraction(before.spent)
            grown = (spent > had or (spent == had and receipt.exits is not None)) and after.used.covers(before.used)
            grown = grown and _fraction(after.delta_spent) >= _fraction(before.delta_spent)
            if after.size > before.size and not grown:
                found[receipt.charge_id] = receipt
    return tuple(found.values())


def check_sigma(sigma: str, rho: Fraction) -> None:
    """Check that a component's sigma and rho belong to an integer-valued mechanism.

    A discrete Gaussian costs ``rho = D / (2 sigma^2)`` where ``D``, the squared L2 norm of integer vectors, is a
    whole number; the charge is that, rounded up to a multiple of 2^-96 (ADR 0004).

    Raises:
        TrustError: ``receipt.sigma``.
    """
    try:
        scale = float.fromhex(sigma)
        squared_norm = math.floor(2 * Fraction(scale) ** 2 * rho)
    except (ValueError, OverflowError) as error:
        raise TrustError("receipt.sigma", "sigma is no finite number") from error
    if scale <= 0 or squared_norm < 1 or rho != charge_of(squared_norm, scale):
        raise TrustError("receipt.sigma", "sigma and rho of a component do not fit together")


def rho_asked(receipt: Receipt) -> Fraction:
    """Return the price the plan asks for: of an exit, nothing."""
    return Fraction(0) if receipt.exits is not None else _fraction(receipt.plan.get("rho"))


def _check_time(receipt: Receipt, contract: Contract) -> None:
    try:
        moment = lint.parse_time(receipt.time)
        inside = lint.parse_time(contract.not_before) <= moment < lint.parse_time(contract.not_after)
    except CloisterError as error:
        raise TrustError("receipt.validity", error.reason) from error
    if not inside:
        raise TrustError("receipt.validity", "released outside the contract's validity", clause="not_before, not_after")


def _fraction(text: object) -> Fraction:
    # Fraction also reads "1e999999999", which would take all memory: only p and p/q are prices.
    if not isinstance(text, str) or not _PRICE.fullmatch(text):
        raise TrustError("receipt.rho", "a price is no exact fraction")
    return Fraction(text)


def _peek(document: Envelope, kind: type[_T], code: str) -> _T:
    try:
        return wire_documents.decode(unverified_payload(document), kind)
    except CloisterError as error:
        raise TrustError(code, error.reason, next_step=_RECONNECT) from error


def _open(document: Envelope, payload_type: str, signer: str, kind: type[_T], code: str) -> _T:
    try:
        return wire_documents.decode(open_envelope(document, payload_type, signer), kind)
    except CloisterError as error:
        raise TrustError(code, error.reason, next_step=_RECONNECT) from error
