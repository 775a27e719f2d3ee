"""Lint of data cards and contracts: what is wrong, under which clause, and what to do about it.

Findings of level ``error`` keep a document from being used; a ``warning`` is for the people who sign. The bounds
on budgets are deliberately generous: they catch nonsense (epsilon 800, delta 0.1), not a different judgement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from cloister.contract import algorithms, findings
from cloister.contract.card import Card
from cloister.contract.card_lint import card_findings
from cloister.contract.clause_lint import clause_findings, clauses_against_cards
from cloister.contract.exit_lint import exit_findings, exits_against_cards
from cloister.contract.findings import Finding, error, exact, parse_time, twice, warning
from cloister.contract.terms import Contract
from cloister.contract.usage import MAX_COUNT
from cloister.errors import CloisterError
from cloister.wire import identity

__all__ = ["Finding", "card_findings", "contract_findings", "errors_of", "parse_time"]

MAX_EPSILON = 20
WIDE_EPSILON = 10
MAX_DELTA = Fraction(1, 1000)
WIDE_DELTA = Fraction(1, 100_000)


def errors_of(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that keep a document from being used."""
    return tuple(finding for finding in found if finding.level == "error")


def contract_findings(contract: Contract, cards: Mapping[str, Card] | None = None) -> tuple[Finding, ...]:
    """Return what is wrong with a contract; with ``cards`` (by table name) also against the data it covers."""
    found = [
        *findings.unreadable(contract, "contract.text"),
        *_wildcards(contract),
        *_parties(contract),
        *_brokers(contract),
        *_tables(contract),
    ]
    found += [*_budgets(contract), *_shares(contract), *_frame(contract), *exit_findings(contract)]
    found += [*_algorithms(contract), *clause_findings(contract)]
    if cards is not None:
        found += [*_against_cards(contract, cards), *exits_against_cards(contract, cards)]
        found += clauses_against_cards(contract, cards)
    return tuple(found)


def _wildcards(contract: Contract) -> Iterator[Finding]:
    named: list[tuple[str, str]] = [("name", contract.name), ("title", contract.title)]
    named += [("parties", value) for party in contract.parties for value in (party.name, party.did)]
    named += [("brokers", value) for broker in contract.brokers for value in (broker.name, broker.did, broker.url)]
    named += [("tables", value) for t in contract.tables for value in (t.name, t.provider, t.broker)]
    named += [("purposes", purpose) for purpose in contract.purposes]
    named += [("budgets", value) for b in contract.budgets for value in (b.population, b.broker)]
    named += [("analyst_limits", value) for a in contract.analyst_limits for value in (a.analyst, a.population)]
    for clause, value in named:
        # Titles and addresses may hold the signs; only a lone word for everything is a wildcard there.
        text = "x" if clause == "title" and value.strip() else value
        if findings.is_wildcard(text):
            yield error("contract.wildcard", clause, f"{value!r} names nobody in particular", "name each one")


def _algorithms(contract: Contract) -> Iterator[Finding]:
    listed = contract.listed
    if listed is None:
        return
    clause = "algorithms"
    if not listed:
        yield error("contract.algorithms", clause, "an empty clause", "leave it out, or the operation model")
    for label in twice(listed):
        yield error("contract.duplicate", clause, f"{label!r} stands twice", "each algorithm once")
    known = {found.label: found for found in algorithms.REGISTRY}
    for label in dict.fromkeys(listed):
        if label not in known:
            yield error(
                "contract.algorithms", clause, f"{label!r} is no algorithm", "`cloister algorithms` prints name@version"
            )
        elif known[label].operation not in {"none", *contract.operations}:
            yield warning(
                "contract.algorithms",
                clause,
                f"{label} needs the operation {known[label].operation}, which is not allowed",
                "allow it, or leave the algorithm out",
            )


def _parties(contract: Contract) -> Iterator[Finding]:
    for role in ("provider", "analyst"):
        if not any(party.role == role for party in contract.parties):
            yield error("contract.parties", "parties", f"no {role}", f"a contract names at least one {role}")
    for name in twice(party.name for party in contract.parties):
        yield error("contract.duplicate", "parties", f"two parties called {name!r}", "give each its own name")
    for _ in twice(party.did for party in contract.parties):
        yield error(
            "contract.self-granted",
            "parties",
            "one key stands for two parties",
            "nobody grants data to himself: each party signs with its own key",
        )
    yield from _dids("parties", (party.did for party in contract.parties))


def _brokers(contract: Contract) -> Iterator[Finding]:
    if not contract.brokers:
        yield error("contract.reference", "brokers", "no broker", "name who keeps the account")
    for name in [*twice(b.name for b in contract.brokers), *twice(b.did for b in contract.brokers)]:
        yield error("contract.duplicate", "brokers", f"{name!r} stands twice", "give each broker its own name and key")
    yield from _dids("brokers", (broker.did for broker in contract.brokers))
    analysts = {party.did for party in contract.parties if party.role == "analyst"}
    for broker in contract.brokers:
        if broker.did in analysts:
            yield error(
                "contract.self-granted", "brokers", "an analyst would keep his own account", "the provider runs it"
            )
        if not broker.url.startswith(("http://", "https://")):
            yield error("contract.broker", "brokers.url", f"{broker.url!r} is no address", "http://host:port")


def _tables(contract: Contract) -> Iterator[Finding]:
    if not contract.tables:
        yield error("contract.reference", "tables", "no table", "name at least one table")
    for name in twice(table.name for table in contract.tables):
        yield error("contract.duplicate", "tables", f"{name!r} stands twice", "each table once")
    providers = {party.name for party in contract.parties if party.role == "provider"}
    brokers = {broker.name for broker in contract.brokers}
    for table in contract.tables:
        clause = f"tables.{table.name}"
        if table.provider not in providers:
            yield error(
                "contract.reference", clause, f"{table.provider!r} is no provider of the contract", "add it as a party"
            )
        if table.broker not in brokers:
            yield error("contract.reference", clause, f"{table.broker!r} is no broker of the contract", "add it")
        if not findings.is_digest(table.card) or not findings.is_digest(table.manifest):
            yield error(
                "contract.digest", clause, "card and manifest are pinned as sha256:<hex>", "cloister seal prints both"
            )
    for digest in twice(table.card for table in contract.tables):
        yield error("contract.duplicate", "tables", f"two tables are under one card {digest}", "each table once")
    brokers_of: dict[str, set[tuple[str, str]]] = {}
    for table in contract.tables:  # a capsule may hold several tables, but has one provider, and one key at one broker
        brokers_of.setdefault(table.manifest, set()).add((table.provider, table.broker))
    for digest in (digest for digest, held in brokers_of.items() if len(held) > 1):
        yield error(
            "contract.duplicate", "tables", f"one capsule {digest} at two providers or brokers", "each capsule once"
        )


def _budgets(contract: Contract) -> Iterator[Finding]:
    brokers = {broker.name for broker in contract.brokers}
    for account in twice((budget.broker, budget.population) for budget in contract.budgets):
        yield error("contract.duplicate", "budgets", f"two budgets for {account}", "one per population and broker")
    for broker in sorted({table.broker for table in contract.tables} - {b.broker for b in contract.budgets}):
        yield error("contract.budget", "budgets", f"no budget at broker {broker!r}", "one per population and broker")
    for budget in contract.budgets:
        clause = f"budgets.{budget.population}"
        epsilon, delta, share = exact(budget.epsilon), exact(budget.delta), exact(budget.default_share)
        if budget.broker not in brokers:
            yield error("contract.reference", clause, f"{budget.broker!r} is no broker of the contract", "add it")
        if epsilon is None or not 0 < epsilon <= MAX_EPSILON:
            yield error("contract.budget", clause, f"epsilon must lie in (0, {MAX_EPSILON}]", "usual values are 1 to 8")
        elif epsilon > WIDE_EPSILON:
            yield warning("contract.budget", clause, f"epsilon {budget.epsilon} protects little", "8 or less")
        if delta is None or not 0 < delta <= MAX_DELTA:
            yield error("contract.budget", clause, "delta must lie in (0, 0.001]", "below one over the population")
        elif delta > WIDE_DELTA:
            yield warning("contract.budget", clause, f"delta {budget.delta} is large", "below one over the population")
        keys = exact(budget.delta_keys)
        if keys is None or keys < 0 or (delta is not None and not keys < delta):
            yield error(
                "contract.budget",
                clause,
                "delta_keys is a part of delta: at least 0 and below delta",
                "half of delta, or 0 to allow no threshold keys",
            )
        if share is None or not 0 < share <= 1:
            yield error("contract.share", clause, "default_share must lie in (0, 1]", "0.02 gives fifty releases")


def _shares(contract: Contract) -> Iterator[Finding]:
    analysts = [party.name for party in contract.parties if party.role == "analyst"]
    populations = {budget.population for budget in contract.budgets}
    totals: dict[str, Fraction] = {}
    for pair in twice((limit.analyst, limit.population) for limit in contract.analyst_limits):
        yield error("contract.duplicate", "analyst_limits", f"two limits for {pair}", "one per analyst and population")
    for limit in contract.analyst_limits:
        clause = f"analyst_limits.{limit.analyst}"
        share = exact(limit.share)
        if limit.analyst not in analysts:
            yield error("contract.reference", clause, f"{limit.analyst!r} is no analyst of the contract", "add it")
        if limit.population not in populations:
            yield error("contract.reference", clause, f"no budget for {limit.population!r}", "add one")
        if share is None or not 0 < share <= 1:
            yield error("contract.share", clause, "share must lie in (0, 1]", "0.5 is half of the budget")
        else:
            totals[limit.population] = totals.get(limit.population, Fraction(0)) + share
    for population, total in totals.items():
        if total > 1:
            yield error(
                "contract.share",
                "analyst_limits",
                f"the shares of {population!r} add to {total}, more than there is",
                "lower them until they add to at most 1",
            )
    stated = {(limit.analyst, limit.population) for limit in contract.analyst_limits}
    if len(analysts) > 1 and any((a, p) not in stated for a in analysts for p in populations):
        yield warning(
            "contract.share", "analyst_limits", "one analyst could spend what another needs", "a share for each of them"
        )


def _frame(contract: Contract) -> Iterator[Finding]:
    if contract.regime == "screened":
        yield warning(
            "contract.screened",
            "regime",
            "the formal guarantee excludes this regime, and this version refuses every plan under it",
            'regime = "dp"',
        )
    if not contract.purposes or not contract.operations:
        yield error("contract.purposes", "purposes", "no purpose or no operation", "name what is allowed")
    yield from _limits(contract)
    names = {party.name for party in contract.parties} | {broker.name for broker in contract.brokers}
    for name, digest in contract.policies.items():
        if name not in names:
            yield error("contract.reference", "policies", f"{name!r} is neither party nor broker", "remove it")
        if not findings.is_digest(digest):
            yield error("contract.digest", "policies", f"the policy of {name!r} is no sha256 digest", "pin its digest")
    for broker in contract.brokers:
        served = {table.provider for table in contract.tables if table.broker == broker.name}
        if not ({broker.name} | served) & set(contract.policies):
            yield warning(
                "contract.policy",
                "policies",
                f"no policy pinned for {broker.name!r} or the providers it serves: it will admit no enclave",
                "pin the digest of the broker's policy.toml",
            )
    try:
        if parse_time(contract.not_before) >= parse_time(contract.not_after):
            yield error("contract.validity", "not_after", "ends before it begins", "not_before < not_after")
    except CloisterError as problem:
        yield error("contract.validity", "not_before", problem.reason, problem.next_step)
    if contract.accept_simulated:
        yield warning(
            "contract.simulated",
            "accept_simulated",
            "a simulated enclave hides nothing from the owner of the machine",
            "for demonstration data only",
        )


def _limits(contract: Contract) -> Iterator[Finding]:
    limits = contract.limits
    for name in limits.__struct_fields__:
        count = getattr(limits, name)
        if not 0 <= count <= MAX_COUNT:
            yield error("contract.limit", f"limits.{name}", f"{count} is no limit", "a whole number from 0 to 2^53")
        elif count == 0 and name != "models":
            yield warning("contract.limit", f"limits.{name}", "0 lets nothing be released at all", "a positive number")
    if limits.models > 0 and "model" not in contract.operations:
        yield warning("contract.limit", "limits.models", "models are not among the operations", "0, or allow them")
    if limits.models == 0 and "model" in contract.operations:
        yield warning("contract.limit", "limits.models", "models are allowed, but none of them", "a positive number")


def _against_cards(contract: Contract, cards: Mapping[str, Card]) -> Iterator[Finding]:
    budgets = {(budget.broker, budget.population) for budget in contract.budgets}
    units: dict[tuple[str, str], str] = {}
    sizes = [card.row_limit for card in cards.values() if card.unit != "none"]
    if 0 < contract.limits.rows < max(sizes, default=0):
        yield warning(
            "contract.limit",
            "limits.rows",
            f"too few to scan the largest table once ({max(sizes):,} rows declared)",
            "declared rows times the releases you expect",
        )
    for table in contract.tables:
        card, clause = cards.get(table.name), f"tables.{table.name}"
        if card is None:
            yield error("contract.reference", clause, "no card for this table", "add the provider's signed card")
            continue
        if card.unit != "none" and (table.broker, card.population) not in budgets:
            yield error("contract.budget", "budgets", f"no budget for population {card.population!r}", "add one")
        if card.unit != "none" and (unit := units.setdefault((table.broker, card.population), card.unit)) != card.unit:
            yield error(
                "contract.unit",
                clause,
                f"population {card.population!r} protects {unit!r} in one table and {card.unit!r} in another: "
                "one account counts one kind of unit",
                "give each kind of unit its own population, or say the same unit on every card",
            )
        for purpose in contract.purposes:
            if purpose not in card.purposes:
                yield error("contract.purposes", clause, f"its card does not allow {purpose!r}", "drop the purpose")
        yield from _tier_rules(contract, card, clause)
    yield from _hashed_keys(cards)


def _hashed_keys(cards: Mapping[str, Card]) -> Iterator[Finding]:
    """Yield a warning for units that are told apart only by how their keys were sealed."""
    first: dict[str, Card] = {}
    for card in cards.values():
        other = first.setdefault(card.unit, card)
        if card.unit != "none" and other.salt_id != card.salt_id:
            yield warning(
                "contract.keys",
                f"tables.{card.name}",
                f"{other.name} and {card.name} cannot be aligned: their keys are not hashed under one salt",
                "seal both with the same salt file, or neither with one",
            )


def _tier_rules(contract: Contract, card: Card, clause: str) -> Iterator[Finding]:
    if card.grade != "demonstration" and contract.accept_simulated:
        yield error(
            "contract.simulated",
            clause,
            "production data under accept_simulated",
            "take the clause out of the contract",
        )
    if card.grade == "demonstration" or max(column.tier for column in card.columns) < 3:
        return
    if contract.placement != "split" or contract.tenancy != "exclusive":
        yield error("contract.tier", clause, "tier 3 needs placement split, tenancy exclusive", "change both clauses")
    if not contract.allowed_hosts:
        yield error(
            "contract.hosts",
            clause,
            "tier 3 needs the hosts that may run the enclave: genuine hardware may stand anywhere",
            "hosts: chip ids or operators, as `cloister attest here` prints them (signer)",
        )


def _dids(clause: str, dids: Iterable[str]) -> Iterator[Finding]:
    for did in dids:
        try:
            identity.public_from_did(did)
        except CloisterError:
            yield error("contract.did", clause, f"{did!r} is not an Ed25519 did:key", "use the key's printed name")
