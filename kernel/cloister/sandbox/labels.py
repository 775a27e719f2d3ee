"""Units of measure of released values, from the data card: what stands beside the numbers of a plot."""

from __future__ import annotations

from collections.abc import Mapping

from cloister.contract.card import Card
from cloister.plan import algebra as a
from cloister.plan.typing import Schema
from cloister.sandbox.rows import Rows


def units(measures: tuple[a.Measure, ...], rows: Rows, cards: Mapping[str, Card]) -> dict[str, str]:
    """Return the unit of each measure by name: of its column if it is one the card declares, ``rows`` of a count."""
    found: dict[str, str] = {}
    schema = rows.schema
    for measure in measures:
        match measure:
            case a.Count():
                found[measure.name] = "rows"
            case a.Units():
                found[measure.name] = f"{rows.card.unit}s"
            case a.Sum(of=a.Col(name)) | a.Mean(of=a.Col(name)) | a.Quantile(of=a.Col(name)):
                found[measure.name] = _unit(name, schema, cards)
            case a.Variance(of=a.Col(name)):
                unit = _unit(name, schema, cards)
                found[measure.name] = unit if measure.root or not unit else f"({unit})²"
    return {name: unit for name, unit in found.items() if unit}


def _unit(name: str, schema: Schema, cards: Mapping[str, Card]) -> str:
    uses = schema.grid(name).uses
    if len(uses) != 1:
        return ""
    table, column = next(iter(uses))
    declared = cards[table].column(column)
    return declared.unit_of_measure if declared else ""
