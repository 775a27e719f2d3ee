"""Step 2: does the contract let this analyst, for this purpose, ask this of these columns, now?

Every refusal depends on plan, card, contract and the broker's clock only (G4). Columns are those named anywhere
in the plan, filters and keys included (G8); a derived column that shadows a card's column counts as that column,
which can only refuse more. What the contract and its cards say about each other (purposes, placement, tenancy) was
checked when the contract was opened (config.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from cloister.contract import algorithms, packs, signing
from cloister.contract.card import Card
from cloister.contract.terms import Contract
from cloister.errors import ContractError, PlanError
from cloister.plan import algebra, programs
from cloister.plan.link import Context
from cloister.receipt import code
from cloister.vault.config import Terms
from cloister.vault.permits import Grant, check_rows, permitted
from cloister.vault.statuses import screened_error

_ASK_PROVIDER = "Ask the provider for a contract that allows it."


def authorise(plan: algebra.Plan, context: Context, terms: Terms) -> Grant:
    """Return what the plan may read.

    Raises:
        ContractError: Analyst, purpose, operation, algorithm, tier, grade or placement is outside the contract, or its
            regime is screened.
        PlanError: ``plan.table``: a table the contract does not name.
    """
    check_asker(context, terms)
    program = programs.program_of(plan)
    operation = "aggregate" if program is None else "model"
    if operation not in terms.contract.operations:
        raise ContractError(
            "contract.operation",
            f"the contract does not allow the operation {operation}",
            clause="operations",
            next_step=_ASK_PROVIDER,
        )
    check_algorithm(program, terms.contract)
    return granted(plan, context, terms, operation)


def check_algorithm(program: programs.Program | None, contract: Contract) -> None:
    """Check that the contract lists an algorithm that asks this of the rows, if it lists any.

    Raises:
        ContractError: ``contract.algorithm``.
    """
    listed = contract.listed
    if program is not None and listed is not None and program not in algorithms.programs(listed):
        raise algorithms.not_listed(f"an algorithm that asks for {programs.WORDS[program]}", listed)


def check_asker(context: Context, terms: Terms) -> None:
    """Check the contract's regime, and that it names this analyst and this purpose.

    Raises:
        ContractError: See ``authorise``.
    """
    contract = terms.contract
    if contract.regime == "screened":
        raise screened_error()
    if context.analyst not in {party.did for party in contract.parties if party.role == "analyst"}:
        raise ContractError(
            "contract.analyst",
            "the contract does not name this analyst",
            clause="parties",
            next_step="Connect with the key the contract was signed with.",
        )
    if context.purpose not in contract.purposes:
        raise ContractError(
            "contract.purpose",
            f"the contract does not allow the purpose {context.purpose!r}",
            clause="purposes",
            nearest=contract.purposes,
            next_step="Connect with one of the purposes of the contract.",
        )


def check_source(context: Context, terms: Terms) -> str:
    """Return the text of the cell that asks, where the contract's tier rules keep it; ``""`` where they do not.

    It is what the receipt's digest is of, so what is kept is what was run. Only a cell has a text: what a widget or a
    background task asks is refused under such rules. A rehearsal keeps nothing.

    Raises:
        ContractError: ``contract.source``.
    """
    if terms.mode == "mock" or packs.of(terms.contract).source_days == 0:
        return ""
    if context.cause.kind != "cell" or code.exact(context.source) != context.cause.code:
        raise ContractError(
            "contract.source",
            "the source of what asks is to be kept, and it did not come with the question",
            clause=f"pack {packs.of(terms.contract).name}: the source of every release is kept, sealed",
            next_step="Ask in a cell that runs by itself, not from a widget or in the background.",
        )
    return context.source


def granted(plan: algebra.Plan, context: Context, terms: Terms, operation: str, *, delivery: str = "") -> Grant:
    """Return what a plan reads, if the contract lets this asker read it: tables, grades, units, access and tiers.

    ``delivery``: of a delivery, the digest of its plan.

    Raises:
        ContractError, PlanError: See ``authorise``.
    """
    scanned = _scanned(plan)
    tables = tuple(sorted(named_tables(plan)))
    for name in tables:
        if name not in terms.cards:
            raise PlanError(
                "plan.table",
                f"the contract has no table {name}",
                clause="tables",
                nearest=tuple(sorted(terms.cards)),
                next_step="cl.tables() lists the tables of the contract.",
            )
    cards = {name: terms.cards[name] for name in tables}
    for card in cards.values():
        _check_grade(card, terms)
        if card.name in scanned:
            _check_unit(card)
    check_rows(plan, tables, context, terms)
    grant = Grant(tables, tuple(sorted(scanned)), cards, operation, asker=context.analyst, delivery=delivery)
    named = frozenset(_names(plan))
    return permitted(
        ((card.name, column.name) for card in cards.values() for column in card.columns if column.name in named),
        grant,
        context,
        terms,
    )


def check_time(terms: Terms, now: str) -> None:
    """Check the contract's validity against a broker's signed time.

    Raises:
        ContractError: ``contract.not-yet-valid`` or ``contract.expired``.
    """
    signing.check_validity(terms.contract, now=now)


def _check_grade(card: Card, terms: Terms) -> None:
    if terms.mode == "mock" or terms.assurance != "simulated":
        return
    if not terms.contract.accept_simulated or card.grade != "demonstration":
        raise ContractError(
            "contract.simulated",
            f"{card.name} is not opened in a simulated enclave",
            clause="accept_simulated, card.grade",
            next_step="Use an enclave with hardware evidence.",
        )


def _check_unit(card: Card) -> None:
    if card.unit == "none" or not card.key:
        raise PlanError(
            "plan.unit",
            f"{card.name} protects no unit, so nothing says how much one person can change a release",
            clause="card.unit, card.key",
            next_step="Ask about a table with a unit; a reference table is only looked up.",
        )


def _nodes(value: Any) -> Iterator[msgspec.Struct]:
    """Yield every node of a plan, parents first."""
    if isinstance(value, msgspec.Struct):
        yield value
        for field in value.__struct_fields__:
            yield from _nodes(getattr(value, field))
    elif isinstance(value, tuple):
        for item in value:
            yield from _nodes(item)


def named_tables(plan: algebra.Plan | algebra.Exit) -> frozenset[str]:
    """Return the names of the tables a plan reads rows of, or looks up."""
    return _scanned(plan) | frozenset(node.table for node in _nodes(plan) if isinstance(node, algebra.Reference))


def _scanned(plan: algebra.Plan | algebra.Exit) -> frozenset[str]:
    return frozenset(node.name for node in _nodes(plan) if isinstance(node, algebra.Table))


def _names(plan: algebra.Plan) -> Iterator[str]:
    """Yield every column name the plan reads, wherever it stands.

    ``Select`` alone only drops columns; what is read of the rest is named elsewhere.
    """
    for node in _nodes(plan):
        if isinstance(node, algebra.Col):
            yield node.name
        elif isinstance(node, algebra.VectorSum | algebra.ThresholdKeys):
            yield from node.keys
        elif isinstance(node, algebra.Cap | algebra.PerUnit | algebra.Window):
            yield from node.by
            if isinstance(node, algebra.Window):
                yield from (name for name, _ in node.order)
        elif isinstance(node, algebra.Align):
            yield from (name for name, _ in node.columns)
        elif isinstance(node, algebra.Lookup):
            yield from node.keys
        elif isinstance(node, algebra.Reference):
            yield from (*node.keys, *node.columns)
