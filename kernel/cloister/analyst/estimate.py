"""The price of a notebook before it is paid: what its cells asked when they last ran on a mock kernel.

An estimate, and honest about it: a cell no mock kernel ran is unknown, and a release that this analyst paid earlier is
counted although asking again is free. The same release asked twice counts once, at the first cell that asks. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction

from cloister.analyst import page
from cloister.analyst.commands import parse
from cloister.analyst.rehearsals import Cell
from cloister.contract.terms import Contract
from cloister.receipt import code, facts
from cloister.receipt.rehearsal import Rehearsal

PAID = "releases you paid earlier are counted too, although recalling them is free"
Prices = dict[str, Fraction]


def estimate(
    ask_id: str, sources: Sequence[str], rehearsed: Mapping[str, Cell], contract: Contract
) -> page.EstimateMessage:
    """Return the estimate of code cells in their order."""
    seen: set[str] = set()
    total: Prices = {}
    cells: list[page.CellEstimate] = []
    for source in sources:
        releases = _asked(source, rehearsed)
        anew = [item for item in releases or () if item.release not in seen]
        seen.update(item.release for item in anew)
        prices = _sum(anew)
        for population, rho in prices.items():
            total[population] = total.get(population, Fraction(0)) + rho
        cells.append({"known": releases is not None, "releases": len(anew), "costs": _costs(prices, contract)})
    return {
        "type": "estimate",
        "id": ask_id,
        "cells": cells,
        "total": _costs(total, contract),
        "unknown": sum(not cell["known"] for cell in cells),
    }


def in_words(message: page.EstimateMessage) -> list[str]:
    """Return an estimate as lines for a terminal."""
    known = len(message["cells"]) - message["unknown"]
    if not known:
        return ["estimate: unknown, no cell was run on a mock kernel (`cloister run --mock` costs nothing)"]
    releases = sum(cell["releases"] for cell in message["cells"])
    price = "; ".join(
        f"{cost['share']} of {cost['population']} (epsilon {cost['epsilon']})" for cost in message["total"]
    )
    lines = [f"estimate from the last mock run: {releases} releases, {price or 'no charge'}"]
    if message["unknown"]:
        lines.append(f"  {message['unknown']} of {len(message['cells'])} cells never ran on a mock kernel: ?")
    return [*lines, f"  {PAID}"]


def _asked(source: str, rehearsed: Mapping[str, Cell]) -> Cell | None:
    """Return what a cell asked when it was rehearsed; what never reaches the enclave asks nothing."""
    if not source.strip() or parse(source) is not None:
        return ()
    return rehearsed.get(code.exact(source))


def _sum(releases: Iterable[Rehearsal]) -> Prices:
    prices: Prices = {}
    for release in releases:
        for cost in release.costs:
            prices[cost.population] = prices.get(cost.population, Fraction(0)) + Fraction(cost.rho)
    return prices


def _costs(prices: Prices, contract: Contract) -> list[page.Cost]:
    found: list[page.Cost] = []
    for budget in contract.budgets:
        rho = prices.get(budget.population, Fraction(0))
        if rho > 0:
            cost = facts.cost(budget.population, rho, budget)
            found.append({"population": cost.population, "epsilon": cost.epsilon, "share": cost.share})
    return found
