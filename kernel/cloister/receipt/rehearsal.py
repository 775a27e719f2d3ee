"""The rehearsal chip: what a mock kernel's proxy adds to a cell that asked for a release. Static and escaped.

It has a question and a price and no value: what the cell shows was invented, and this says so in a colour, a pattern
and words. The typed body is constant and the facts sit in the output's metadata, as in a release chip.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from fractions import Fraction
from typing import Annotated, Any

import msgspec

from cloister.contract.terms import Contract
from cloister.receipt.chip import METADATA_KEY, NO_BUDGET
from cloister.receipt.facts import Cost, cost

REHEARSAL_MIME = "application/vnd.cloister.rehearsal.v1+json"
BODY = {"version": 1}
MOCK = "MOCK: invented values, nothing charged, no receipt"
MAX_SHOWN = 100
_STYLE = (
    "display:inline-block;padding:4px 10px;margin:2px 0;border-radius:6px;font-size:90%;border:1px dashed #767676;"
    "background:repeating-linear-gradient(45deg,transparent 0 6px,rgba(118,118,118,.16) 6px 12px)"
)


class RehearsedCost(msgspec.Struct, frozen=True):
    """What the account of a population would pay: rho as an exact fraction."""

    population: str
    # Fraction also reads "1e999999999", which would take all memory: only p and p/q are prices.
    rho: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,400}(/[1-9][0-9]{0,399})?$")]


class Rehearsal(msgspec.Struct, frozen=True):
    """A mock release as the enclave reports it: what it would be called, what was asked, and what it would cost."""

    release: str
    costs: tuple[RehearsedCost, ...]
    question: str = ""


class RehearsalFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a chip shows of one rehearsed release; ``costs`` are as in a release chip, empty if not known.

    ``outside``: it would be an exit, which no budget pays for because the formal guarantee excludes it.
    """

    release: str
    question: str
    costs: tuple[Cost, ...]
    outside: bool = False


def rehearsal_facts(rehearsal: Rehearsal, contract: Contract | None) -> RehearsalFacts:
    """Return the facts of a rehearsal under the contract it would be charged to."""
    budgets = {budget.population: budget for budget in contract.budgets} if contract is not None else {}
    costs = tuple(
        cost(item.population, Fraction(item.rho), budgets[item.population])
        for item in rehearsal.costs
        if item.population in budgets
    )
    # Whatever has noise has a price on every account it touches.
    outside = contract is not None and not rehearsal.costs
    return RehearsalFacts(rehearsal.release, rehearsal.question or "a release", costs, outside)


def display(rehearsals: Sequence[RehearsalFacts]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return data and metadata of the ``display_data`` for what one cell rehearsed, each release once."""
    once = list({item.release: item for item in rehearsals}.values())
    shown = once[:MAX_SHOWN]
    more = [f"... {len(once) - len(shown)} more"] if len(once) > len(shown) else []
    lines = [(item.question, _price(item)) for item in shown]
    text = "\n".join([f"Cloister: {MOCK}", *(f"  {asked}: {price}" for asked, price in lines), *more])
    body = "".join(f"<div>{html.escape(asked)}<br><small>{html.escape(price)}</small></div>" for asked, price in lines)
    markup = f'<div style="{_STYLE}"><strong>Cloister</strong>: {html.escape(MOCK)}{body}{"".join(more)}</div>'
    data = {"text/plain": text, "text/html": markup, REHEARSAL_MIME: dict(BODY)}
    return data, {METADATA_KEY: {"rehearsals": [msgspec.to_builtins(item) for item in shown]}}


def _price(item: RehearsalFacts) -> str:
    if item.outside:
        return NO_BUDGET
    if not item.costs:
        return "its price is not known here"
    return "would cost " + "; ".join(
        f"{part.share} of {part.population} (epsilon {part.epsilon})" for part in item.costs
    )
