"""Drafting and signing contracts from sealed capsules: what ``cloister contract`` does, as functions.

A draft is complete: it is built from the cards and capsules themselves, so digests, populations and purposes cannot
be mistyped. Every party then signs the same bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal

import msgspec

from cloister.contract import lint, packs, signing
from cloister.contract.card import Card
from cloister.contract.clauses import Access, Approver, Obligation, PackTerms, Software, Tariff
from cloister.contract.exits import Exits
from cloister.contract.terms import AnalystLimit, Broker, Budget, Contract, Limits, Party, TableTerms
from cloister.contract.usage import MAX_COUNT
from cloister.errors import ContractError, MalformedError
from cloister.wire.envelope import Envelope
from cloister.wire.identity import SigningKey

_UNITS_PER_S = 10


class Offer(msgspec.Struct, frozen=True):
    """A table a provider puts under contract: the provider's and broker's names, card, and pinned digests."""

    provider: str
    broker: str
    card: Card
    card_digest: str
    manifest_digest: str


class Terms(msgspec.Struct, frozen=True):
    """What the parties agree on beside the tables. Defaults are those of a demonstration (privacy.md section 6).

    ``rows``, ``compute`` and ``models`` that are left out follow from ``releases`` and the declared sizes. ``pack`` is
    a name, whose digest the draft looks up; ``amends`` the digest of the contract that ends when this one begins.
    """

    not_before: str
    not_after: str
    epsilon: str = "8"
    delta: str = "0.000001"
    default_share: str = "0.02"
    releases: int = 1000
    rows: int | None = None
    compute: int | None = None
    models: int | None = None
    operations: tuple[Literal["aggregate", "model"], ...] = ("aggregate",)
    placement: Literal["split", "colocated"] = "split"
    tenancy: Literal["exclusive", "shared"] = "exclusive"
    accept_simulated: bool = False
    share_releases: bool = False
    delta_keys: str = "0"
    regime: Literal["dp", "screened"] = "dp"
    exits: Exits = Exits()
    algorithms: tuple[str, ...] | None = None
    access: tuple[Access, ...] = ()
    approvers: tuple[Approver, ...] = ()
    pack: str = ""
    obligations: tuple[Obligation, ...] = ()
    tariffs: tuple[Tariff, ...] = ()
    amends: str = ""
    hosts: tuple[str, ...] = ()
    software: Software | None = None
    display_mark: bool = False


def draft(
    name: str,
    title: str,
    *,
    parties: Iterable[Party],
    brokers: Iterable[Broker],
    offers: Iterable[Offer],
    policies: Mapping[str, str],
    terms: Terms,
    purposes: Iterable[str] = (),
) -> Contract:
    """Return an unsigned contract over the offered tables.

    Args:
        name: Short name of the contract.
        title: One line for people.
        parties: Who signs.
        brokers: Who keeps the accounts.
        offers: The tables, each with its card.
        policies: Appraisal policy digest by party (or broker) name.
        terms: Everything else.
        purposes: Purposes; by default those that every card allows.

    Raises:
        ContractError: A finding of level error; ``clause`` and ``next_step`` say what to change.
    """
    parties, offers = tuple(parties), tuple(offers)
    accounts = sorted({(offer.broker, offer.card.population) for offer in offers if offer.card.unit != "none"})
    analysts = [party.name for party in parties if party.role == "analyst"]
    common = set.intersection(*(set(offer.card.purposes) for offer in offers)) if offers else set()
    contract = Contract(
        name=name,
        title=title,
        parties=parties,
        brokers=tuple(brokers),
        tables=tuple(
            TableTerms(offer.card.name, offer.provider, offer.broker, offer.card_digest, offer.manifest_digest)
            for offer in offers
        ),
        purposes=tuple(purposes) or tuple(sorted(common)),
        operations=terms.operations,
        regime=terms.regime,
        budgets=tuple(
            Budget(population, broker, terms.epsilon, terms.delta, terms.default_share, terms.delta_keys)
            for broker, population in accounts
        ),
        analyst_limits=tuple(
            AnalystLimit(analyst, population, f"1/{len(analysts)}" if len(analysts) > 1 else "1")
            for analyst in analysts
            for population in sorted({population for _, population in accounts})
        ),
        limits=_limits(terms, [offer.card for offer in offers]),
        policies=dict(policies),
        placement=terms.placement,
        tenancy=terms.tenancy,
        accept_simulated=terms.accept_simulated,
        share_releases=terms.share_releases,
        not_before=terms.not_before,
        not_after=terms.not_after,
        exits=terms.exits if terms.exits != Exits() else msgspec.UNSET,
        algorithms=terms.algorithms if terms.algorithms is not None else msgspec.UNSET,
        access=terms.access or msgspec.UNSET,
        approvers=terms.approvers or msgspec.UNSET,
        pack=PackTerms(terms.pack, packs.load(terms.pack).digest) if terms.pack else msgspec.UNSET,
        obligations=terms.obligations or msgspec.UNSET,
        tariffs=terms.tariffs or msgspec.UNSET,
        amends=terms.amends or msgspec.UNSET,
        hosts=terms.hosts or msgspec.UNSET,
        software=terms.software or msgspec.UNSET,
        display_mark=True if terms.display_mark else msgspec.UNSET,
    )
    check(contract, {offer.card.name: offer.card for offer in offers})
    return contract


def default_limits(releases: int, cards: Iterable[Card], operations: Collection[str]) -> Limits:
    """Return limits that let every release scan the largest table, by declared sizes.

    Compute is one second a release and another per million rows; every tenth release may be a model.
    """
    rows = max((card.row_limit for card in cards), default=0)
    compute = _UNITS_PER_S + _UNITS_PER_S * -(-rows // 10**6)
    models = -(-releases // 10) if "model" in operations else 0
    return Limits(releases, *(min(count, MAX_COUNT) for count in (releases * rows, releases * compute, models)))


def _limits(terms: Terms, cards: Iterable[Card]) -> Limits:
    usual = default_limits(terms.releases, cards, terms.operations)
    stated = {name: getattr(terms, name) for name in Limits.__struct_fields__}
    return msgspec.structs.replace(usual, **{name: count for name, count in stated.items() if count is not None})


def check(contract: Contract, cards: Mapping[str, Card] | None = None) -> tuple[lint.Finding, ...]:
    """Return the warnings of a contract.

    Raises:
        ContractError: The first error, if there is one.
    """
    found = lint.contract_findings(contract, cards)
    for finding in lint.errors_of(found):
        raise ContractError(finding.code, finding.text, clause=finding.clause, next_step=finding.advice)
    return found


def sign(document: Envelope | Contract, key: SigningKey, cards: Mapping[str, Card] | None = None) -> Envelope:
    """Return the contract with one more party's signature; nobody signs what does not lint.

    Raises:
        ContractError: A finding of level error, or the key belongs to no party.
    """
    contract = signing.read_unverified(document) if isinstance(document, Envelope) else document
    check(contract, cards)
    unsigned = document if isinstance(document, Envelope) else signing.sign_contract(contract)
    return signing.add_signature(unsigned, key)


def read(data: bytes) -> Envelope:
    """Return a contract document read from a file.

    Raises:
        MalformedError: ``contract.file``.
    """
    try:
        return msgspec.json.decode(data, type=Envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError("contract.file", "this file is no signed contract") from error
