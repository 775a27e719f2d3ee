"""What a vault is started with, and what of it is believed: the contract every party signed, and pinned cards.

The agent hands both over, but cannot choose them: the contract's digest is bound into the evidence that the
brokers appraise, and every card is signed by its provider and pinned by the contract.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Literal

import msgspec

from cloister.contract import lint, signing
from cloister.contract.approvals import Approved, open_approval
from cloister.contract.card import Card
from cloister.contract.terms import Broker, Budget, Contract, TableTerms
from cloister.errors import ContractError, MalformedError
from cloister.plan.precision import rho_of_epsilon
from cloister.wire.envelope import Envelope

Mode = Literal["mock", "confidential"]


class VaultConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The ``OPEN`` message. ``capsules`` maps manifest digests to directories; ``approvals`` are signed as well."""

    contract: Envelope
    cards: tuple[Envelope, ...]
    capsules: dict[str, str]
    env_digest: str
    mode: Mode
    assurance: str
    approvals: tuple[Envelope, ...] = ()


class Account(msgspec.Struct, frozen=True):
    """An account this contract may charge: its budget and the broker that keeps it."""

    budget: Budget
    broker: Broker

    @property
    def key(self) -> str:
        """What analysis and price call the account: a did holds no space, so the text is of one account only."""
        return f"{self.broker.did} {self.budget.population}"


class Terms(msgspec.Struct, frozen=True):
    """The contract, opened and checked, with everything looked up by name once."""

    contract: Contract
    digest: str
    cards: dict[str, Card]
    tables: dict[str, TableTerms]
    brokers: dict[str, Broker]
    provider_dids: dict[str, str]
    capsules: dict[str, str]
    env_digest: str
    mode: Mode
    assurance: str
    approvals: tuple[Approved, ...] = ()

    def broker_of(self, table: str) -> Broker:
        """Return the broker that holds the keys of a table."""
        return self.brokers[self.tables[table].broker]

    def accounts(self) -> tuple[Account, ...]:
        """Return every account of the contract, in the contract's order."""
        return tuple(Account(budget, self.brokers[budget.broker]) for budget in self.contract.budgets)

    def account_of(self, table: str) -> Account:
        """Return the account that releases from a table are charged to.

        Raises:
            ContractError: The contract has no budget for the table's population at its broker.
        """
        broker, population = self.broker_of(table), self.cards[table].population
        for budget in self.contract.budgets:
            if (budget.broker, budget.population) == (broker.name, population):
                return Account(budget, broker)
        raise ContractError(
            "contract.no-budget",
            f"the contract grants no budget for {table}",
            clause="budgets",
            next_step="ask the provider for a contract with a budget for its population",
        )

    def account_keys(self, tables: Iterable[str]) -> dict[str, str]:
        """Return what the account of every one of these tables is called.

        Raises:
            ContractError: See ``account_of``.
        """
        return {name: self.account_of(name).key for name in tables}

    def analyst_share(self, analyst: str, population: str) -> Fraction:
        """Return the part of a population's budget that the analyst with this did may spend."""
        names = {party.name for party in self.contract.parties if party.did == analyst}
        for limit in self.contract.analyst_limits:
            if limit.analyst in names and limit.population == population:
                return Fraction(limit.share)
        return Fraction(1)

    def rho_limits(self, account: Account, analyst: str) -> tuple[Fraction, Fraction]:
        """Return an account's limit and the analyst's part of it, in rho."""
        granted = account.budget
        total = rho_of_epsilon(Fraction(granted.epsilon), granted.delta_conversion)
        return total, total * self.analyst_share(analyst, granted.population)

    def delta_limits(self, account: Account, analyst: str) -> tuple[Fraction, Fraction]:
        """Return how much delta threshold keys may spend on an account, and the analyst's part of it."""
        total = Fraction(account.budget.delta_keys)
        return total, total * self.analyst_share(analyst, account.budget.population)


def open_config(body: bytes) -> Terms:
    """Return the terms a vault works under.

    Raises:
        MalformedError: ``vault.config``: not a ``VaultConfig``.
        ContractError: The contract is not signed by every party or contradicts itself, or a card is missing,
            foreign or not the one the contract pins; or an approval is not of this contract or not rightly signed.
    """
    try:
        config = msgspec.json.decode(body, type=VaultConfig)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MalformedError("vault.config", "the vault was started with a document it does not understand") from error
    # Validity needs the broker's clock, which is not known yet; every release checks it (authorise.py).
    contract = signing.open_contract(config.contract, now=signing.read_unverified(config.contract).not_before)
    providers = {party.name: party.did for party in contract.parties if party.role == "provider"}
    by_digest = {signing.payload_digest(document): document for document in config.cards}
    cards = {}
    for terms in contract.tables:
        if terms.card not in by_digest:
            raise ContractError(
                "card.missing", f"no card of {terms.name} was delivered with the contract", clause="tables.card"
            )
        cards[terms.name] = signing.open_card(by_digest[terms.card], providers[terms.provider], pinned=terms.card)
    for finding in lint.errors_of(lint.contract_findings(contract, cards)):
        raise ContractError(finding.code, finding.text, clause=finding.clause, next_step=finding.advice)
    digest = signing.contract_digest(config.contract)
    return Terms(
        contract=contract,
        digest=digest,
        cards=cards,
        tables={terms.name: terms for terms in contract.tables},
        brokers={broker.name: broker for broker in contract.brokers},
        provider_dids=providers,
        capsules=config.capsules,
        env_digest=config.env_digest,
        mode=config.mode,
        assurance=config.assurance,
        approvals=tuple(open_approval(document, contract, digest) for document in config.approvals),
    )
