"""Lint of data cards and contracts: what is wrong, under which clause, and what to do about it.

Findings of level ``error`` keep a document from being used; a ``warning`` is for the people who sign. The bounds
on budgets are deliberately generous: they catch nonsense (epsilon 800, delta 0.1), not a different judgement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction

from cloister.contract import findings
from cloister.contract.card import OTHER, Card, Column
from cloister.contract.findings import Finding, error, exact, iso_date, parse_time, warning
from cloister.contract.terms import Contract
from cloister.errors import CloisterError
from cloister.wire import identity

__all__ = ["Finding", "card_findings", "contract_findings", "errors_of", "parse_time"]

MAX_EPSILON = 20
WIDE_EPSILON = 10
MAX_DELTA = Fraction(1, 1000)
WIDE_DELTA = Fraction(1, 100_000)
MAX_DOMAIN = 10_000
MAX_TEXT = 256
MAX_GRID = 2**40
MAX_ROWS = 10**9


def errors_of(found: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings that keep a document from being used."""
    return tuple(finding for finding in found if finding.level == "error")


# Cards -----------------------------------------------------------------------------------------------


def card_findings(card: Card) -> tuple[Finding, ...]:
    """Return what is wrong with a card; empty means it can be signed."""
    return (*_card_head(card), *_card_key(card), *(f for column in card.columns for f in _column(card, column)))


def _card_head(card: Card) -> Iterator[Finding]:
    for clause in ("name", "title", "description", "unit", "population", "source", "retention"):
        if findings.is_wildcard(getattr(card, clause)):
            yield error("card.empty", clause, f"{clause} is empty or a wildcard", "say it in words")
    for name in _twice(column.name for column in card.columns):
        yield error("card.duplicate", f"columns.{name}", "two columns with one name", "rename or drop one")
    if not card.columns:
        yield error("card.columns", "columns", "no columns", "declare at least one column")
    if not 1 <= card.row_limit <= MAX_ROWS:
        yield error("card.rows", "row_limit", "the size class is no sensible number", "for example 131072")
    if not 1 <= card.rows_per_unit <= max(card.row_limit, 1):
        yield error(
            "card.rows",
            "rows_per_unit",
            "must lie between 1 and the size class",
            "the most rows one unit may keep; the others are dropped",
        )
    if not card.purposes:
        yield error("card.purposes", "purposes", "no purpose", "name what the table may be used for")
    for purpose in card.purposes:
        if findings.is_wildcard(purpose):
            yield error("card.wildcard", "purposes", f"{purpose!r} permits everything", "name each purpose")
    if card.order is not None and card.column(card.order) is None:
        yield error("card.order", "order", f"no column {card.order!r}", "name a declared column or leave it out")


def _card_key(card: Card) -> Iterator[Finding]:
    if card.unit != "none" and not card.key:
        yield error(
            "card.key", "key", f"no key column for the unit {card.unit!r}", "name the column that identifies it"
        )
    if card.unit == "none" and card.key:
        yield error("card.key", "key", "a table without unit has no key", "name the unit, or drop the key")
    for name in _twice(card.key):
        yield error("card.key", "key", f"{name!r} is named twice", "once is enough")
    for name in card.key:
        column = card.column(name)
        if column is None:
            yield error("card.key", "key", f"no column {name!r}", "declare the key column")
        elif column.type not in ("string", "int"):
            yield error("card.key", f"columns.{name}", "a key is text or a whole number", "declare it as string or int")
        elif column.domain is not None:
            yield error(
                "card.key-released",
                f"columns.{name}.domain",
                "a unit key with a domain could be grouped by, which would release single units",
                "remove the domain; a key only aligns rows of one unit",
            )


def _column(card: Card, column: Column) -> Iterator[Finding]:
    clause = f"columns.{column.name}"
    if findings.is_wildcard(column.name) or len(column.name) > MAX_TEXT or column.name.startswith("__"):
        yield error("card.name", clause, "not a column name", "letters, digits and underscores")
    if findings.is_wildcard(column.description):
        yield warning("card.empty", f"{clause}.description", "no description", "say what the column means")
    if column.personal and column.tier == 1:
        yield warning("card.tier", f"{clause}.tier", "personal information in tier 1 (public)", "tier 2 or above")
    if column.tier >= 4 and column.name not in card.key:
        yield warning(
            "card.tier",
            f"{clause}.tier",
            f"tier {column.tier} is not released in aggregates",
            "drop the column, or lower its tier with a reason the contract approves",
        )
    if column.type in ("int", "decimal"):
        yield from _number(clause, column, is_key=column.name in card.key)
    elif column.type == "date":
        yield from _date(clause, column)
    elif any(value is not None for value in (column.low, column.high, column.step)):
        yield error("card.bounds", clause, f"a {column.type} has no bounds", "remove low, high and step")
    if column.type == "string":
        yield from _text(clause, column, is_key=column.name in card.key)
    elif column.domain is not None:
        yield error("card.domain", f"{clause}.domain", f"a {column.type} has no domain", "remove it, or declare text")


def _number(clause: str, column: Column, *, is_key: bool) -> Iterator[Finding]:
    if is_key and column.low is None and column.high is None and column.step is None:
        return
    low, high, step = exact(column.low), exact(column.high), exact(column.step)
    if low is None or high is None or step is None:
        yield error(
            "card.bounds",
            clause,
            "a number needs low, high and step as exact text",
            "public knowledge, not the data's own minimum and maximum: for example 0, 110, 1",
        )
        return
    if low >= high:
        yield error("card.bounds", clause, "low must be below high", "give the range the column can have")
    elif step <= 0 or (high - low) % step:
        yield error(
            "card.step", f"{clause}.step", "step must be positive and divide high - low", "for example 1 or 0.1"
        )
    elif (high - low) / step > MAX_GRID:
        yield error("card.step", f"{clause}.step", "the grid is too fine", "a coarser step, or narrower bounds")
    elif low % step:
        yield error(
            "card.grid",
            f"{clause}.low",
            "0 is not on the grid, so sums could not be exact",
            "choose low, high and step as multiples of one step",
        )
    if column.type == "int" and any(value.denominator != 1 for value in (low, high, step)):
        yield error("card.bounds", clause, "bounds and step of an int are whole numbers", "declare it as decimal")


def _date(clause: str, column: Column) -> Iterator[Finding]:
    low, high = iso_date(column.low), iso_date(column.high)
    if low is None or high is None:
        yield error("card.bounds", clause, "a date needs low and high as YYYY-MM-DD", "for example 2022-01-01")
    elif low >= high:
        yield error("card.bounds", clause, "low must be before high", "give the range the column can have")
    if column.step not in (None, "1"):
        yield error("card.step", f"{clause}.step", "the step of a date is one day", "remove it")


def _text(clause: str, column: Column, *, is_key: bool) -> Iterator[Finding]:
    if column.domain is None:
        if not is_key:
            yield error(
                "card.domain",
                clause,
                "text without a domain can only be a unit key",
                "list the categories (everything else becomes '(other)'), or drop the column",
            )
        return
    if not 1 <= len(column.domain) <= MAX_DOMAIN:
        yield error("card.domain", f"{clause}.domain", f"a domain has 1 to {MAX_DOMAIN} values", "list the categories")
    for value in _twice(column.domain):
        yield error("card.domain", f"{clause}.domain", f"{value!r} is listed twice", "each category once")
    if OTHER in column.domain:
        yield error("card.domain", f"{clause}.domain", f"{OTHER!r} is always there", "leave it out of the list")
    if any(not value or len(value) > MAX_TEXT for value in column.domain):
        yield error("card.domain", f"{clause}.domain", f"a category has 1 to {MAX_TEXT} characters", "shorten it")


# Contracts -------------------------------------------------------------------------------------------


def contract_findings(contract: Contract, cards: Mapping[str, Card] | None = None) -> tuple[Finding, ...]:
    """Return what is wrong with a contract; with ``cards`` (by table name) also against the data it covers."""
    found = [*_wildcards(contract), *_parties(contract), *_brokers(contract), *_tables(contract)]
    found += [*_budgets(contract), *_shares(contract), *_frame(contract)]
    if cards is not None:
        found += _against_cards(contract, cards)
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


def _parties(contract: Contract) -> Iterator[Finding]:
    for role in ("provider", "analyst"):
        if not any(party.role == role for party in contract.parties):
            yield error("contract.parties", "parties", f"no {role}", f"a contract names at least one {role}")
    for name in _twice(party.name for party in contract.parties):
        yield error("contract.duplicate", "parties", f"two parties called {name!r}", "give each its own name")
    for _ in _twice(party.did for party in contract.parties):
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
    for name in [*_twice(b.name for b in contract.brokers), *_twice(b.did for b in contract.brokers)]:
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
    for name in _twice(table.name for table in contract.tables):
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
    for digest in _twice(table.manifest for table in contract.tables):
        yield error("contract.duplicate", "tables", f"two tables are one capsule {digest}", "each capsule once")


def _budgets(contract: Contract) -> Iterator[Finding]:
    brokers = {broker.name for broker in contract.brokers}
    for account in _twice((budget.broker, budget.population) for budget in contract.budgets):
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
        if share is None or not 0 < share <= 1:
            yield error("contract.share", clause, "default_share must lie in (0, 1]", "0.02 gives fifty releases")


def _shares(contract: Contract) -> Iterator[Finding]:
    analysts = [party.name for party in contract.parties if party.role == "analyst"]
    populations = {budget.population for budget in contract.budgets}
    totals: dict[str, Fraction] = {}
    for pair in _twice((limit.analyst, limit.population) for limit in contract.analyst_limits):
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
    if not contract.purposes or not contract.operations:
        yield error("contract.purposes", "purposes", "no purpose or no operation", "name what is allowed")
    if contract.limits.releases < 1:
        yield error("contract.limit", "limits.releases", "at least one release", "a positive number")
    names = {party.name for party in contract.parties} | {broker.name for broker in contract.brokers}
    for name, digest in contract.policies.items():
        if name not in names:
            yield error("contract.reference", "policies", f"{name!r} is neither party nor broker", "remove it")
        if not findings.is_digest(digest):
            yield error("contract.digest", "policies", f"the policy of {name!r} is no sha256 digest", "pin its digest")
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


def _against_cards(contract: Contract, cards: Mapping[str, Card]) -> Iterator[Finding]:
    budgets = {(budget.broker, budget.population) for budget in contract.budgets}
    units: dict[str, str] = {}
    for table in contract.tables:
        card, clause = cards.get(table.name), f"tables.{table.name}"
        if card is None:
            yield error("contract.reference", clause, "no card for this table", "add the provider's signed card")
            continue
        if card.unit != "none" and (table.broker, card.population) not in budgets:
            yield error("contract.budget", "budgets", f"no budget for population {card.population!r}", "add one")
        if units.setdefault(card.population, card.unit) != card.unit:
            yield error("contract.unit", clause, f"population {card.population!r} has two units", "one unit each")
        for purpose in contract.purposes:
            if purpose not in card.purposes:
                yield error("contract.purposes", clause, f"its card does not allow {purpose!r}", "drop the purpose")
        yield from _tier_rules(contract, card, clause)


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


def _twice(values: Iterable[object]) -> list[object]:
    return [value for value, count in Counter(values).items() if count > 1]


def _dids(clause: str, dids: Iterable[str]) -> Iterator[Finding]:
    for did in dids:
        try:
            identity.public_from_did(did)
        except CloisterError:
            yield error("contract.did", clause, f"{did!r} is not an Ed25519 did:key", "use the key's printed name")
