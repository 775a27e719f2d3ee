"""Lint of a contract's exits: every clause names what exists, exactly, and limits it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from cloister.contract import findings
from cloister.contract.card import Card
from cloister.contract.exits import DeliverTerms, Exits, MatchTerms
from cloister.contract.findings import Finding, error, twice, warning
from cloister.contract.terms import Contract
from cloister.contract.usage import MAX_COUNT

# Whose key it is does not matter: a point of low order gives nothing to anybody.
_ANY = bytes(range(32))


def exit_findings(contract: Contract) -> Iterator[Finding]:
    """Yield what is wrong with the exits of a contract, and the warning that there are any."""
    exits = contract.outside
    if isinstance(contract.exits, Exits) and contract.exits == Exits():
        yield error("contract.exits", "exits", "an empty clause", "leave the clause out")
    for excluded in exits.excluded():
        yield warning(
            "contract.exits",
            "exits",
            f"the formal guarantee excludes {excluded}: they carry no noise",
            "leave the clause out unless exactly this must leave",
        )
    yield from _receivers(exits)
    tables = {table.name for table in contract.tables}
    for name in twice((match.table, match.column) for match in exits.matches):
        yield error("contract.duplicate", "exits.matches", f"two clauses for {name}", "one per column")
    for match in exits.matches:
        yield from _match(match, tables)
    for name in twice((delivery.plan, delivery.receiver) for delivery in exits.deliveries):
        yield error("contract.duplicate", "exits.deliveries", f"two clauses for {name}", "one per plan and receiver")
    for delivery in exits.deliveries:
        yield from _delivery(delivery, exits)


def exits_against_cards(contract: Contract, cards: Mapping[str, Card]) -> Iterator[Finding]:
    """Yield what is wrong with the exits of a contract against the data they are about."""
    for match in contract.outside.matches:
        clause, card = f"exits.matches.{match.table}", cards.get(match.table)
        if card is None:
            continue  # said of the table itself
        column = card.column(match.column)
        if card.unit == "none" or not card.key:
            yield error("contract.exits", clause, "the table protects no unit, so none can be asked about", "drop it")
        elif len(card.key) > 1:
            yield error("contract.exits", clause, "a unit is named by several columns, a target by one text", "drop it")
        if card.salt_id:
            yield warning(
                "contract.exits",
                clause,
                "its keys are sealed as hashes: who asks needs keys hashed under the same salt",
                "give the asker the salt file, or hash the keys for him with `cloister unit-keys hash`",
            )
        if column is None:
            yield error("contract.exits", clause, f"the card declares no match column {match.column!r}", "see the card")
        elif match.column in card.key:
            # Whether the unit is in the table at all.
            if match.value:
                yield error("contract.exits", f"{clause}.value", "a key has no value to be compared with", "drop it")
        elif match.value and match.value not in (column.domain or ()):
            yield error("contract.exits", clause, f"{match.value!r} is no value of {match.column}", "see the card")
        elif not match.value and column.type != "bool":
            yield error("contract.exits", clause, f"{match.column} is no boolean", "name the value that is a match")
    hashed = sorted(name for name, card in cards.items() if card.salt_id)
    for delivery in contract.outside.deliveries if hashed else ():
        yield warning(
            "contract.exits",
            f"exits.deliveries.{delivery.receiver}",
            f"the keys of {', '.join(hashed)} are sealed as hashes: scores of these units join keys hashed alike only",
            "give the receiver the salt file, or hash the keys for him with `cloister unit-keys hash`",
        )


def _receivers(exits: Exits) -> Iterator[Finding]:
    for name in twice(receiver.name for receiver in exits.receivers):
        yield error("contract.duplicate", "exits.receivers", f"two receivers called {name!r}", "give each his own name")
    for _ in twice(receiver.key for receiver in exits.receivers):
        yield error("contract.duplicate", "exits.receivers", "one key stands for two receivers", "one key each")
    used = {delivery.receiver for delivery in exits.deliveries}
    for receiver in exits.receivers:
        clause = f"exits.receivers.{receiver.name}"
        if findings.is_wildcard(receiver.name):
            yield error("contract.wildcard", clause, f"{receiver.name!r} names nobody in particular", "name one")
        if not is_receiver_key(receiver.key):
            yield error(
                "contract.exits", clause, "not an X25519 public key in base64", "`cloister receiver FILE` makes a key"
            )
        if receiver.name not in used:
            yield warning("contract.exits", clause, "nothing is delivered to this receiver", "remove it")


def _match(match: MatchTerms, tables: set[str]) -> Iterator[Finding]:
    clause = f"exits.matches.{match.table}"
    for name in (match.table, match.column):
        if findings.is_wildcard(name):
            yield error("contract.wildcard", clause, f"{name!r} names nothing in particular", "name each one")
    if match.table not in tables:
        yield error("contract.reference", clause, f"{match.table!r} is no table of the contract", "add it")
    yield from _limit(clause, match.per_contract, "per_contract")
    yield from _limit(clause, match.per_target, "per_target")


def _delivery(delivery: DeliverTerms, exits: Exits) -> Iterator[Finding]:
    clause = f"exits.deliveries.{delivery.receiver}"
    if exits.receiver(delivery.receiver) is None:
        yield error("contract.reference", clause, f"{delivery.receiver!r} is no receiver of the contract", "add him")
    if not findings.is_digest(delivery.plan):
        yield error("contract.digest", clause, "a plan is approved as sha256:<hex>", "the analyst's proposal prints it")
    yield from _limit(clause, delivery.times, "times")


def _limit(clause: str, count: int, name: str) -> Iterator[Finding]:
    if not 1 <= count <= MAX_COUNT:
        yield error("contract.limit", f"{clause}.{name}", f"{count} is no limit", "a whole number from 1 to 2^53")


def is_receiver_key(text: str) -> bool:
    """Whether ``text`` is an X25519 public key in its one base64 spelling, and not one of low order."""
    try:
        raw = base64.b64decode(text, validate=True)
        X25519PrivateKey.from_private_bytes(_ANY).exchange(X25519PublicKey.from_public_bytes(raw))
    except (binascii.Error, ValueError):
        return False
    return base64.b64encode(raw).decode() == text
