"""Lint of the optional clauses: each names what exists, says something, and can be kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from cloister.attest import releases
from cloister.contract import findings, packs
from cloister.contract.card import Card, Column
from cloister.contract.clauses import Access, RowLimit
from cloister.contract.findings import Finding, error, exact, iso_date, parse_time, twice, warning
from cloister.contract.terms import Contract
from cloister.errors import CloisterError
from cloister.wire import identity

_CLAUSES = ("access", "approvers", "obligations", "tariffs", "hosts")
MAX_OVERLAP_DAYS = 366
_KEPT = {("export", "approval"), ("completion", "destroy-keys"), ("expiry", "destroy-keys")}


def clause_findings(contract: Contract) -> Iterator[Finding]:
    """Yield what is wrong with the optional clauses of a contract."""
    for name in _CLAUSES:
        if getattr(contract, name) == ():
            yield error(f"contract.{name}", name, "an empty clause", "leave the clause out")
    yield from _access(contract)
    yield from _approvers(contract)
    yield from _pack(contract)
    yield from _obligations(contract)
    yield from _tariffs(contract)
    yield from _hosts(contract)
    yield from _software(contract)
    if not isinstance(contract.amends, msgspec.UnsetType) and not findings.is_digest(contract.amends):
        yield error("contract.digest", "amends", "a contract is amended by its digest", "sha256:<hex> of the former")


def clauses_against_cards(contract: Contract, cards: Mapping[str, Card]) -> Iterator[Finding]:
    """Yield what is wrong with the optional clauses against the data they are about."""
    if isinstance(contract.access, tuple):
        for access in contract.access:
            if access.table in cards:
                yield from _access_of_card(access, cards[access.table])
    try:
        pack = packs.of(contract)
    except CloisterError:
        return  # said of the clause itself
    for card in cards.values():
        yield from _under_pack(card, pack)
        highest = max((column.tier for column in card.columns), default=1)
        asks = packs.at_least(3, highest) and pack.name and pack.rule(highest, "aggregate").decision == "approval"
        owners = {table.provider for table in contract.tables if table.name == card.name}
        if asks and not any(one.provider in owners for one in contract.who_approves):
            yield warning(
                "contract.approvers",
                f"tables.{card.name}",
                f"nobody may approve what tier {highest} needs approved, so it will be refused",
                "name approvers of its provider",
            )


def _access(contract: Contract) -> Iterator[Finding]:
    if isinstance(contract.access, msgspec.UnsetType):
        return
    analysts = {party.name for party in contract.parties if party.role == "analyst"}
    tables = {table.name for table in contract.tables}
    for pair in twice((one.analyst, one.table) for one in contract.access):
        yield error("contract.duplicate", "access", f"two grants for {pair}", "one per analyst and table")
    for one in contract.access:
        clause = f"access.{one.table}"
        if one.analyst not in analysts:
            yield error("contract.reference", clause, f"{one.analyst!r} is no analyst of the contract", "add it")
        if one.table not in tables:
            yield error("contract.reference", clause, f"{one.table!r} is no table of the contract", "add it")
        for text in (*one.columns, *one.purposes, *(limit.column for limit in one.rows)):
            if findings.is_wildcard(text):
                yield error("contract.wildcard", clause, f"{text!r} names nothing in particular", "name each one")
        for again in twice([*one.columns]) + twice([*one.purposes]) + twice(limit.column for limit in one.rows):
            yield error("contract.duplicate", clause, f"{again!r} stands twice", "each once")
        for purpose in set(one.purposes) - set(contract.purposes):
            yield error("contract.purposes", clause, f"{purpose!r} is no purpose of the contract", "add it, or drop it")
        for limit in one.rows:
            if not (limit.values or limit.low or limit.high) or (limit.values and (limit.low or limit.high)):
                yield error("contract.rows", clause, "a row limit has values, or bounds", "write one of them")
            if limit.column not in one.columns:
                yield error("contract.rows", clause, f"{limit.column!r} tells the rows, so it is used", "grant it too")
        yield from _times(one, clause)
    for name in sorted(analysts - {one.analyst for one in contract.access}):
        yield warning("contract.access", "access", f"{name!r} is granted nothing at all", "add a grant")


def _times(one: Access, clause: str) -> Iterator[Finding]:
    try:
        times = [parse_time(text) for text in (one.not_before, one.not_after) if text]
    except CloisterError as problem:
        yield error("contract.validity", clause, problem.reason, problem.next_step)
        return
    if len(times) == 2 and times[0] >= times[1]:
        yield error("contract.validity", clause, "ends before it begins", "not_before < not_after")


def _access_of_card(one: Access, card: Card) -> Iterator[Finding]:
    clause = f"access.{one.table}"
    for name in one.columns:
        if card.column(name) is None:
            yield error("contract.reference", clause, f"the card declares no column {name!r}", "see the card")
    for limit in one.rows:
        column = card.column(limit.column)
        if column is None or packs.is_free_text(card, limit.column) or limit.column in card.key:
            yield error("contract.rows", clause, f"rows cannot be told by {limit.column!r}", "a declared column")
        elif not _fits(limit, column):
            yield error(
                "contract.rows",
                clause,
                f"the limit by {limit.column} fits no value of its card",
                "values of its domain (true or false of a boolean), or bounds of its numbers or dates",
            )


def _fits(limit: RowLimit, column: Column) -> bool:
    bounds = [text for text in (limit.low, limit.high) if text]
    if column.type == "bool":
        return not bounds and limit.values in {("true",), ("false",)}
    if column.type == "string":
        return not bounds and set(limit.values) <= set(column.domain or ())
    read = iso_date if column.type == "date" else exact
    return all(read(text) is not None for text in (*bounds, *limit.values))


def _approvers(contract: Contract) -> Iterator[Finding]:
    providers = {party.name for party in contract.parties if party.role == "provider"}
    analysts = {party.did for party in contract.parties if party.role == "analyst"}
    brokers = {broker.did for broker in contract.brokers}
    for name in twice(one.name for one in contract.who_approves):
        yield error("contract.duplicate", "approvers", f"two approvers called {name!r}", "give each a name")
    for _ in twice(one.did for one in contract.who_approves):
        yield error("contract.self-granted", "approvers", "one key stands for two approvers", "one key each")
    for one in contract.who_approves:
        clause = f"approvers.{one.name}"
        if findings.is_wildcard(one.name):
            yield error("contract.wildcard", clause, f"{one.name!r} names nobody in particular", "name the person")
        if one.provider not in providers:
            yield error("contract.reference", clause, f"{one.provider!r} is no provider of the contract", "add it")
        if one.did in analysts:
            yield error("contract.self-granted", clause, "an analyst would approve", "name another person")
        if one.did in brokers:
            yield error("contract.self-granted", clause, "a broker's machine would approve", "name a person")
        try:
            identity.public_from_did(one.did)
        except CloisterError:
            yield error("contract.did", clause, f"{one.did!r} is not an Ed25519 did:key", "use the key's printed name")
    for provider in sorted({one.provider for one in contract.who_approves} & providers):
        if sum(one.provider == provider for one in contract.who_approves) < 2:
            yield warning(
                "contract.approvers", "approvers", f"{provider} has one approver, and two must sign", "name another"
            )


def _pack(contract: Contract) -> Iterator[Finding]:
    try:
        packs.of(contract)
    except CloisterError as problem:
        yield error(problem.code, "pack", problem.reason, problem.next_step)
        return
    if packs.of(contract).source_days and any(duty.do == "destroy-keys" for duty in contract.duties):
        yield warning(
            "contract.source",
            "obligations",
            "the sources that the pack keeps are sealed under the keys that are destroyed: then nobody reads them",
            f"end the contract {packs.of(contract).source_days} days after the last release, or read them out before",
        )


def _under_pack(card: Card, pack: packs.Pack) -> Iterator[Finding]:
    clause, labels = f"tables.{card.name}", card.labelled
    if labels.scheme != (pack.name if pack.scheme else ""):
        yield error(
            "pack.scheme",
            clause,
            f"its tiers are of the axis {labels.scheme or 'of the PBoC'}, not of the contract's pack",
            "seal it under a card whose labels.scheme is the pack's, or name another pack",
        )
    for column in card.columns:
        if column.tier > pack.tiers:
            yield error("pack.tier", clause, f"{column.name} is of tier {column.tier} of {pack.tiers}", "see the pack")
        if pack.name and packs.is_free_text(card, column.name) and column.tier < packs.tier_of_free_text(card):
            yield error(
                "pack.free-text",
                clause,
                f"{column.name} is text without categories, which takes the highest tier of the table",
                f"tier {packs.tier_of_free_text(card)}, or declare its domain",
            )
    if not pack.importance:
        return
    if labels.importance is None:
        yield error("pack.importance", clause, "its card does not say general, important or core", "labels.importance")
    elif labels.importance == "core":
        yield error("pack.importance", clause, "core data are not put under contract", "leave the table out")
    elif labels.importance == "important" and not findings.is_digest(labels.assessment):
        yield error("pack.assessment", clause, "important data need a risk assessment", "labels.assessment: its digest")


def _obligations(contract: Contract) -> Iterator[Finding]:
    for one in twice((duty.on, duty.do) for duty in contract.duties):
        yield error("contract.duplicate", "obligations", f"{one} stands twice", "each once")
    for duty in contract.duties:
        if (duty.on, duty.do) not in _KEPT:
            yield error(
                "contract.obligations",
                f"obligations.{duty.on}",
                f"nobody keeps {duty.do!r} then",
                "see docs/contracts.md",
            )
        if duty.on == "export" and not contract.who_approves:
            yield error("contract.obligations", "obligations.export", "nobody may approve", "name approvers")


def _hosts(contract: Contract) -> Iterator[Finding]:
    hosts = contract.allowed_hosts or ()
    for host in twice(hosts):
        yield error("contract.duplicate", "hosts", f"{host!r} stands twice", "each host once")
    for host in hosts:
        kind, _, name = host.partition(":")
        if not (kind and name) or findings.is_wildcard(name):
            yield error(
                "contract.hosts", "hosts", f"{host!r} names no host", "as evidence names it: chip:, ppid: or operator:"
            )


def _software(contract: Contract) -> Iterator[Finding]:
    clause = contract.signed_software
    if clause is None:
        return
    if not clause.signers:
        yield error("contract.software", "software.signers", "nobody may sign a release", "name a did, or no clause")
    for did in twice(clause.signers):
        yield error("contract.duplicate", "software.signers", f"{did!r} stands twice", "each signer once")
    analysts = {party.did for party in contract.parties if party.role == "analyst"}
    for did in clause.signers:
        try:
            identity.public_from_did(did)
        except CloisterError:
            yield error(
                "contract.did", "software.signers", f"{did!r} is not an Ed25519 did:key", "use the printed name"
            )
        if did in analysts:
            yield error(
                "contract.self-granted", "software.signers", "an analyst would approve his own code", "another signer"
            )
    try:
        releases.version_key(clause.minimum)
    except CloisterError as problem:
        yield error("contract.software", "software.minimum", problem.reason, problem.next_step)
    if not 0 <= clause.overlap_days <= MAX_OVERLAP_DAYS:
        yield error("contract.software", "software.overlap_days", "no number of days", f"0 to {MAX_OVERLAP_DAYS}")


def _tariffs(contract: Contract) -> Iterator[Finding]:
    brokers = {broker.name for broker in contract.brokers}
    for name in twice(tariff.broker for tariff in contract.prices):
        yield error("contract.duplicate", "tariffs", f"two tariffs of {name!r}", "one per broker")
    for tariff in contract.prices:
        clause = f"tariffs.{tariff.broker}"
        if tariff.broker not in brokers:
            yield error("contract.reference", clause, f"{tariff.broker!r} is no broker of the contract", "add it")
        if not (tariff.currency.isascii() and tariff.currency.isalpha() and len(tariff.currency) == 3):
            yield error("contract.tariff", clause, f"{tariff.currency!r} is no currency", "three letters (ISO 4217)")
        for name in ("release", "rows", "compute", "model"):
            amount = exact(getattr(tariff, name))
            if amount is None or amount < 0:
                yield error("contract.tariff", f"{clause}.{name}", "an exact decimal, 0 or more", "such as 0.25")
